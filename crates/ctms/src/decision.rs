//! The flags of every command that decides something for good: who, and why.

/// Who decided, and why; both are recorded.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct DecisionArgs {
    /// Who decides; the user of this shell where it is not said.
    #[arg(long, env = "CTMS_ACTOR", value_name = "NAME", default_value_t = user_of_this_shell())]
    pub(crate) by: String,
    /// Why.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) why: String,
}

fn user_of_this_shell() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|user| !user.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
