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

            /// The name used in the database.
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

pub(super) use named;

#[cfg(test)]
mod tests {
    use crate::domain::campaign::State;
    use crate::domain::plan::PushKind;
    use crate::domain::push::{Channel, PushState};
    use crate::domain::submission::AssignmentState;

    #[test]
    fn every_value_reads_back_from_its_name() {
        assert!(State::ALL.iter().all(|value| value.as_str().parse() == Ok(*value)));
        assert!(PushKind::ALL.iter().all(|value| value.as_str().parse() == Ok(*value)));
        assert!(PushState::ALL.iter().all(|value| value.as_str().parse() == Ok(*value)));
        assert!(Channel::ALL.iter().all(|value| value.as_str().parse() == Ok(*value)));
        assert!(AssignmentState::ALL.iter().all(|value| value.as_str().parse() == Ok(*value)));
    }

    #[test]
    fn an_unknown_name_is_named() {
        assert_eq!("RUNNING".parse::<State>().unwrap_err().to_string(), "unknown campaign state \"RUNNING\"");
    }
}
