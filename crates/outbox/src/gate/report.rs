//! What the gate has to say about itself: for readiness details, metrics and the doctor. Reads only.

use std::time::Duration;

use time::OffsetDateTime;

use super::{Gate, effects::Effects, parked};
use crate::{
    db::{self, DbErr},
    ops::{self, Gap},
};

/// A consumer's state beyond its positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateReport {
    /// Records that wait for earlier ones.
    pub parked: u64,
    /// Their bytes.
    pub parked_bytes: u64,
    /// Dead letters that wait for a decision, quarantined ones among them.
    pub open_letters: u64,
    /// Gaps older than the alarm, the oldest first, ten at most.
    pub gaps: Vec<Gap>,
}

impl GateReport {
    /// What is wrong, in one sentence with the command that mends it; None when nothing is.
    #[must_use]
    pub fn detail(&self, group: &str, now: OffsetDateTime) -> Option<String> {
        let gap = self.gaps.first().map(|gap| {
            let age: Duration = (now - gap.since).try_into().unwrap_or_default();
            format!(
                "stream {} waits for number {} since {} s; `ctms outbox republish --project {} --group {group}` fills the gap",
                gap.stream_id, gap.missing, age.as_secs(), gap.stream_id
            )
        });
        let letters = (self.open_letters > 0)
            .then(|| format!("{} dead letters are open; `ctms dlq list` shows them", self.open_letters));
        let parts: Vec<String> = gap.into_iter().chain(letters).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

impl<E: Effects> Gate<E> {
    /// Reads the report and sets the gauges `gate_parked`, `gate_parked_bytes`, `gate_open_letters` and `gate_gaps`.
    ///
    /// # Errors
    /// The database's.
    pub async fn report(&self) -> Result<GateReport, DbErr> {
        let reader = self.inner.db.reader();
        let totals = parked::totals(reader).await?;
        let sql = "SELECT count(*) AS letters FROM dead_letter WHERE state IN ('open', 'quarantined')";
        let letters = db::query_one(reader, sql, []).await?.map_or(Ok(0), |row| row.try_get::<i64>("", "letters"))?;
        let gaps = ops::gaps(&self.inner.db, self.inner.options.gap_alarm_after).await?;
        let report = GateReport {
            parked: totals.records,
            parked_bytes: totals.bytes,
            open_letters: letters.unsigned_abs(),
            gaps,
        };
        self.set_gauges(&report);
        Ok(report)
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floating point; these counts stay far below 2^52")]
    fn set_gauges(&self, report: &GateReport) {
        let group = &self.inner.options.group;
        let gauge = |name: &'static str, value: u64| metrics::gauge!(name, "group" => group.clone()).set(value as f64);
        gauge("gate_parked", report.parked);
        gauge("gate_parked_bytes", report.parked_bytes);
        gauge("gate_open_letters", report.open_letters);
        gauge("gate_gaps", report.gaps.len() as u64);
    }
}
