//! docker-compose.yml as it stands: builds the images, comes up healthy, and its demo shows the three reactions.
//! Many minutes and a Docker engine: `cargo xtask test --compose` runs it, and only that.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use testkit::{repository_root, skip};

/// Set by `cargo xtask test --compose`.
const ASKED_FOR: &str = "CTMS_TEST_COMPOSE";
/// Apart from a cluster that a developer may have up; the ports are the same.
const PROJECT: &str = "ctms-test";

/// Takes the cluster down with its volumes, however the test ends.
struct Cluster {
    offline: bool,
}

impl Cluster {
    fn compose(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["compose", "--project-name", PROJECT])
            .args(arguments)
            .current_dir(repository_root())
            .stdin(Stdio::null());
        if self.offline {
            // The engine that offline-docker.sh installs has no buildx.
            command.env("DOCKER_BUILDKIT", "0");
        }
        command
    }

    fn must(&self, arguments: &[&str]) {
        let status = self.compose(arguments).status().expect("docker runs");
        assert!(status.success(), "docker compose {}: {status}", arguments.join(" "));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A failure of these two must not hide the test's own.
        if std::thread::panicking() {
            let _shown = self.compose(&["logs", "--tail", "20"]).status();
        }
        let _down = self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "40"]).status();
    }
}

#[test]
fn the_compose_cluster_comes_up_healthy_and_its_demo_runs() {
    if std::env::var_os(ASKED_FOR).is_none() {
        skip(format!("{ASKED_FOR} is not set; `cargo xtask test --compose` sets it"));
        return;
    }
    // Where no image registry is reachable, the shared tool supplies an engine and the public images by their names.
    let offline_tool = std::env::var_os("CTMS_SHARED").map(|dir| Path::new(&dir).join("tools/offline-docker.sh"));
    if let Some(tool) = &offline_tool {
        for step in ["engine", "images"] {
            let status = Command::new(tool).arg(step).stdin(Stdio::null()).status().unwrap();
            assert!(status.success(), "{} {step}: {status}", tool.display());
        }
    } else if !Command::new("docker").args(["compose", "version"]).output().is_ok_and(|output| output.status.success())
    {
        skip("no docker compose, and CTMS_SHARED does not say where offline-docker.sh is");
        return;
    }
    let cluster = Cluster { offline: offline_tool.is_some() };
    cluster.must(&["up", "--build", "--wait"]);
    let demo = cluster.compose(&["run", "--rm", "demo"]).output().unwrap();
    let said = String::from_utf8_lossy(&demo.stdout);
    println!("{said}");
    assert!(demo.status.success(), "the demo ended with {}: {}", demo.status, String::from_utf8_lossy(&demo.stderr));
    for service in ["epro", "finance", "monitor"] {
        assert!(said.contains(service), "the demo shows nothing of {service}");
    }
}
