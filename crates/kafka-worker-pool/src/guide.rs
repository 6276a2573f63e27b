//! The documents of the crate, where rustdoc readers find them. They live in `docs/` and in the README.

#[doc = include_str!("../README.md")]
pub mod readme {}
#[doc = include_str!("../docs/guarantees.md")]
pub mod guarantees {}
#[doc = include_str!("../docs/tuning.md")]
pub mod tuning {}
#[doc = include_str!("../docs/metrics.md")]
pub mod metrics {}
#[doc = include_str!("../docs/migration.md")]
pub mod migration {}
