//! The four services by name.

use std::fmt;

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Owns projects and writes their events.
    Project,
    /// Questionnaires.
    Epro,
    /// Payables.
    Finance,
    /// Data-quality checks.
    Monitor,
}

impl Service {
    /// All of them; the writer first.
    pub const ALL: [Self; 4] = [Self::Project, Self::Epro, Self::Finance, Self::Monitor];
    /// Those that react to a project's events.
    pub const CONSUMERS: [Self; 3] = [Self::Epro, Self::Finance, Self::Monitor];

    /// The name of its binary, and of its consumer group if it has one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Project => "project-srv",
            Self::Epro => "epro-srv",
            Self::Finance => "finance-srv",
            Self::Monitor => "monitor-srv",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
