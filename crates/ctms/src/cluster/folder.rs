//! The data folder: made if absent, and locked, so that two clusters never share one set of SQLite files.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// A folder that is ours until this value is dropped, or the process dies.
#[derive(Debug)]
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder and takes its lock.
    ///
    /// # Errors
    /// It cannot be made or written, or another process holds it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let remedy = "name another folder with --data DIR, or make this one writable";
        std::fs::create_dir_all(path).with_context(|| format!("cannot make the data folder {shown}; {remedy}"))?;
        let lock_path = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .with_context(|| format!("cannot write to the data folder {shown}; {remedy}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!(
                    "the data folder {shown} is in use by another ctms; stop that one, or name another folder with --data DIR"
                )
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}; {remedy}", lock_path.display()));
            }
        }
        let path = path.canonicalize().with_context(|| format!("cannot resolve the data folder {shown}"))?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path()).unwrap();
        let refusal = DataFolder::open(folder.path()).unwrap_err().to_string();
        assert!(refusal.contains("in use by another ctms") && refusal.contains(&folder.path().display().to_string()));
        drop(first);
        DataFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_refused_with_the_remedy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refusal = DataFolder::open(file.path()).unwrap_err().to_string();
        assert!(refusal.contains("--data DIR"), "{refusal}");
    }
}
