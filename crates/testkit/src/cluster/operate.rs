//! Looking after a running cluster as an operator would: the `ctms` command and the services' metrics.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Cluster, Service, binary};

impl Cluster {
    /// Runs `ctms` with these arguments against this cluster's broker and topic, and gives its last line as JSON.
    ///
    /// # Errors
    /// When it fails, with what it said, or prints no JSON.
    pub async fn ctms(&self, arguments: &[&str]) -> Result<Value> {
        let output = tokio::process::Command::new(binary("ctms")?)
            .args(arguments)
            .arg("--json")
            .env("CTMS_KAFKA_BROKERS", self.brokers())
            .env("CTMS_KAFKA_TOPIC", self.topics().events())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run ctms")?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("ctms {} ended with {}: {out}{err}", arguments.join(" "), output.status);
        }
        let last = out.lines().last().with_context(|| format!("ctms {} printed nothing", arguments.join(" ")))?;
        serde_json::from_str(last).with_context(|| format!("ctms {}: no JSON: {last}", arguments.join(" ")))
    }

    /// Everything under `/metrics` of the first instance.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&mut self, service: Service) -> Result<String> {
        let url = self.first(service).admin_url("/metrics");
        Ok(reqwest::get(url).await?.error_for_status()?.text().await?)
    }

    /// The sum of a metric's samples with this among their labels, at the first instance; 0 without one.
    ///
    /// # Errors
    /// When `/metrics` does not answer.
    pub async fn metric(&mut self, service: Service, name: &str, label: &str) -> Result<f64> {
        let text = self.metrics(service).await?;
        let samples = text.lines().filter_map(|line| {
            let labels = line.strip_prefix(name)?.strip_prefix('{')?;
            labels.contains(label).then(|| labels.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        });
        Ok(samples.sum())
    }
}
