//! Kafka in a container of a running Docker engine.

use anyhow::{Context as _, Result};

use super::settings;
use crate::{container::Container, free_port};

const IMAGE: &str = "apache/kafka:4.3.1";
/// The container's own loopback: the number cannot meet another's.
const CONTROLLER_PORT: u16 = 9093;

pub(super) fn start() -> Result<(Container, u16)> {
    let port = free_port();
    let mut options = vec!["-p".to_owned(), format!("127.0.0.1:{port}:{port}")];
    for (key, value) in settings::properties("0.0.0.0", port, CONTROLLER_PORT) {
        options.push("-e".to_owned());
        options.push(format!("KAFKA_{}={value}", key.to_uppercase().replace('.', "_")));
    }
    let container = Container::run(IMAGE, "ctms-test-kafka", &options, &[]).context("Docker cannot run Kafka")?;
    Ok((container, port))
}
