//! Fee schedules: written once, never changed.

use std::collections::{BTreeMap, BTreeSet};

use contracts::ids::{ProjectId, SiteId};
use outbox::db::{self, ConnectionTrait, DbErr, QueryResult, Tx, Value};

use super::{among, parsed, unreadable};
use crate::domain::{Fee, FeeSchedule, Span, Terms};

/// Writes a schedule.
pub(crate) async fn insert(tx: &Tx, study: &ProjectId, schedule: &FeeSchedule) -> Result<(), DbErr> {
    let sql = format!(
        "INSERT INTO fee_schedule (id, study_id, currency, effective_from, effective_to, startup_fee_minor, site_fees, \
         created_at, created_by) VALUES ({})",
        db::list(1, 9)
    );
    let terms = &schedule.terms;
    let site_fees: serde_json::Map<String, serde_json::Value> =
        terms.site_fees.iter().map(|(site_id, fee)| (site_id.to_string(), fee.minor().into())).collect();
    let values: [Value; 9] = [
        schedule.id.into(),
        study.as_str().into(),
        terms.currency.code().into(),
        terms.span.from().into(),
        terms.span.to().into(),
        terms.startup_fee.minor().into(),
        serde_json::Value::Object(site_fees).into(),
        schedule.created_at.into(),
        schedule.created_by.as_str().into(),
    ];
    db::exec(tx, &sql, values).await.map(drop)
}

/// The schedules of these studies, each study's by their first day; at most as many as a study may have.
pub(crate) async fn of(
    conn: &impl ConnectionTrait,
    studies: &BTreeSet<&ProjectId>,
) -> Result<Vec<(ProjectId, FeeSchedule)>, DbErr> {
    let (found, values) = among(conn, studies)?;
    let sql = format!(
        "SELECT study_id, id, currency, effective_from, effective_to, startup_fee_minor, site_fees, created_at, created_by \
         FROM fee_schedule WHERE study_id {found} ORDER BY study_id, effective_from"
    );
    let rows = db::query_all(conn, &sql, values).await?;
    rows.iter().map(|row| Ok((parsed(row, "study_id")?, read(row)?))).collect()
}

fn read(row: &QueryResult) -> Result<FeeSchedule, DbErr> {
    let span = Span::new(row.try_get("", "effective_from")?, row.try_get("", "effective_to")?);
    let fee = |column, minor| Fee::new(minor).map_err(|error| unreadable(column, error));
    let site_fees: BTreeMap<SiteId, i64> =
        serde_json::from_value(row.try_get("", "site_fees")?).map_err(|error| unreadable("site_fees", error))?;
    Ok(FeeSchedule {
        id: row.try_get("", "id")?,
        terms: Terms {
            currency: parsed(row, "currency")?,
            span: span.map_err(|error| unreadable("effective_to", error))?,
            startup_fee: fee("startup_fee_minor", row.try_get("", "startup_fee_minor")?)?,
            site_fees: site_fees
                .into_iter()
                .map(|(site_id, minor)| Ok((site_id, fee("site_fees", minor)?)))
                .collect::<Result<_, DbErr>>()?,
        },
        created_at: row.try_get("", "created_at")?,
        created_by: row.try_get("", "created_by")?,
    })
}
