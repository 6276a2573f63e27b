//! `ctms` as a process.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// The command without settings of this shell, in a folder of its own.
pub(crate) fn ctms(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctms"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CTMS_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}
