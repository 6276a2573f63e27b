//! Each example runs to its end by itself, says what it should, and exits with 0.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends with a panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long an example may take on a machine that builds and tests beside it.
const DEADLINE: Duration = Duration::from_secs(60);

/// The example's binary. `cargo test` of everything has built it; `cargo test NAME` and `--test` have not.
fn example(name: &str) -> PathBuf {
    // target/debug/deps/examples-0123 is this test.
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples").join(name);
    if !path.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--package", "kafka-worker-pool", "--example", name]);
        cargo.args(profile.ends_with("release").then_some("--release"));
        let built = cargo.arg("--target-dir").arg(profile.parent().unwrap()).status().unwrap();
        assert!(built.success(), "cargo could not build {name}");
    }
    path
}

/// Runs it and returns what it printed.
fn run(name: &str, arguments: &[&str]) -> String {
    let mut child = Command::new(example(name))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What an example prints fits the pipe.
    let deadline = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            child.kill().unwrap();
            panic!("{name} did not end: {:?}", child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{name}: {}\n{printed}{}", output.status, String::from_utf8_lossy(&output.stderr));
    printed
}

fn assert_says(printed: &str, parts: &[&str]) {
    for part in parts {
        assert!(printed.contains(part), "{part:?} is missing in\n{printed}");
    }
}

#[test]
fn quickstart_on_the_embedded_broker() {
    let printed = run("quickstart", &[]);
    assert_says(&printed, &["stopped cleanly", "100 records done, of them 1 dead letter; 14 retries; 0 left undone"]);
}

#[test]
fn typed_json_on_the_embedded_broker() {
    let printed = run("typed_json", &[]);
    assert_says(
        &printed,
        &[
            "order 6 of eve: 6 cup",
            "o-1: deleted",
            "at lines[1].count, line 1 column",
            "EOF while parsing",
            "order 4 has no lines",
            "7 records done, of them 3 dead letters; 2 retries; 0 left undone",
        ],
    );
}

#[test]
fn batches_on_the_embedded_broker() {
    assert_says(
        &run("batches", &[]),
        &["nothing is missing, nothing is booked twice", "12502500 cents on 50 accounts"],
    );
}

#[test]
fn from_kq_on_the_embedded_broker() {
    let printed = run("from_kq", &[]);
    assert_says(
        &printed,
        &[
            "Processors: 16 becomes Options::workers = 32",
            "ForceCommit: true has no counterpart",
            "200 records done, of them 0 dead letters; 1 retry; 0 left undone",
        ],
    );
}

#[test]
fn from_parallel_consumer_on_the_embedded_broker() {
    let printed = run("from_parallel_consumer", &[]);
    assert_says(
        &printed,
        &["parcel 99 has no address", "300 records done, of them 1 dead letter; 2 retries; 0 left undone"],
    );
}
