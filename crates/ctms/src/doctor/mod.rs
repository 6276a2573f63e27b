//! `ctms doctor`: what is wrong between the parts, each with the command that mends it. It only looks.

mod broker;
mod databases;
mod groups;
mod reach;
mod services;

use std::{path::PathBuf, process::ExitCode};

use serde::Serialize;
use service_kit::config::KafkaArgs;

use crate::{invocation, output};

use reach::Reach;

/// Flags of `ctms doctor`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// Admin HTTP of the services.
    #[arg(
        long = "admin-url",
        env = "CTMS_ADMIN_URLS",
        value_name = "URL",
        value_delimiter = ',',
        default_values = ["http://127.0.0.1:8081", "http://127.0.0.1:8082", "http://127.0.0.1:8083", "http://127.0.0.1:8084"]
    )]
    admin_urls: Vec<String>,
    /// Database of a service, e.g. postgres://project@localhost/project; repeat it. Without it the files in --data are looked at.
    #[arg(
        long = "database",
        env = "CTMS_DATABASES",
        value_name = "URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    databases: Vec<String>,
    /// Data folder of `ctms dev`, looked at where it exists.
    #[arg(long, env = "CTMS_DATA", value_name = "DIR", default_value = ".ctms")]
    data: PathBuf,
    /// Print one JSON object on the last line of stdout.
    #[arg(long)]
    json: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Something does not work, or waits for a decision.
    Problem,
    /// It works; it could be better.
    Advice,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    severity: Severity,
    part: String,
    found: String,
    remedy: String,
}

impl Finding {
    fn problem(part: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, part: part.into(), found: found.into(), remedy: remedy.into() }
    }

    fn advice(part: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Advice, part: part.into(), found: found.into(), remedy: remedy.into() }
    }
}

/// What was looked at, and what was found.
#[derive(Debug, Default)]
struct Examination {
    healthy: Vec<String>,
    findings: Vec<Finding>,
}

impl Examination {
    fn healthy(&mut self, what: impl Into<String>) {
        self.healthy.push(what.into());
    }

    fn find(&mut self, finding: Finding) {
        let (found, remedy) = (invocation::as_called(&finding.found), invocation::as_called(&finding.remedy));
        self.findings.push(Finding { found, remedy, ..finding });
    }
}

/// Looks at everything; the exit code is 1 if there is a problem.
///
/// # Errors
/// The settings are wrong. What cannot be reached is a finding, not an error.
pub(crate) async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let config = crate::broker::client(&args.kafka)?;
    let mut examination = Examination::default();
    let mut reach = Reach::of(&args.kafka);
    if broker::examine(&config, &reach, &mut examination).await {
        groups::examine(&config, &args.kafka.kafka_topic, &mut examination).await;
    }
    let urls = if args.databases.is_empty() { databases::in_folder(&args.data) } else { args.databases.clone() };
    reach.publisher = databases::publisher(&urls).await;
    services::examine(&args.admin_urls, &reach, &mut examination).await?;
    for url in &urls {
        databases::examine(url, &reach, &mut examination).await;
    }
    let problems = examination.findings.iter().filter(|finding| finding.severity == Severity::Problem).count();
    if args.json {
        output::json(
            &serde_json::json!({ "ok": problems == 0, "healthy": examination.healthy, "findings": examination.findings }),
        )?;
    } else {
        print(&examination, problems);
    }
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(examination: &Examination, problems: usize) {
    for what in &examination.healthy {
        output::line(&format!("  ✓ {what}"));
    }
    for finding in &examination.findings {
        let mark = if finding.severity == Severity::Problem { "✗" } else { "·" };
        output::line(&format!("  {mark} {}: {}\n      → {}", finding.part, finding.found, finding.remedy));
    }
    output::line(&match problems {
        0 => "nothing is wrong".to_owned(),
        1 => "1 problem".to_owned(),
        more => format!("{more} problems"),
    });
}
