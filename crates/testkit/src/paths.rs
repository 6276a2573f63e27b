//! Where the repository and its build output are.

use std::path::{Path, PathBuf};

/// The folder of the workspace's Cargo.toml.
#[must_use]
pub fn repository_root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Cargo's target folder, as `CARGO_TARGET_DIR` or the default names it.
#[must_use]
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository_root().join("target"), |dir| repository_root().join(dir))
}
