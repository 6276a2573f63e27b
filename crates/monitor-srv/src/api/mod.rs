//! gRPC to domain to store. Handlers are thin: requests are checked in `requests`, the mutation runs in `crate::mutation`.

mod convert;
mod requests;

use contracts::ids::ProjectId;
use contracts::monitor::v1 as proto;
use contracts::monitor::v1::monitor_service_server::MonitorService;
use outbox::db::{Database, DbErr};
use prost::Message as _;
use service_kit::page;
use service_kit::status::{ApiError, FieldViolations};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::checks::Claims;
use crate::domain::run::RunState;
use crate::mutation;
use crate::store::{monitoring, run};

/// Runs shown with a monitoring.
const NEWEST_RUNS: u64 = 20;
/// Runs read at once while a page is filled: a run with many checks is large.
const LIST_BATCH: u64 = 50;
/// A page ends early when its messages are this large, below every client's limit of a message.
const MAX_PAGE_BYTES: usize = 1_000_000;

/// The gRPC service.
#[derive(Debug)]
pub(crate) struct MonitorApi {
    db: Database,
    claims: Claims,
}

impl MonitorApi {
    pub(crate) fn new(db: Database, claims: Claims) -> Self {
        Self { db, claims }
    }

    async fn monitoring(&self, study: &ProjectId) -> Result<proto::Monitoring, ApiError> {
        let conn = self.db.reader();
        let found = monitoring::get(conn, study).await?;
        let found = found.ok_or_else(|| ApiError::not_found("monitoring", study.as_str()))?;
        let count = run::count(conn, study).await?;
        let (newest, _) = self.page(study, None, None, NEWEST_RUNS).await?;
        let events = monitoring::events(conn, study).await?;
        Ok(convert::monitoring(&found, count, newest, events))
    }

    /// Up to `size` runs, or fewer when they are large, and whether there are more.
    async fn page(
        &self,
        study: &ProjectId,
        state: Option<RunState>,
        mut before: Option<Uuid>,
        size: u64,
    ) -> Result<(Vec<proto::CheckRun>, bool), DbErr> {
        let (mut runs, mut bytes) = (Vec::new(), 0);
        loop {
            let wanted = LIST_BATCH.min(size - runs.len() as u64 + 1);
            let batch = run::page(self.db.reader(), study, state, before, wanted).await?;
            let is_last = (batch.len() as u64) < wanted;
            for run in batch {
                if runs.len() as u64 == size || bytes >= MAX_PAGE_BYTES {
                    return Ok((runs, true));
                }
                before = Some(run.id);
                let message = convert::check_run(run);
                bytes += message.encoded_len();
                runs.push(message);
            }
            if is_last {
                return Ok((runs, false));
            }
        }
    }
}

#[tonic::async_trait]
impl MonitorService for MonitorApi {
    async fn set_monitoring_plan(
        &self,
        request: Request<proto::SetMonitoringPlanRequest>,
    ) -> Result<Response<proto::SetMonitoringPlanResponse>, Status> {
        let new = requests::new_plan(&request.into_inner())?;
        let answer = mutation::set_plan(&self.db, &self.claims, new, |plan| {
            proto::SetMonitoringPlanResponse { plan: Some(convert::plan(plan)) }.encode_to_vec()
        });
        let answer = proto::SetMonitoringPlanResponse::decode(answer.await?.as_slice());
        Ok(Response::new(answer.map_err(ApiError::internal)?))
    }

    async fn get_monitoring(
        &self,
        request: Request<proto::GetMonitoringRequest>,
    ) -> Result<Response<proto::GetMonitoringResponse>, Status> {
        let study = requests::study_id(&request.get_ref().study_id)?;
        let monitoring = self.monitoring(&study).await?;
        Ok(Response::new(proto::GetMonitoringResponse { monitoring: Some(monitoring) }))
    }

    async fn list_check_runs(
        &self,
        request: Request<proto::ListCheckRunsRequest>,
    ) -> Result<Response<proto::ListCheckRunsResponse>, Status> {
        let request = request.into_inner();
        let mut violations = FieldViolations::new();
        let study = violations.check("study_id", request.study_id.parse::<ProjectId>());
        let size = page::size(request.page_size, &mut violations);
        let state = requests::state_filter(request.state, &mut violations);
        let query = format!("check runs {} {}", request.study_id, state.map_or("", RunState::as_str));
        let before = page::parsed_after(&request.page_token, &query, &mut violations);
        let study = requests::finish(violations, study)?;
        let (check_runs, has_more) = self.page(&study, state, before, size).await.map_err(ApiError::from)?;
        let last = check_runs.last().filter(|_| has_more).map(|run| page::token(&query, &run.check_run_id));
        Ok(Response::new(proto::ListCheckRunsResponse { next_page_token: last.unwrap_or_default(), check_runs }))
    }
}
