//! A parsed command line, written out again for the program `bench`, which has the same flags.

/// What is handed on. What was not given is left out: the program has the defaults.
#[derive(Default)]
pub(super) struct Arguments(Vec<String>);

impl Arguments {
    /// A switch.
    pub(super) fn switch(mut self, flag: &str, is_set: bool) -> Self {
        if is_set {
            self.0.push(flag.to_owned());
        }
        self
    }

    /// A flag with several values.
    pub(super) fn list<T: ToString>(mut self, flag: &str, values: &[T]) -> Self {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            self.0.extend([flag.to_owned(), values.join(",")]);
        }
        self
    }

    /// A flag with one value.
    pub(super) fn value<T: ToString>(mut self, flag: &str, value: Option<T>) -> Self {
        self.0.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value.to_string()]));
        self
    }

    /// As a process takes them.
    pub(super) fn into_vec(self) -> Vec<String> {
        self.0
    }
}

/// What is handed on of a command line.
#[cfg(test)]
pub(super) fn handed_on<O: clap::Args>(given: &str, arguments: impl Fn(&O) -> Vec<String>) -> String {
    #[derive(clap::Parser)]
    struct Cli<O: clap::Args> {
        #[command(flatten)]
        options: O,
    }
    let cli: Cli<O> = clap::Parser::parse_from(["xtask"].into_iter().chain(given.split(' ')));
    arguments(&cli.options).join(" ")
}
