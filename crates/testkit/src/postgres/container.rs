//! PostgreSQL in a container of a running Docker engine.

use anyhow::{Context as _, Result};

use crate::{container::Container, free_port};

const IMAGE: &str = "postgres:18";

pub(super) fn start() -> Result<(Container, u16)> {
    let port = free_port();
    let options = [
        "-p".to_owned(),
        format!("127.0.0.1:{port}:5432"),
        "-e".to_owned(),
        "POSTGRES_HOST_AUTH_METHOD=trust".to_owned(),
    ];
    let container = Container::run(IMAGE, "ctms-test-postgres", &options, &["-c", "max_connections=300"])
        .context("Docker cannot run PostgreSQL")?;
    Ok((container, port))
}
