//! The server over a real connection on loopback, with the health service as the call, and services that misbehave on purpose.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt as _;

use super::Server;
use super::layer::CallLayer;
use super::server::known_methods;
use crate::config::{BaseArgs, ServiceConfig, from_flags};
use crate::readiness::{Component, Readiness};

#[derive(clap::Args, Clone, Debug)]
struct Config {
    #[command(flatten)]
    base: BaseArgs,
}

impl ServiceConfig for Config {
    const INFO: crate::ServiceInfo = crate::ServiceInfo { name: "test-srv", version: "0", about: "", defaults: &[] };
    fn migrations() -> Vec<Box<dyn sea_orm_migration::MigrationTrait>> {
        Vec::new()
    }
    fn base(&self) -> &BaseArgs {
        &self.base
    }
}

/// Answers by the method's name.
#[derive(Clone)]
struct Misbehaving;

impl NamedService for Misbehaving {
    const NAME: &'static str = "test.Misbehaving";
}

impl Service<Request<Body>> for Misbehaving {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match request.uri().path() {
            "/test.Misbehaving/PanicsAtOnce" => panic!("at once"),
            "/test.Misbehaving/PanicsLater" => Box::pin(async { panic!("later") }),
            _ => Box::pin(std::future::pending()),
        }
    }
}

struct Running {
    channel: Channel,
    component: Component,
    stopping: CancellationToken,
    server: JoinHandle<anyhow::Result<()>>,
}

async fn running(flags: &[&str]) -> Running {
    let args = from_flags::<Config, _>(flags.iter().copied()).unwrap().base.grpc;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stopping = CancellationToken::new();
    let readiness = Readiness::new(stopping.clone());
    let component = readiness.component("database");
    let server = Server::new(&args, readiness).add_service(Misbehaving);
    let server = tokio::spawn(server.serve(listener, stopping.clone()));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Running { channel, component, stopping, server }
}

impl Running {
    async fn call(&self, method: &'static str) -> tonic::Status {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(method);
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
        grpc.unary(tonic::Request::new(HealthCheckRequest::default()), path, codec).await.unwrap_err()
    }

    async fn stopped(self) {
        self.stopping.cancel();
        drop(self.channel);
        tokio::time::timeout(Duration::from_secs(10), self.server).await.expect("the server drains").unwrap().unwrap();
    }
}

#[tokio::test]
async fn health_follows_readiness_and_a_watcher_does_not_hold_up_the_stop() {
    let running = running(&[]).await;
    let mut health = HealthClient::new(running.channel.clone());
    let mut watch =
        health.watch(HealthCheckRequest { service: Misbehaving::NAME.to_owned() }).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::NotServing);
    running.component.set_ok();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    running.stopping.cancel();
    let end = loop {
        match watch.message().await {
            Ok(Some(last)) => assert_eq!(last.status(), ServingStatus::NotServing),
            Ok(None) => panic!("the stream ended as if nothing had happened"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    running.stopped().await;
}

#[tokio::test]
async fn a_panic_is_internal_and_the_connection_lives_on() {
    let running = running(&[]).await;
    for method in ["/test.Misbehaving/PanicsAtOnce", "/test.Misbehaving/PanicsLater"] {
        let status = running.call(method).await;
        assert_eq!(status.code(), Code::Internal, "{method}: {status:?}");
        assert!(!status.message().contains("later"), "the panic's text stays inside");
    }
    HealthClient::new(running.channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    running.stopped().await;
}

#[tokio::test]
async fn the_servers_own_limit_is_answered_as_a_deadline() {
    let running = running(&["--grpc-timeout", "100ms"]).await;
    let status = running.call("/test.Misbehaving/Hangs").await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    running.stopped().await;
}

#[tokio::test]
async fn the_clients_deadline_is_answered_as_one() {
    // Without a connection: a tonic client would give up by itself.
    let args = from_flags::<Config, &str>([]).unwrap().base.grpc;
    let layer = CallLayer::new(&args, Arc::default(), CancellationToken::new());
    let mut service = tower::Layer::layer(&layer, Misbehaving);
    let request = Request::get("/test.Misbehaving/Hangs").header("grpc-timeout", "40m").body(Body::empty()).unwrap();
    let response = Service::call(&mut service, request).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
}

#[tokio::test]
async fn beyond_the_calls_in_flight_the_answer_is_to_come_back_later() {
    let running = running(&["--grpc-max-in-flight", "1", "--grpc-timeout", "10s"]).await;
    let hangs = running.call("/test.Misbehaving/Hangs");
    let mut hangs = std::pin::pin!(hangs);
    let mut health = HealthClient::new(running.channel.clone());
    let refused = loop {
        // The first call takes the only place as soon as its request arrives.
        tokio::select! {
            status = &mut hangs => panic!("it hangs: {status:?}"),
            answer = health.check(HealthCheckRequest::default()) => if let Err(status) = answer { break status },
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_details_retry_info().is_some());
    assert_eq!(refused.get_details_error_info().map(|info| info.reason).as_deref(), Some("QUEUE_FULL"));
}

/// What reflection answers to a question.
async fn reflected(running: &Running, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = ServerReflectionClient::new(running.channel.clone());
    let mut answers = client.server_reflection_info(futures_util::stream::iter([request])).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test]
async fn reflection_lists_what_is_served_and_no_more() {
    let running = running(&[]).await;
    let listed = match reflected(&running, MessageRequest::ListServices(String::new())).await {
        MessageResponse::ListServicesResponse(listed) => listed.service,
        other => panic!("{other:?}"),
    };
    let mut names: Vec<_> = listed.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", Misbehaving::NAME]);
    running.stopped().await;
}

#[tokio::test]
async fn reflection_knows_the_types_of_error_details() {
    let running = running(&[]).await;
    for detail in ["ErrorInfo", "BadRequest", "PreconditionFailure", "RetryInfo", "ResourceInfo"] {
        let symbol = format!("google.rpc.{detail}");
        let answer = reflected(&running, MessageRequest::FileContainingSymbol(symbol)).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{detail}: {answer:?}");
    }
    running.stopped().await;
}

#[test]
fn labels_come_from_the_contracts_alone() {
    let methods = known_methods().unwrap();
    assert!(methods.contains("/ctms.project.v1.ProjectService/StartProject"));
    assert!(methods.contains("/grpc.health.v1.Health/Check"));
    assert!(!methods.contains("/test.Misbehaving/Hangs"));
}
