//! Runs one test executable as cargo would, shows its output as it comes, and counts.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{build::TestExecutable, failures::Failures, shown::Shown, tally::Tally};

/// No test executable may take longer, so that a hanging test ends in a failure with a name.
const DEADLINE: Duration = Duration::from_secs(20 * 60);
/// How long the output of an ended test may be held open by a process it left behind.
const REST_OF_OUTPUT: Duration = Duration::from_secs(5);

/// How a run ended: its numbers, and what to repeat of its failures.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) tally: Tally,
    pub(crate) failures: Vec<String>,
}

/// Runs the executable with what `cargo test` gives it, and with what the tests themselves look for.
pub(crate) fn executable(
    test: &TestExecutable,
    environment: &[(String, String)],
    filter: Option<&str>,
) -> Result<Ended> {
    let mut command = Command::new(&test.path);
    command
        .args(filter)
        // Captured output would hide what a passing test says about its skip.
        .arg("--nocapture")
        .current_dir(&test.manifest_dir)
        .env("CARGO", env!("CARGO"))
        .env("CARGO_MANIFEST_DIR", &test.manifest_dir)
        .env("CARGO_PKG_NAME", &test.package)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    counted(command, &format!("{} {}", test.package, test.target))
        .with_context(|| format!("cannot run {}", test.path.display()))
}

/// Runs the examples in the documentation.
pub(crate) fn documentation() -> Result<Ended> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--quiet", "--workspace", "--doc"]);
    counted(command, "documentation")
}

fn counted(mut command: Command, name: &str) -> Result<Ended> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (sender, lines) = mpsc::channel();
    let stdout = child.stdout.take().context("the test has no stdout")?;
    let stderr = child.stderr.take().context("the test has no stderr")?;
    // Not joined: they end with the pipes, which a process left behind may hold open.
    thread::spawn({
        let sender = sender.clone();
        move || forward(stdout, &sender)
    });
    thread::spawn(move || forward(stderr, &sender));
    let mut tally = Tally::default();
    let mut failures = Failures::default();
    let mut shown = Shown::under(format!("\n== {name}"));
    let status = watch(&mut child, &lines, |line| {
        show(shown.next(line));
        tally.read_line(line);
        failures.read_line(line);
    })?;
    show(shown.end());
    let tally = tally.settle(status.is_some_and(|status| status.success()));
    let failures = if tally.failed > 0 { failures.report(name) } else { Vec::new() };
    Ok(Ended { tally, failures })
}

fn forward(pipe: impl Read, lines: &mpsc::Sender<String>) {
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
    }
}

fn show(lines: Vec<String>) {
    for line in lines {
        println!("{line}");
    }
}

/// Hands on the lines until the test has ended; `None` when it had to be killed.
fn watch(child: &mut Child, lines: &mpsc::Receiver<String>, mut each: impl FnMut(&str)) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    let mut ended: Option<(ExitStatus, Instant)> = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => {
                each(&line);
                continue;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(Some(child.wait()?)),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if ended.is_none() {
            ended = child.try_wait()?.map(|status| (status, Instant::now()));
        }
        if let Some((status, at)) = ended {
            if at.elapsed() > REST_OF_OUTPUT {
                eprintln!("xtask: a process that the test left behind holds its output open");
                return Ok(Some(status));
            }
        } else if start.elapsed() > DEADLINE {
            eprintln!("xtask: no end after {DEADLINE:?}: killed");
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
    }
}
