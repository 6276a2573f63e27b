//! Arm: what one would write by hand, tonic and tokio-postgres with the statements prepared. It checks the project's state and nothing else.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use clap::Args;
use contracts::project::v1::{
    Project, StartProjectRequest, StartProjectResponse, project_service_server::SERVICE_NAME,
};
use prost::Message as _;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls, Statement, types::Json};
use tonic::{
    Request, Response, Status,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use uuid::Uuid;

use super::statements;

/// As large as project-srv's answer to the start of a project with one site.
pub(super) const ANSWER_BYTES: usize = 480;

/// Where the bare server listens, and on which database.
#[derive(Debug, Clone, Args)]
pub(crate) struct BareOptions {
    /// Address of its gRPC.
    #[arg(long)]
    listen: SocketAddr,
    /// The database.
    #[arg(long)]
    database: String,
    /// Connections to it.
    #[arg(long)]
    connections: usize,
}

/// Serves StartProject until the process is killed.
///
/// # Errors
/// The database or the address cannot be had.
pub(crate) fn serve(options: &BareOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (give, take) = async_channel(options.connections);
        for _ in 0..options.connections {
            give.send(Connection::open(&options.database).await?).await.context("the pool was closed")?;
        }
        let pool = Pool { give, take: Arc::new(Mutex::new(take)) };
        let served = tonic::transport::Server::builder().tcp_nodelay(true).add_service(Bare { pool });
        served.serve(options.listen).await.with_context(|| format!("cannot serve on {}", options.listen))
    })
}

type Giving = tokio::sync::mpsc::Sender<Connection>;

fn async_channel(connections: usize) -> (Giving, tokio::sync::mpsc::Receiver<Connection>) {
    tokio::sync::mpsc::channel(connections.max(1))
}

/// Connections that nobody uses.
#[derive(Clone)]
struct Pool {
    give: Giving,
    take: Arc<Mutex<tokio::sync::mpsc::Receiver<Connection>>>,
}

struct Connection {
    client: Client,
    lock: Statement,
    write: Statement,
}

impl Connection {
    async fn open(database: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(database, NoTls).await.context("cannot connect")?;
        // It ends with its client.
        tokio::spawn(connection);
        let lock = client.prepare(statements::LOCK).await.context("cannot prepare the lock")?;
        let write = client.prepare(statements::WRITE).await.context("cannot prepare the write")?;
        Ok(Self { client, lock, write })
    }

    async fn start(&mut self, request: &StartProjectRequest) -> Result<Project, Status> {
        let failed = |error: tokio_postgres::Error| Status::unavailable(error.to_string());
        let id = request.project_id.as_str();
        let tx = self.client.transaction().await.map_err(failed)?;
        let row = tx.query_opt(&self.lock, &[&id]).await.map_err(failed)?;
        let row = row.ok_or_else(|| Status::not_found(format!("no project {id}")))?;
        let state: String = row.get("state");
        if state != "PREPARING" {
            return Err(Status::failed_precondition(format!("project {id} is {state}")));
        }
        let (version, sequence) = (row.get::<_, i64>("version") + 1, row.get::<_, i64>("event_seq") + 1);
        let (now, event_id) = (OffsetDateTime::now_utc(), Uuid::now_v7());
        let event = event_id.to_string();
        let project = Project {
            project_id: id.to_owned(),
            name: row.get("name"),
            protocol_number: row.get("protocol_number"),
            protocol_title: row.get("protocol_title"),
            sponsor: row.get("sponsor"),
            etag: version.to_string(),
            last_event_id: event.clone(),
            last_event_sequence: sequence,
            ..Project::default()
        };
        let mut answer = project.encode_to_vec();
        answer.resize(ANSWER_BYTES, 0);
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).map(Json);
        let broken = |error: serde_json::Error| Status::internal(error.to_string());
        let fact = json(statements::FACT).map_err(broken)?;
        let headers = json(&statements::headers(id, &event)).map_err(broken)?;
        let hash = [0_u8; 32].as_slice();
        tx.execute(
            &self.write,
            &[
                &id,
                &"STARTED",
                &version,
                &sequence,
                &event_id,
                &now,
                &now,
                &None::<OffsetDateTime>,
                &id,
                &version,
                &now,
                &"bench",
                &"StartProject",
                &"PREPARING",
                &"STARTED",
                &"",
                &fact,
                &event_id,
                &event,
                &id,
                &row.get::<_, i64>("stream_epoch"),
                &sequence,
                &"ProjectStarted",
                &statements::TOPIC,
                &id.as_bytes(),
                &statements::payload(id).as_bytes(),
                &headers,
                &now,
                &statements::METHOD,
                &request.request_id.as_str(),
                &hash,
                &answer,
                &now,
            ],
        )
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(project)
    }
}

impl Pool {
    /// In a task of its own, as project-srv does: a client that hangs up leaves no transaction half begun.
    async fn start(self, request: StartProjectRequest) -> Result<Project, Status> {
        let task = tokio::spawn(async move {
            let taken = self.take.lock().await.recv().await;
            let mut connection = taken.ok_or_else(|| Status::unavailable("no connection"))?;
            let started = connection.start(&request).await;
            self.give.send(connection).await.map_err(|_| Status::unavailable("the pool was closed"))?;
            started
        });
        task.await.map_err(|error| Status::internal(error.to_string()))?
    }
}

/// The service with this one call.
#[derive(Clone)]
struct Bare {
    pool: Pool,
}

impl NamedService for Bare {
    const NAME: &'static str = SERVICE_NAME;
}

impl UnaryService<StartProjectRequest> for Bare {
    type Response = StartProjectResponse;
    type Future = BoxFuture<Response<StartProjectResponse>, Status>;

    fn call(&mut self, request: Request<StartProjectRequest>) -> Self::Future {
        let pool = self.pool.clone();
        Box::pin(async move {
            let project = pool.start(request.into_inner()).await?;
            Ok(Response::new(StartProjectResponse { success: true, project: Some(project) }))
        })
    }
}

impl Service<http::Request<tonic::body::Body>> for Bare {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let bare = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<StartProjectResponse, StartProjectRequest>::default();
            Ok(Grpc::new(codec).unary(bare, request).await)
        })
    }
}
