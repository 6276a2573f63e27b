//! The harness of the tests that run the real binaries: each scenario once for each stack, with a cluster of its own.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::{
    Missing,
    cluster::{Cluster, Service, Settings, Stack},
    skip,
};

/// A scenario that hangs is a failure after this time.
const DEADLINE: Duration = Duration::from_secs(240);

/// A test that is not written down yet: its name, its stacks, its settings.
#[derive(Debug, Clone)]
pub struct Scenario {
    name: &'static str,
    stacks: Vec<Stack>,
    settings: Settings,
}

/// A scenario on these stacks; [`Scenario::shows`] makes it a test.
#[must_use]
pub fn scenario(name: &'static str, stacks: &[Stack]) -> Scenario {
    Scenario { name, stacks: stacks.to_vec(), settings: Vec::new() }
}

impl Scenario {
    /// Starts a service with this flag (without dashes) at this value.
    #[must_use]
    pub fn with(mut self, service: Service, flag: &'static str, value: &str) -> Self {
        self.settings.push((service, flag, value.to_owned()));
        self
    }

    /// One test for each stack, `<name>::<stack>`.
    #[expect(clippy::needless_pass_by_value, reason = "a closure is handed over, each stack gets a copy")]
    pub fn shows(self, body: impl AsyncFn(&mut Cluster) -> Result<()> + Clone + Send + 'static) -> Vec<Trial> {
        let Self { name, stacks, settings } = self;
        stacks
            .into_iter()
            .map(|stack| {
                let (body, settings) = (body.clone(), settings.clone());
                Trial::test(format!("{name}::{stack}"), move || run_one(stack, settings, &body))
            })
            .collect()
    }
}

/// Runs the scenarios as the harness of a test file.
#[must_use]
pub fn run(scenarios: Vec<Vec<Trial>>) -> ExitCode {
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, scenarios.into_iter().flatten().collect()).exit_code()
}

fn run_one(stack: Stack, settings: Settings, body: &impl AsyncFn(&mut Cluster) -> Result<()>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start a runtime")
        .map_err(|error| format!("{error:#}"))?;
    runtime.block_on(async {
        let mut cluster = match Cluster::start(stack, settings).await {
            Ok(cluster) => cluster,
            Err(error) => return missing_or_failed(&error),
        };
        let outcome = tokio::time::timeout(DEADLINE, body(&mut cluster)).await;
        let error = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no end after {DEADLINE:?}"),
        };
        if error.is::<Missing>() {
            return missing_or_failed(&error);
        }
        Err(format!("{error:#}\n{}", cluster.logs()).into())
    })
}

fn missing_or_failed(error: &anyhow::Error) -> Result<(), Failed> {
    if error.chain().any(<dyn std::error::Error>::is::<Missing>) {
        skip(format!("{error:#}"));
        return Ok(());
    }
    Err(format!("{error:#}").into())
}
