//! The journal. The database itself refuses to change or remove an entry.

use contracts::ids::ProjectId;
use outbox::db::{self, ConnectionTrait, DbErr, QueryResult, Tx, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Arising, parsed, payable, sql_limit};
use crate::domain::{Posting, TrialBalanceLine};

/// An entry of the journal.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) payable_id: Uuid,
    pub(crate) event_id: String,
    pub(crate) posting: Posting,
    pub(crate) posted_at: OffsetDateTime,
}

/// Books payables that arise. Within a study ids rise in the order of posting, since its lock is held.
pub(super) async fn post(tx: &Tx, arising: &[Arising<'_>], now: OffsetDateTime) -> Result<(), DbErr> {
    let columns = [
        ("study_id", "text"),
        ("payable_id", "uuid"),
        ("event_id", "text"),
        ("description", "text"),
        ("debit_account", "text"),
        ("credit_account", "text"),
        ("currency", "text"),
        ("amount_minor", "bigint"),
        ("posted_at", "timestamptz"),
    ];
    let row = |(study, payable): &Arising<'_>| -> Option<[Value; 9]> {
        let posting = Posting::of(payable)?;
        Some([
            study.as_str().into(),
            payable::id(study, payable).into(),
            payable.event_id.as_str().into(),
            posting.description.into(),
            posting.debit.as_str().into(),
            posting.credit.as_str().into(),
            posting.currency.code().into(),
            posting.amount_minor.into(),
            now.into(),
        ])
    };
    db::insert(tx, "journal_entry", &columns, arising.iter().filter_map(row).collect(), "").await.map(drop)
}

/// Up to `limit` entries of a study with ids above `after`, in the order of posting.
pub(crate) async fn page(
    conn: &impl ConnectionTrait,
    study: &ProjectId,
    after: i64,
    limit: u64,
) -> Result<Vec<Entry>, DbErr> {
    let sql = "SELECT id, payable_id, event_id, description, debit_account, credit_account, currency, amount_minor, \
               posted_at FROM journal_entry WHERE study_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    let rows = db::query_all(conn, sql, [study.as_str().into(), after.into(), sql_limit(limit)]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &QueryResult) -> Result<Entry, DbErr> {
    Ok(Entry {
        id: row.try_get("", "id")?,
        payable_id: row.try_get("", "payable_id")?,
        event_id: row.try_get("", "event_id")?,
        posting: Posting {
            debit: parsed(row, "debit_account")?,
            credit: parsed(row, "credit_account")?,
            currency: parsed(row, "currency")?,
            amount_minor: row.try_get("", "amount_minor")?,
            description: row.try_get("", "description")?,
        },
        posted_at: row.try_get("", "posted_at")?,
    })
}

/// The sums per ledger account and currency, of one study or of all. One statement, so of one moment. A sum beyond 64 bits is an error of the
/// database, on both.
pub(crate) async fn trial_balance(
    conn: &impl ConnectionTrait,
    study: Option<&ProjectId>,
) -> Result<Vec<TrialBalanceLine>, DbErr> {
    let filter = if study.is_some() { "WHERE study_id = $1" } else { "" };
    let sql = format!(
        "SELECT account, currency, CAST(SUM(debit) AS bigint) AS debit, CAST(SUM(credit) AS bigint) AS credit FROM (
             SELECT debit_account AS account, currency, amount_minor AS debit, 0 AS credit FROM journal_entry {filter}
             UNION ALL
             SELECT credit_account AS account, currency, 0 AS debit, amount_minor AS credit FROM journal_entry {filter}
         ) AS sides GROUP BY account, currency ORDER BY account, currency"
    );
    let rows = db::query_all(conn, &sql, study.map(|study| study.as_str().into())).await?;
    rows.iter()
        .map(|row| {
            Ok(TrialBalanceLine {
                account: parsed(row, "account")?,
                currency: parsed(row, "currency")?,
                debit_minor: row.try_get("", "debit")?,
                credit_minor: row.try_get("", "credit")?,
            })
        })
        .collect()
}
