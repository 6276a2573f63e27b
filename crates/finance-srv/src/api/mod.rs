//! gRPC to domain to store. Handlers are thin: requests are checked in `requests`, the mutation runs in `crate::setting`.

mod convert;
mod requests;

use contracts::finance::v1 as proto;
use contracts::finance::v1::finance_service_server::FinanceService;
use contracts::ids::ProjectId;
use outbox::db::Database;
use prost::Message as _;
use service_kit::status::{ApiError, FieldViolations};
use service_kit::{actor, page};
use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::domain::{self, FeeSchedule, PayableState};
use crate::setting::{self, Setting};
use crate::store;

/// The gRPC service.
#[derive(Debug)]
pub(crate) struct FinanceApi {
    db: Database,
}

impl FinanceApi {
    pub(crate) fn new(db: Database) -> Self {
        Self { db }
    }

    async fn known(&self, study: &ProjectId) -> Result<(), ApiError> {
        if store::view::exists(self.db.reader(), study).await? { Ok(()) } else { Err(unknown(study)) }
    }
}

fn unknown(study: &ProjectId) -> ApiError {
    ApiError::not_found("account", study.as_str())
}

fn answer(study: &ProjectId, schedule: &FeeSchedule, arisen: usize) -> Vec<u8> {
    proto::SetFeeScheduleResponse {
        fee_schedule: Some(convert::fee_schedule(study, schedule)),
        payables_created: i64::try_from(arisen).unwrap_or(i64::MAX),
    }
    .encode_to_vec()
}

fn hash(body: &proto::SetFeeScheduleRequest) -> Vec<u8> {
    Sha256::new()
        .chain_update("SetFeeSchedule")
        .chain_update([0])
        .chain_update(body.encode_to_vec())
        .finalize()
        .to_vec()
}

/// One row more than the page was read: it tells that there is a next page.
fn cut<T>(mut rows: Vec<T>, size: u64, token_after: impl Fn(&T) -> String) -> (Vec<T>, String) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let has_more = rows.len() > size;
    rows.truncate(size);
    let token = rows.last().filter(|_| has_more).map(token_after).unwrap_or_default();
    (rows, token)
}

#[tonic::async_trait]
impl FinanceService for FinanceApi {
    async fn set_fee_schedule(
        &self,
        request: Request<proto::SetFeeScheduleRequest>,
    ) -> Result<Response<proto::SetFeeScheduleResponse>, Status> {
        let mut violations = FieldViolations::new();
        let actor = actor::of(request.metadata(), &mut violations);
        let body = request.into_inner();
        let (study, terms) = requests::fee_schedule(&body, violations)?;
        let request_hash = hash(&body);
        let setting = Setting { study, terms, actor, request_id: body.request_id, request_hash };
        let encoded = setting::set(&self.db, setting, answer).await?;
        let response = proto::SetFeeScheduleResponse::decode(encoded.as_slice()).map_err(ApiError::internal)?;
        Ok(Response::new(response))
    }

    async fn get_account(
        &self,
        request: Request<proto::GetAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        let study = requests::study(&request.get_ref().study_id)?;
        let view = store::view::read(self.db.reader(), &study).await.map_err(ApiError::from)?;
        let view = view.ok_or_else(|| unknown(&study))?;
        Ok(Response::new(proto::GetAccountResponse { account: Some(convert::account(&study, view)) }))
    }

    async fn list_payables(
        &self,
        request: Request<proto::ListPayablesRequest>,
    ) -> Result<Response<proto::ListPayablesResponse>, Status> {
        let request = request.into_inner();
        let mut violations = FieldViolations::new();
        let study = violations.check("study_id", request.study_id.parse::<ProjectId>());
        let size = page::size(request.page_size, &mut violations);
        let filter = store::payable::Filter {
            state: requests::state_filter(request.state, &mut violations),
            site_id: requests::site_filter(&request.site_id, &mut violations),
        };
        let state = filter.state.map_or("", PayableState::as_str);
        let query = format!("payables {} {state} {}", request.study_id, request.site_id);
        let after: Uuid = page::parsed_after(&request.page_token, &query, &mut violations).unwrap_or_default();
        let study = requests::finish(violations, study)?;
        self.known(&study).await?;
        let rows = store::payable::page(self.db.reader(), &study, &filter, after, size + 1).await;
        let (payables, next_page_token) =
            cut(rows.map_err(ApiError::from)?, size, |last| page::token(&query, &last.id.to_string()));
        let payables = payables.into_iter().map(|payable| convert::payable(&study, payable)).collect();
        Ok(Response::new(proto::ListPayablesResponse { payables, next_page_token }))
    }

    async fn get_trial_balance(
        &self,
        request: Request<proto::GetTrialBalanceRequest>,
    ) -> Result<Response<proto::GetTrialBalanceResponse>, Status> {
        let study = match request.get_ref().study_id.as_str() {
            "" => None,
            given => Some(requests::study(given)?),
        };
        if let Some(study) = &study {
            self.known(study).await?;
        }
        let lines = store::journal::trial_balance(self.db.reader(), study.as_ref()).await.map_err(ApiError::from)?;
        let totals = domain::totals(&lines).map_err(ApiError::internal)?;
        Ok(Response::new(proto::GetTrialBalanceResponse {
            lines: lines.into_iter().map(convert::trial_balance_line).collect(),
            totals: totals.into_iter().map(convert::trial_balance_total).collect(),
        }))
    }

    async fn list_journal_entries(
        &self,
        request: Request<proto::ListJournalEntriesRequest>,
    ) -> Result<Response<proto::ListJournalEntriesResponse>, Status> {
        let request = request.into_inner();
        let mut violations = FieldViolations::new();
        let study = violations.check("study_id", request.study_id.parse::<ProjectId>());
        let size = page::size(request.page_size, &mut violations);
        let query = format!("journal {}", request.study_id);
        let after: i64 = page::parsed_after(&request.page_token, &query, &mut violations).unwrap_or_default();
        let study = requests::finish(violations, study)?;
        self.known(&study).await?;
        let rows = store::journal::page(self.db.reader(), &study, after, size + 1).await;
        let (entries, next_page_token) =
            cut(rows.map_err(ApiError::from)?, size, |last| page::token(&query, &last.id.to_string()));
        let entries = entries.into_iter().map(|entry| convert::journal_entry(&study, entry)).collect();
        Ok(Response::new(proto::ListJournalEntriesResponse { entries, next_page_token }))
    }
}
