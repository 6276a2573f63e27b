//! Ways here from other consumers. `docs/migration.md` has them in words; Parallel Consumer's options are code, so their way is a table and an
//! example there.

#[cfg(feature = "kq")]
pub mod kq;
#[cfg(all(test, feature = "kq"))]
mod kq_tests;
