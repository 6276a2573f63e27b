//! Builds the clap command of a service and fills its struct: flag > environment > file > default.
//! The file's values become the command's defaults, after the flag's own parser accepted them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, ValueEnum};

use super::file::{self, Entry, KnownFlag};
use super::{Problems, ServiceConfig, ServiceInfo, redact_property, redact_url};

/// What the binary is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Command {
    /// Run the service (the default).
    Run,
    /// Bring the database's tables up to date and exit.
    Migrate,
    /// Ask the running service's admin server how it is: exit code 0 or 1; for containers without a shell.
    Healthcheck,
}

/// Which question `healthcheck` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// /livez: the process answers.
    Live,
    /// /readyz: it can do its work.
    Ready,
}

/// Flags of the binary itself, beside the service's settings.
#[derive(Args, Clone, Debug)]
pub(crate) struct Invocation {
    /// What to do.
    #[arg(value_enum, default_value_t = Command::Run)]
    pub(crate) command: Command,
    /// Configuration file (.toml, .yaml, .yml): keys are the long flag names; tables join with `-`.
    #[arg(long, env = "CTMS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check the configuration, print it with secrets hidden, and exit.
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Question that `healthcheck` asks.
    #[arg(long, env = "CTMS_PROBE", value_enum, default_value_t = Probe::Ready)]
    pub(crate) probe: Probe,
    /// Longest wait of `healthcheck`.
    #[arg(long, env = "CTMS_PROBE_TIMEOUT", value_name = "DURATION", default_value = "3s", value_parser = super::parse_duration)]
    pub(crate) probe_timeout: std::time::Duration,
}

/// Ids of [`Invocation`]'s arguments: no settings, so a file cannot hold them.
const INVOCATION: [&str; 7] = ["command", "config", "check_config", "probe", "probe_timeout", "help", "version"];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// clap's own answer: a wrong flag, or `--help` and `--version`, which are no failure.
    #[error("{0}")]
    Usage(#[from] clap::Error),
    /// The file, or values that cannot work; each line says what to do.
    #[error("the configuration cannot be used:\n{0}")]
    Impossible(Problems),
}

/// A service's configuration and how it was come by.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The settings.
    pub config: C,
    pub(crate) invocation: Invocation,
    settings: Vec<Setting>,
}

#[derive(Debug)]
struct Setting {
    flag: String,
    values: Vec<String>,
    source: &'static str,
}

impl<C> Loaded<C> {
    /// The effective settings as TOML that `--config` reads, secrets hidden, each with where it came from.
    #[must_use]
    pub fn shown(&self) -> String {
        let quoted = |value: &String| serde_json::Value::from(value.as_str()).to_string();
        let mut text = String::new();
        for Setting { flag, values, source } in &self.settings {
            let line = match values.as_slice() {
                [] => {
                    text.push_str(&format!("# {flag} is not set\n"));
                    continue;
                }
                [value] if !source.starts_with("list") => format!("{flag} = {}", quoted(value)),
                many => format!("{flag} = [{}]", many.iter().map(quoted).collect::<Vec<_>>().join(", ")),
            };
            let source = source.trim_start_matches("list, ");
            let pad = 60_usize.saturating_sub(line.chars().count());
            text.push_str(&format!("{line}{:pad$}  # {source}\n", ""));
        }
        text
    }
}

/// Reads the process's flags and environment, and the file that `--config` or CTMS_CONFIG names.
///
/// # Errors
/// [`ConfigError::Usage`] for clap's own errors and `--help`; [`ConfigError::Impossible`] with every problem at once.
pub fn from_process<C: ServiceConfig>() -> Result<Loaded<C>, ConfigError> {
    load(std::env::args_os(), Environment::Read)
}

/// Fills a configuration from flags alone (without the binary's name): for several services in one process, and for tests.
/// The environment is not read, since its names are the same for every service.
///
/// # Errors
/// As [`from_process`].
pub fn from_flags<C: ServiceConfig, T: Into<OsString>>(flags: impl IntoIterator<Item = T>) -> Result<C, ConfigError> {
    let args = std::iter::once(OsString::from(C::INFO.name)).chain(flags.into_iter().map(Into::into));
    load::<C>(args, Environment::Ignore).map(|loaded| loaded.config)
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Environment {
    Read,
    Ignore,
}

pub(super) fn load<C: ServiceConfig>(
    args: impl IntoIterator<Item = OsString>,
    environment: Environment,
) -> Result<Loaded<C>, ConfigError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut problems = Problems::default();
    let command = command::<C>(environment);
    let mut matches = command.clone().try_get_matches_from(&args)?;
    let mut command = command;
    let mut from_file = Vec::new();
    if let Some(path) = matches.get_one::<PathBuf>("config").cloned() {
        (command, from_file) = with_file(command, &path, &mut problems)?;
        matches = command.clone().try_get_matches_from(&args)?;
    }
    let invocation = Invocation::from_arg_matches(&matches)?;
    let config = C::from_arg_matches(&matches)?;
    config.base().check(&mut problems);
    config.check(&mut problems);
    if !problems.is_empty() {
        return Err(ConfigError::Impossible(problems));
    }
    let settings = settings(&command, &matches, &from_file);
    Ok(Loaded { config, invocation, settings })
}

pub(super) fn command<C: ServiceConfig>(environment: Environment) -> clap::Command {
    let ServiceInfo { name, version, about, defaults } = C::INFO;
    let command = C::augment_args(Invocation::augment_args(clap::Command::new(name)));
    // After the groups: their own doc comments would stand in for these.
    let command = command.version(version).about(about).long_about(None);
    for (flag, _) in defaults {
        let there = command.get_arguments().any(|arg| arg.get_long() == Some(flag));
        debug_assert!(there, "ServiceInfo::defaults names --{flag}, which {name} does not have");
    }
    command.mut_args(|arg| {
        let default = arg.get_long().and_then(|long| defaults.iter().find(|(flag, _)| *flag == long));
        let arg = if let Some((_, default)) = default { arg.default_value(*default) } else { arg };
        // An empty variable is an unset one: `CTMS_X=` in a compose file must not be a value.
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if environment == Environment::Ignore || empty { arg.env(None::<&'static str>) } else { arg }
    })
}

fn is_setting(arg: &Arg) -> bool {
    arg.get_long().is_some() && !INVOCATION.contains(&arg.get_id().as_str())
}

fn is_repeatable(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append) || arg.get_num_args().is_some_and(|count| count.max_values() > 1)
}

/// The command with the file's values as defaults, and the flags it set.
fn with_file(
    command: clap::Command,
    path: &Path,
    problems: &mut Problems,
) -> Result<(clap::Command, Vec<String>), ConfigError> {
    let known: Vec<KnownFlag> = command
        .get_arguments()
        .filter(|arg| is_setting(arg))
        .filter_map(|arg| Some(KnownFlag { name: arg.get_long()?.to_owned(), repeatable: is_repeatable(arg) }))
        .collect();
    let value = file::read(path).map_err(|wrong| {
        let mut problems = Problems::default();
        problems.add_line(wrong);
        ConfigError::Impossible(problems)
    })?;
    let mut accepted_entries = Vec::new();
    for Entry { flag, values } in file::flatten(&value, path, &known, problems) {
        let Some(arg) = command.get_arguments().find(|arg| arg.get_long() == Some(&flag)) else { continue };
        match accepted(arg, &flag, &values) {
            Ok(()) => accepted_entries.push(Entry { flag, values }),
            Err(wrong) => problems.add_line(format!("{}: key {flag:?}: {wrong}", path.display())),
        }
    }
    let command = command.mut_args(|arg| {
        let entry = accepted_entries.iter().find(|entry| arg.get_long() == Some(&entry.flag));
        match entry {
            Some(entry) => arg.default_values(&entry.values),
            None => arg,
        }
    });
    Ok((command, accepted_entries.into_iter().map(|entry| entry.flag).collect()))
}

/// Asks the flag's own parser, by giving it to a command that has nothing else.
fn accepted(arg: &Arg, flag: &str, values: &[String]) -> Result<(), String> {
    if matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse) {
        return match values {
            [value] if value == "true" || value == "false" => Ok(()),
            _ => Err(format!("{values:?} is neither true nor false")),
        };
    }
    let alone = arg.clone().env(None::<&'static str>).required(false);
    let secret = arg.is_hide_env_values_set();
    let args = values.iter().map(|value| format!("--{flag}={value}"));
    clap::Command::new("file").no_binary_name(true).arg(alone).try_get_matches_from(args).map(|_| ()).map_err(|error| {
        if secret {
            return "its value cannot be taken (hidden: it is a secret)".to_owned();
        }
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.trim_start_matches("error: ").to_owned()
    })
}

fn settings(command: &clap::Command, matches: &ArgMatches, from_file: &[String]) -> Vec<Setting> {
    command
        .get_arguments()
        .filter(|arg| is_setting(arg))
        .filter_map(|arg| {
            let flag = arg.get_long()?.to_owned();
            let id = arg.get_id().as_str();
            let shown = |value: &std::ffi::OsStr| {
                let value = redact_property(&redact_url(&value.to_string_lossy()));
                if arg.is_hide_env_values_set() && !value.contains("://") { "***".to_owned() } else { value }
            };
            let values: Vec<String> = matches.get_raw(id).map(|raw| raw.map(shown).collect()).unwrap_or_default();
            let file = from_file.contains(&flag);
            let source = match (matches.value_source(id), is_repeatable(arg)) {
                (Some(ValueSource::CommandLine), false) => "flag",
                (Some(ValueSource::CommandLine), true) => "list, flag",
                (Some(ValueSource::EnvVariable), false) => "environment",
                (Some(ValueSource::EnvVariable), true) => "list, environment",
                (Some(_), false) if file => "file",
                (Some(_), true) if file => "list, file",
                (Some(_), _) => "default",
                (None, _) => "",
            };
            Some(Setting { flag, values, source })
        })
        .collect()
}
