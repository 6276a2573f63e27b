//! Circuit

/// Whether the environment lets the pool work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CircuitState {
    /// Work goes on.
    #[default]
    Closed,
    /// The environment failed: the pool pauses.
    Open,
    /// The pause is over and one call tries the environment.
    Probing,
}
