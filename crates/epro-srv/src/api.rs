//! gRPC to domain to store. Handlers are thin: requests are checked in `requests`, mutations run in `crate::mutations`, responses go through
//! the intake.

mod convert;
mod requests;
mod responses;

use contracts::epro::v1 as proto;
use contracts::epro::v1::epro_service_server::EproService;
use outbox::db::Database;
use prost::Message;
use service_kit::page;
use service_kit::status::{ApiError, FieldViolations};
use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status};
use uuid::Uuid;
use worker_pool::Intake;

use crate::mutations::{Call, Mutations};
use crate::store::{assignment, campaign, notification};
use crate::submissions::{Job, Outcome};
use requests::{Checked, Paging};

/// The gRPC service.
#[derive(Debug)]
pub(crate) struct EproApi {
    db: Database,
    mutations: Mutations,
    intake: Intake<Job, Outcome>,
}

impl EproApi {
    pub(crate) fn new(db: Database, mutations: Mutations, intake: Intake<Job, Outcome>) -> Self {
        Self { db, mutations, intake }
    }

    async fn mutate<R: Message + Default>(
        &self,
        checked: Checked,
        request_hash: Vec<u8>,
    ) -> Result<Response<R>, Status> {
        let Checked { study, request_id, command } = checked;
        let call = Call { request_id, request_hash };
        let answer = self.mutations.run(call, study, command, convert::answer).await?;
        Ok(Response::new(R::decode(answer.as_slice()).map_err(ApiError::internal)?))
    }
}

/// A request under the name of its RPC: two RPCs never share an answer.
fn hash(rpc: &str, body: &impl Message) -> Vec<u8> {
    Sha256::new().chain_update(rpc).chain_update([0]).chain_update(body.encode_to_vec()).finalize().to_vec()
}

/// The first `size` rows, and the token of the next page if there is one more.
fn cut<T>(mut rows: Vec<T>, paging: &Paging, key: impl Fn(&T) -> String) -> (Vec<T>, String) {
    let has_more = rows.len() > paging.size();
    rows.truncate(paging.size());
    let token = rows.last().filter(|_| has_more).map(|last| page::token(&paging.query, &key(last)));
    (rows, token.unwrap_or_default())
}

#[tonic::async_trait]
impl EproService for EproApi {
    async fn publish_schedule(
        &self,
        request: Request<proto::PublishScheduleRequest>,
    ) -> Result<Response<proto::PublishScheduleResponse>, Status> {
        let body = request.into_inner();
        let hash = hash("PublishSchedule", &body);
        self.mutate(requests::publish(body)?, hash).await
    }

    async fn enrol_subject(
        &self,
        request: Request<proto::EnrolSubjectRequest>,
    ) -> Result<Response<proto::EnrolSubjectResponse>, Status> {
        let body = request.into_inner();
        let hash = hash("EnrolSubject", &body);
        self.mutate(requests::enrol(body)?, hash).await
    }

    async fn get_campaign(
        &self,
        request: Request<proto::GetCampaignRequest>,
    ) -> Result<Response<proto::GetCampaignResponse>, Status> {
        let study = requests::study(&request.into_inner().study_id)?;
        let view = campaign::read(self.db.reader(), &study).await.map_err(ApiError::from)?;
        let view = view.ok_or_else(|| ApiError::not_found("campaign", study.as_str()))?;
        Ok(Response::new(proto::GetCampaignResponse { campaign: Some(convert::campaign(&study, view)) }))
    }

    async fn list_assignments(
        &self,
        request: Request<proto::ListAssignmentsRequest>,
    ) -> Result<Response<proto::ListAssignmentsResponse>, Status> {
        let body = request.into_inner();
        let mut violations = FieldViolations::new();
        let state = requests::assignment_state(body.state, &mut violations);
        let query = format!("assignments {} {} {}", body.study_id, body.subject_id, body.state);
        let paging = Paging::of(body.page_size, query, &mut violations);
        let after = paging.uuid_after(&body.page_token, &mut violations);
        let (study, subject_id) = requests::scope(&body.study_id, &body.subject_id, violations)?;
        let filter = assignment::Filter { study, subject_id, state };
        let rows = assignment::list(self.db.reader(), &filter, after, paging.limit).await.map_err(ApiError::from)?;
        let (rows, next_page_token) = cut(rows, &paging, |row| row.id.to_string());
        let assignments = rows.into_iter().map(convert::assignment).collect();
        Ok(Response::new(proto::ListAssignmentsResponse { assignments, next_page_token }))
    }

    async fn list_notifications(
        &self,
        request: Request<proto::ListNotificationsRequest>,
    ) -> Result<Response<proto::ListNotificationsResponse>, Status> {
        let body = request.into_inner();
        let mut violations = FieldViolations::new();
        let state = requests::notification_state(body.state, &mut violations);
        let query = format!("notifications {} {} {}", body.study_id, body.subject_id, body.state);
        let paging = Paging::of(body.page_size, query, &mut violations);
        let after = page::parsed_after(&body.page_token, &paging.query, &mut violations).unwrap_or(0);
        let (study, subject_id) = requests::scope(&body.study_id, &body.subject_id, violations)?;
        let filter = notification::Filter { study, subject_id, state };
        let rows = notification::list(self.db.reader(), &filter, after, paging.limit).await.map_err(ApiError::from)?;
        let (rows, next_page_token) = cut(rows, &paging, |row| row.seq.to_string());
        let notifications = rows.into_iter().map(|row| convert::notification(&filter.study, row)).collect();
        Ok(Response::new(proto::ListNotificationsResponse { notifications, next_page_token }))
    }

    async fn submit_response(
        &self,
        request: Request<proto::SubmitResponseRequest>,
    ) -> Result<Response<proto::SubmitResponseResponse>, Status> {
        let body = request.into_inner();
        let body_hash = hash("SubmitResponse", &body);
        let job = requests::submission(&body, body_hash)?;
        Ok(Response::new(responses::submit(&self.intake, job).await?))
    }

    async fn get_response(
        &self,
        request: Request<proto::GetResponseRequest>,
    ) -> Result<Response<proto::GetResponseResponse>, Status> {
        Ok(Response::new(responses::get(&self.db, &request.into_inner()).await?))
    }

    async fn list_responses(
        &self,
        request: Request<proto::ListResponsesRequest>,
    ) -> Result<Response<proto::ListResponsesResponse>, Status> {
        Ok(Response::new(responses::list(&self.db, &request.into_inner()).await?))
    }
}

/// The assignment that a text names; a text that is no id of ours names none.
fn assignment_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok()
}
