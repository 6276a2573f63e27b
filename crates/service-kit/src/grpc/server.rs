//! Puts the server together and runs it.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::Builder;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use super::layer::CallLayer;
use crate::config::GrpcArgs;
use crate::readiness::Readiness;

/// Streams a client opened and reset before we looked at them, per connection: enough for cancelling clients, too few for a flood
/// (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 64;
/// Streams we reset by ourselves because of a client's errors, per connection; then the connection goes (CVE-2024-2758 and its kin).
const MAX_ERROR_RESETS: usize = 128;
/// Bytes of headers of one call.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// A connection that does not answer a ping for this long is dead.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A gRPC server being put together.
#[derive(Debug)]
pub struct Server {
    args: GrpcArgs,
    readiness: Readiness,
    routes: Routes,
    names: Vec<&'static str>,
}

impl Server {
    /// With the standard health service, and reflection unless it is switched off.
    #[must_use]
    pub fn new(args: &GrpcArgs, readiness: Readiness) -> Self {
        Self { args: args.clone(), readiness, routes: Routes::default(), names: Vec::new() }
    }

    /// Adds a generated service. Give it the message limit:
    /// `XServer::new(api).max_decoding_message_size(args.grpc_max_message_bytes)`.
    #[must_use]
    pub fn add_service<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// Serves until `stop` is cancelled; then accepts nothing more, ends server streams with UNAVAILABLE, and lets open calls finish.
    ///
    /// # Errors
    /// The listener broke, or the descriptors are not readable.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { args, readiness, mut routes, names } = self;
        let reporter = HealthReporter::new();
        routes = routes.add_service(tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(reporter.clone()),
        ));
        if args.grpc_reflection {
            routes = routes.add_service(reflection(&names)?);
        }
        let layer = CallLayer::new(&args, Arc::new(known_methods()?), stop.clone());
        let server = tonic::transport::Server::builder()
            .max_concurrent_streams(args.grpc_max_streams)
            .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
            .http2_max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_keepalive_interval(Some(args.grpc_keepalive))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(layer)
            .serve_with_incoming_shutdown(
                routes.prepare(),
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                stop.cancelled_owned(),
            );
        tokio::select! {
            ended = server => ended.map_err(|error| anyhow::Error::new(error).context("the gRPC server broke")),
            never = follow(readiness, reporter, names) => match never {},
        }
    }
}

/// Lists what this server answers and no more, although the contracts hold every service of the platform. The types of error details are
/// known too: without them a client such as grpcurl shows details as bytes.
fn reflection(names: &[&str]) -> anyhow::Result<ServerReflectionServer<impl ServerReflection + use<>>> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(contracts::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
    let standard = [
        tonic_health::pb::health_server::SERVICE_NAME,
        tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME,
    ];
    let builder = names.iter().copied().chain(standard).fold(builder, Builder::with_service_name);
    Ok(builder.build_v1()?)
}

/// Keeps the health service equal to readiness: `""` is the whole server, then each service by name.
async fn follow(readiness: Readiness, reporter: HealthReporter, names: Vec<&'static str>) -> Infallible {
    let mut ready = readiness.is_ready();
    loop {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in std::iter::once("").chain(names.iter().copied()) {
            reporter.set_service_status(name, status).await;
        }
        ready = readiness.changed_from(ready).await;
    }
}

/// Paths of every method there is, so that a client cannot make metric labels up.
pub(super) fn known_methods() -> Result<HashSet<String>, prost::DecodeError> {
    let mut methods = HashSet::new();
    for set in [
        contracts::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ] {
        for file in FileDescriptorSet::decode(set)?.file {
            for service in &file.service {
                for method in &service.method {
                    methods.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
    }
    Ok(methods)
}
