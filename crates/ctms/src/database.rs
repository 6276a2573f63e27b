//! How the commands that look after a database open it: an existing one, never a new file.

use std::path::Path;

use ::outbox::db::{self, Database};

/// Connects to the database of a service.
///
/// # Errors
/// It cannot be reached, or the SQLite file is not there.
pub(crate) async fn existing(url: &str) -> anyhow::Result<Database> {
    if let Some(path) = sqlite_path(url) {
        anyhow::ensure!(
            Path::new(path).is_file(),
            "there is no SQLite file {path}; name the service's database with --database, e.g. postgres://project@localhost/project"
        );
    }
    Ok(Database::connect(url, &db::Options::default()).await?)
}

fn sqlite_path(url: &str) -> Option<&str> {
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    Some(path.split('?').next().unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_not_there_is_refused_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.db");
        let refusal = existing(&format!("sqlite://{}", path.display())).await.unwrap_err().to_string();
        assert!(refusal.contains("none.db") && refusal.contains("--database"), "{refusal}");
        assert!(!path.exists());
    }
}
