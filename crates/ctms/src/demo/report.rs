//! What the demo shows: a live account for people, or one JSON object for programs. It knows nothing of gRPC.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::output;

/// One effect that a service's public API showed, and how long after the call's OK.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reaction {
    pub(crate) service: &'static str,
    pub(crate) event_id: String,
    pub(crate) effect: String,
    pub(crate) latency_ms: f64,
}

/// One phase of the demo, with every effect that belongs to it.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) step: &'static str,
    pub(crate) ok: bool,
    /// How long the phase took, in milliseconds.
    pub(crate) duration_ms: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) effects: Vec<Reaction>,
}

/// The whole run, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) ok: bool,
    pub(crate) project_id: String,
    /// The first effect of `StartProject` in each service.
    pub(crate) reactions: Vec<Reaction>,
    pub(crate) steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Outcome {
    /// Nothing was played, because of this error.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        Self {
            ok: false,
            project_id: String::new(),
            reactions: vec![],
            steps: vec![],
            error: Some(service_kit::sentence(error)),
        }
    }
}

/// Writes the live account. Silent where one JSON object is wanted instead.
pub(crate) struct Report {
    live: bool,
    spinner: Option<ProgressBar>,
}

impl Report {
    /// A live account on stdout.
    pub(crate) fn live() -> Self {
        Self { live: true, spinner: None }
    }

    /// No account: the caller prints JSON.
    pub(crate) fn silent() -> Self {
        Self { live: false, spinner: None }
    }

    /// A heading between phases.
    pub(crate) fn heading(&self, text: &str) {
        self.line(&format!("\n{text}"));
    }

    /// Something that is done, and who did it.
    pub(crate) fn done(&self, who: &str, what: &str) {
        self.line(&format!("  ✓ {who:<9} {what}"));
    }

    /// An effect that was just read back.
    pub(crate) fn reaction(&self, reaction: &Reaction) {
        self.line(&format!("  ✓ {:<9} {:>9}  {}", reaction.service, latency(reaction.latency_ms), reaction.effect));
    }

    /// A plain line.
    pub(crate) fn line(&self, text: &str) {
        if !self.live {
            return;
        }
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| output::line(text)),
            None => output::line(text),
        }
    }

    /// Says on stderr what is being waited for, until [`Report::waited`]. `--json` shows it too: stdout stays clean.
    pub(crate) fn waiting(&mut self, what: &str) {
        if std::io::stderr().is_terminal() {
            let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(80));
            self.spinner = Some(spinner);
        }
    }

    /// Changes what [`Report::waiting`] says.
    pub(crate) fn still_waiting(&self, what: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(what.to_owned());
        }
    }

    /// The wait is over.
    pub(crate) fn waited(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

fn latency(ms: f64) -> String {
    if ms < 1000.0 { format!("+{ms:.1} ms") } else { format!("+{:.2} s", ms / 1000.0) }
}

/// Milliseconds with a resolution of 10 µs.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
