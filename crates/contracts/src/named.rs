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
#[macro_export]
macro_rules! named {
    ($type:ident, $kind:literal, { $($variant:ident => $name:literal),+ $(,)? }) => {
        #[allow(unreachable_pub, reason = "as visible as the enum, which may be private")]
        impl $type {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name under which it is stored and shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownName { kind: $kind, name: text.to_owned() }),
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Light {
        Red,
        Green,
    }
    crate::named!(Light, "light", { Red => "RED", Green => "GREEN" });

    #[test]
    fn every_value_reads_back_from_its_name() {
        assert!(Light::ALL.iter().all(|value| value.as_str().parse() == Ok(*value)));
    }

    #[test]
    fn an_unknown_name_is_named() {
        assert_eq!("BLUE".parse::<Light>().unwrap_err().to_string(), "unknown light \"BLUE\"");
    }
}
