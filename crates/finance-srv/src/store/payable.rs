//! Payables: written when they arise; only their state changes.

use contracts::ids::{ProjectId, SiteId};
use outbox::db::{self, ConnectionTrait, DbErr, QueryResult, Tx, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Arising, parsed, sql_limit, unreadable};
use crate::domain::{Currency, Fee, NewPayable, PayableKind, PayableState, Settlement};

/// Namespace of the ids of payables.
const NAMESPACE: Uuid = Uuid::from_u128(0x41c7_90e3_5d28_4b6f_8a13_c2f9_7704_be5d);

/// A payable as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Payable {
    pub(crate) id: Uuid,
    pub(crate) site_id: SiteId,
    pub(crate) kind: PayableKind,
    pub(crate) currency: Currency,
    pub(crate) amount: Fee,
    pub(crate) state: PayableState,
    pub(crate) fee_schedule_id: Uuid,
    pub(crate) event_id: String,
    pub(crate) last_event_id: String,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) updated_at: OffsetDateTime,
}

/// The id follows from what the payable stands for, so that the same debt has the same id whenever it arises. Ids hold no slash, so no two
/// names are equal.
pub(super) fn id(study: &ProjectId, payable: &NewPayable) -> Uuid {
    let name = format!("{study}/{}/{}", payable.site_id, payable.kind.as_str());
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

pub(super) async fn insert(tx: &Tx, arising: &[Arising<'_>], now: OffsetDateTime) -> Result<(), DbErr> {
    let columns = [
        ("id", "uuid"),
        ("study_id", "text"),
        ("site_id", "text"),
        ("kind", "text"),
        ("currency", "text"),
        ("amount_minor", "bigint"),
        ("state", "text"),
        ("fee_schedule_id", "uuid"),
        ("event_id", "text"),
        ("last_event_id", "text"),
        ("created_at", "timestamptz"),
        ("updated_at", "timestamptz"),
    ];
    let row = |(study, payable): &Arising<'_>| -> [Value; 12] {
        [
            id(study, payable).into(),
            study.as_str().into(),
            payable.site_id.as_str().into(),
            payable.kind.as_str().into(),
            payable.currency.code().into(),
            payable.amount.minor().into(),
            payable.state.as_str().into(),
            payable.fee_schedule_id.into(),
            payable.event_id.as_str().into(),
            payable.event_id.as_str().into(),
            now.into(),
            now.into(),
        ]
    };
    db::insert(tx, "payable", &columns, arising.iter().map(row).collect(), "").await.map(drop)
}

/// Moves the payables of a study as `settlement` says.
pub(crate) async fn settle(
    tx: &Tx,
    study: &ProjectId,
    settlement: Settlement,
    event_id: &str,
    now: OffsetDateTime,
) -> Result<(), DbErr> {
    let from = settlement.from();
    let sql = format!(
        "UPDATE payable SET state = $2, last_event_id = $3, updated_at = $4 WHERE study_id = $1 AND state IN ({})",
        db::list(5, from.len())
    );
    let mut values: Vec<Value> =
        vec![study.as_str().into(), settlement.to().as_str().into(), event_id.into(), now.into()];
    values.extend(from.iter().map(|state| Value::from(state.as_str())));
    db::exec(tx, &sql, values).await.map(drop)
}

/// Which payables a list shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) state: Option<PayableState>,
    pub(crate) site_id: Option<SiteId>,
}

/// Up to `limit` payables of a study with ids above `after`, in order.
pub(crate) async fn page(
    conn: &impl ConnectionTrait,
    study: &ProjectId,
    filter: &Filter,
    after: Uuid,
    limit: u64,
) -> Result<Vec<Payable>, DbErr> {
    let mut sql = "SELECT id, site_id, kind, currency, amount_minor, state, fee_schedule_id, event_id, last_event_id, \
                   created_at, updated_at FROM payable WHERE study_id = $1 AND id > $2"
        .to_owned();
    let mut values: Vec<Value> = vec![study.as_str().into(), after.into(), sql_limit(limit)];
    let state = filter.state.map(PayableState::as_str);
    let site = filter.site_id.as_ref().map(SiteId::as_str);
    for (column, wanted) in [("state", state), ("site_id", site)] {
        if let Some(wanted) = wanted {
            values.push(wanted.into());
            sql += &format!(" AND {column} = ${}", values.len());
        }
    }
    sql += " ORDER BY id LIMIT $3";
    db::query_all(conn, &sql, values).await?.iter().map(read).collect()
}

fn read(row: &QueryResult) -> Result<Payable, DbErr> {
    Ok(Payable {
        id: row.try_get("", "id")?,
        site_id: parsed(row, "site_id")?,
        kind: parsed(row, "kind")?,
        currency: parsed(row, "currency")?,
        amount: Fee::new(row.try_get("", "amount_minor")?).map_err(|error| unreadable("amount_minor", error))?,
        state: parsed(row, "state")?,
        fee_schedule_id: row.try_get("", "fee_schedule_id")?,
        event_id: row.try_get("", "event_id")?,
        last_event_id: row.try_get("", "last_event_id")?,
        created_at: row.try_get("", "created_at")?,
        updated_at: row.try_get("", "updated_at")?,
    })
}
