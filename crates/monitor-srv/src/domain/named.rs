//! Enums that are stored under a name: the name, all values, and the way back.

/// A stored name that stands for no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {name:?}")]
pub struct UnknownName {
    /// What it should have been.
    pub kind: &'static str,
    /// What it was.
    pub name: String,
}

/// Gives an enum `ALL`, `as_str` and `FromStr`.
macro_rules! named {
    ($type:ident, $kind:literal, { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name used in the database and over HTTP.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::domain::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err($crate::domain::UnknownName { kind: $kind, name: text.to_owned() }),
                }
            }
        }
    };
}
pub(crate) use named;

#[cfg(test)]
mod tests {
    use crate::domain::check::Outcome;
    use crate::domain::monitoring::State;
    use crate::domain::run::RunState;

    #[test]
    fn what_is_stored_reads_back() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(*outcome));
        }
        assert_eq!("MAYBE".parse::<State>().unwrap_err().to_string(), "unknown state of a monitoring \"MAYBE\"");
    }
}
