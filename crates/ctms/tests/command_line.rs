//! `ctms` as its users meet it: what it prints, on which stream, and with which exit code. Needs no server.

mod common;

use std::{
    io::Read as _,
    net::TcpListener,
    process::{Output, Stdio},
};

use common::ctms;
use serde_json::Value;

/// An address where nobody listens: discard's port, which needs root.
const NOBODY: &str = "127.0.0.1:9";

fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    ctms(folder.path(), arguments).output().expect("ctms runs")
}

/// Runs them side by side: an absent broker is waited for.
fn run_all<'a>(commands: &[Vec<&'a str>]) -> Vec<(Vec<&'a str>, Output)> {
    std::thread::scope(|scope| {
        let running: Vec<_> = commands.iter().map(|arguments| scope.spawn(|| run(arguments))).collect();
        let outputs = running.into_iter().map(|run| run.join().expect("ctms ran"));
        commands.iter().cloned().zip(outputs).collect()
    })
}

/// The last line of stdout, which must be JSON.
fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_else(|| panic!("nothing on stdout: {output:?}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// The one sentence on stderr of a command that fails.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    assert_eq!(text.lines().count(), 1, "not one sentence: {text}");
    text
}

#[test]
fn the_demo_as_json_has_one_reaction_of_each_service_and_every_phase() {
    let output = run(&["demo", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let account = last_line(&output);
    assert_eq!(account["ok"], true);
    let reactions = account["reactions"].as_array().unwrap();
    let mut services: Vec<_> = reactions.iter().map(|reaction| reaction["service"].as_str().unwrap()).collect();
    services.sort_unstable();
    assert_eq!(services, ["epro", "finance", "monitor"]);
    for reaction in reactions {
        assert!(reaction["latency_ms"].as_f64().unwrap() > 0.0, "{reaction}");
        assert_eq!(reaction["event_id"], reactions[0]["event_id"], "all react to the one ProjectStarted");
    }
    let steps: Vec<_> =
        account["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["prepare", "start", "suspend", "resume", "nothing_doubled"]);
}

#[test]
fn a_failure_is_one_line_of_json_where_json_was_asked_for() {
    let commands = [
        vec!["demo", "--json", "--kafka", NOBODY],
        vec!["load", "--json", "--kafka", NOBODY],
        vec!["topics", "check", "--json", "--kafka-brokers", NOBODY],
        vec!["dlq", "--kafka-brokers", NOBODY, "--json", "list"],
        vec!["outbox", "status", "--json", "--database", "sqlite://none.db"],
    ];
    for (arguments, output) in run_all(&commands) {
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let failure = last_line(&output);
        assert_eq!(failure["ok"], false, "{arguments:?}");
        let said = failure["error"].as_str().unwrap();
        assert!(said.contains(NOBODY) || said.contains("none.db"), "{said}");
    }
}

#[test]
fn a_misuse_is_one_line_of_json_too_where_json_was_asked_for() {
    for (arguments, named) in [
        (&["demo", "--json", "--patience", "never"][..], "never"),
        (&["dlq", "replay", "--json"], "<LETTER>"),
        (&["outbox", "--json", "republish"], "--project"),
        (&["nonsense", "--json"], "nonsense"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let failure = last_line(&output);
        assert_eq!(failure["ok"], false, "{arguments:?}");
        assert!(failure["error"].as_str().unwrap().contains(named), "{failure}");
        assert!(!output.stderr.is_empty(), "people read stderr");
    }
    assert!(run(&["dlq", "replay"]).stdout.is_empty());
    let help = run(&["demo", "--help", "--json"]);
    assert!(help.status.success() && !String::from_utf8_lossy(&help.stdout).contains("\"ok\""));
}

#[test]
fn dev_says_in_one_sentence_why_it_cannot_start_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = refusal(&run(&["dev", "--kafka-port", "0", "--admin-port", "0", "--grpc-port", &port]));
    assert!(said.contains(&port) && said.contains("another port"), "{said}");

    let free = ["--kafka-port", "0", "--admin-port", "0", "--grpc-port", "0"];
    for (arguments, remedy) in [
        (["--data", "/dev/null/x"], "--data DIR"),
        (["--kafka", NOBODY], "check the address"),
        (["--database", "sqlite://project.db"], "postgres://USER@HOST"),
        (["--database", "postgres://nobody@127.0.0.1:9"], "check that PostgreSQL runs"),
    ] {
        let said = refusal(&run(&[&["dev"][..], &free, &arguments].concat()));
        assert!(said.contains(remedy), "{arguments:?}: {said}");
    }
}

#[test]
fn a_reader_who_has_enough_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["doctor", "--kafka-brokers", NOBODY, "--admin-url", "http://127.0.0.1:9"];
    let mut child = ctms(folder.path(), &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "the doctor's own verdict");
    assert!(!said.contains("panicked"), "{said}");
}
