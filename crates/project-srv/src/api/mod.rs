//! gRPC to domain to store. Handlers are thin: requests are checked in `requests`, mutations run in `crate::mutation`.

mod convert;
mod requests;
mod stream;
mod text;

use contracts::ids::ProjectId;
use contracts::project::v1 as proto;
use contracts::project::v1::project_service_server::ProjectService;
use outbox::db::{Database, DbErr};
use prost::Message as _;
use service_kit::status::{ApiError, FieldViolations};
use service_kit::telemetry;
use service_kit::{actor, page};
use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status};

use crate::domain::{Project, State};
use crate::mutation::{Call, Mutations, Outcome};
use crate::store;
use crate::watches::Watches;
use requests::{Checked, MutationRequest};
use stream::WatchStream;

/// Rows read at once while a page is filled: a project with many sites is large.
const LIST_BATCH: u64 = 50;
/// A page ends early when its messages are this large, below every client's limit of a message.
const MAX_PAGE_BYTES: usize = 1_000_000;

/// The gRPC service.
#[derive(Debug)]
pub(crate) struct ProjectApi {
    db: Database,
    mutations: Mutations,
    watches: Watches,
}

impl ProjectApi {
    pub(crate) fn new(db: Database, mutations: Mutations, watches: Watches) -> Self {
        Self { db, mutations, watches }
    }

    async fn mutate<R: MutationRequest>(&self, request: Request<R>) -> Result<Response<R::Response>, Status> {
        let mut violations = FieldViolations::new();
        let actor = actor::of(request.metadata(), &mut violations);
        let body = request.into_inner();
        let Checked { wish, reason } = body.check(violations)?;
        let call = Call {
            action: R::ACTION,
            request_id: body.request_id().to_owned(),
            request_hash: hash(&body),
            actor,
            reason,
            traceparent: telemetry::traceparent(),
        };
        let answer = |project: &Project| R::respond(convert::project(project)).encode_to_vec();
        match self.mutations.run(call, wish, answer).await? {
            Outcome::Done { answer, id, version } => {
                self.watches.announce(&id, version);
                decode::<R>(&answer)
            }
            Outcome::Replayed { answer } => decode::<R>(&answer),
        }
    }

    async fn project(&self, id: &ProjectId) -> Result<Project, ApiError> {
        store::get(self.db.reader(), id).await?.ok_or_else(|| ApiError::not_found("project", id.as_str()))
    }

    /// Up to `size` projects, or fewer when they are large, and whether there are more.
    async fn page(&self, state: Option<State>, after: String, size: u64) -> Result<(Vec<proto::Project>, bool), DbErr> {
        let (mut projects, mut bytes, mut after) = (Vec::new(), 0, after);
        loop {
            let missing = size - projects.len() as u64;
            let batch = store::page(self.db.reader(), state, &after, LIST_BATCH.min(missing + 1)).await?;
            let is_last = (batch.len() as u64) < LIST_BATCH.min(missing + 1);
            for project in batch {
                if projects.len() as u64 == size || bytes >= MAX_PAGE_BYTES {
                    return Ok((projects, true));
                }
                after = project.id.to_string();
                let message = convert::project(&project);
                bytes += message.encoded_len();
                projects.push(message);
            }
            if is_last {
                return Ok((projects, false));
            }
        }
    }
}

fn hash<R: MutationRequest>(body: &R) -> Vec<u8> {
    Sha256::new().chain_update(R::ACTION).chain_update([0]).chain_update(body.encode_to_vec()).finalize().to_vec()
}

fn decode<R: MutationRequest>(answer: &[u8]) -> Result<Response<R::Response>, Status> {
    Ok(Response::new(R::Response::decode(answer).map_err(ApiError::internal)?))
}

#[tonic::async_trait]
impl ProjectService for ProjectApi {
    type WatchProjectStream = WatchStream;

    async fn create_project(
        &self,
        request: Request<proto::CreateProjectRequest>,
    ) -> Result<Response<proto::CreateProjectResponse>, Status> {
        self.mutate(request).await
    }

    async fn complete_startup_item(
        &self,
        request: Request<proto::CompleteStartupItemRequest>,
    ) -> Result<Response<proto::CompleteStartupItemResponse>, Status> {
        self.mutate(request).await
    }

    async fn activate_site(
        &self,
        request: Request<proto::ActivateSiteRequest>,
    ) -> Result<Response<proto::ActivateSiteResponse>, Status> {
        self.mutate(request).await
    }

    async fn start_project(
        &self,
        request: Request<proto::StartProjectRequest>,
    ) -> Result<Response<proto::StartProjectResponse>, Status> {
        self.mutate(request).await
    }

    async fn suspend_project(
        &self,
        request: Request<proto::SuspendProjectRequest>,
    ) -> Result<Response<proto::SuspendProjectResponse>, Status> {
        self.mutate(request).await
    }

    async fn resume_project(
        &self,
        request: Request<proto::ResumeProjectRequest>,
    ) -> Result<Response<proto::ResumeProjectResponse>, Status> {
        self.mutate(request).await
    }

    async fn complete_project(
        &self,
        request: Request<proto::CompleteProjectRequest>,
    ) -> Result<Response<proto::CompleteProjectResponse>, Status> {
        self.mutate(request).await
    }

    async fn terminate_project(
        &self,
        request: Request<proto::TerminateProjectRequest>,
    ) -> Result<Response<proto::TerminateProjectResponse>, Status> {
        self.mutate(request).await
    }

    async fn get_project(
        &self,
        request: Request<proto::GetProjectRequest>,
    ) -> Result<Response<proto::GetProjectResponse>, Status> {
        let id = requests::project_id(&request.get_ref().project_id)?;
        let project = self.project(&id).await?;
        Ok(Response::new(proto::GetProjectResponse { project: Some(convert::project(&project)) }))
    }

    async fn list_projects(
        &self,
        request: Request<proto::ListProjectsRequest>,
    ) -> Result<Response<proto::ListProjectsResponse>, Status> {
        let request = request.into_inner();
        let mut violations = FieldViolations::new();
        let size = page::size(request.page_size, &mut violations);
        let state = requests::state_filter(request.state, &mut violations);
        let query = format!("projects {}", state.map_or("", State::as_str));
        let after = page::key_after(&request.page_token, &query, &mut violations).unwrap_or_default();
        violations.finish()?;
        let (projects, has_more) = self.page(state, after, size).await.map_err(ApiError::from)?;
        let last = projects.last().filter(|_| has_more).map(|project| page::token(&query, &project.project_id));
        Ok(Response::new(proto::ListProjectsResponse { next_page_token: last.unwrap_or_default(), projects }))
    }

    async fn watch_project(
        &self,
        request: Request<proto::WatchProjectRequest>,
    ) -> Result<Response<Self::WatchProjectStream>, Status> {
        let id = requests::project_id(&request.get_ref().project_id)?;
        let watch = self
            .watches
            .join(&id)
            .map_err(|full| ApiError::resource_exhausted(full.to_string(), stream::RETRY_AFTER))?;
        let project = self.project(&id).await?;
        Ok(Response::new(stream::open(self.db.clone(), watch, project)))
    }

    async fn list_audit_entries(
        &self,
        request: Request<proto::ListAuditEntriesRequest>,
    ) -> Result<Response<proto::ListAuditEntriesResponse>, Status> {
        let request = request.into_inner();
        let mut violations = FieldViolations::new();
        let id = violations.check("project_id", request.project_id.parse::<ProjectId>());
        let size = page::size(request.page_size, &mut violations);
        let query = format!("audit {}", request.project_id);
        let after = page::parsed_after(&request.page_token, &query, &mut violations).unwrap_or(0);
        let id = requests::finish(violations, id)?;
        self.project(&id).await?;
        let mut rows = store::audit_page(self.db.reader(), &id, after, size + 1).await.map_err(ApiError::from)?;
        let has_more = rows.len() as u64 > size;
        rows.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let last = rows.last().filter(|_| has_more).map(|row| page::token(&query, &row.id.to_string()));
        let entries = rows.into_iter().map(convert::audit_entry).collect();
        Ok(Response::new(proto::ListAuditEntriesResponse { next_page_token: last.unwrap_or_default(), entries }))
    }
}
