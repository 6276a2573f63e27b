//! `healthcheck`: asks the own admin server over plain HTTP, for containers that have neither a shell nor curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Probe;

/// Bytes of an answer that are looked at.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Ok with the answer's body when the status is 200.
pub(crate) async fn ask(listen: SocketAddr, probe: Probe, limit: Duration) -> anyhow::Result<String> {
    let address = reachable(listen);
    let path = match probe {
        Probe::Live => "/livez",
        Probe::Ready => "/readyz",
    };
    let answer = timeout(limit, get(address, path))
        .await
        .map_err(|_| anyhow::anyhow!("{address}{path} did not answer within {limit:?}"))?
        .map_err(|error| {
            anyhow::anyhow!("{address}{path}: {error}; is the service running with this --admin-listen?")
        })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).unwrap_or("no status");
    anyhow::ensure!(status == "200", "{address}{path} answered {status}: {}", body.trim());
    Ok(body.trim().to_owned())
}

/// A server that listens on every address is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: the server closes after a body that is not chunked.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::readiness::Readiness;

    #[tokio::test]
    async fn it_is_healthy_exactly_when_the_probe_says_200() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::new(CancellationToken::new());
        let database = readiness.component("database");
        let stop = CancellationToken::new();
        let server = tokio::spawn(crate::admin::serve(listener, readiness, Router::new(), stop.clone()));
        let limit = Duration::from_secs(5);
        assert_eq!(ask(address, Probe::Live, limit).await.unwrap(), "ok");
        let error = ask(address, Probe::Ready, limit).await.unwrap_err().to_string();
        assert!(error.contains("503") && error.contains("starting"), "{error}");
        database.set_ok();
        ask(address, Probe::Ready, limit).await.unwrap();
        stop.cancel();
        server.await.unwrap().unwrap();
        assert!(ask(address, Probe::Live, limit).await.is_err(), "nobody listens any more");
    }

    #[test]
    fn every_address_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:8081".parse().unwrap()), "127.0.0.1:8081".parse().unwrap());
        assert_eq!(reachable("[::]:8081".parse().unwrap()), "[::1]:8081".parse().unwrap());
        assert_eq!(reachable("10.0.0.3:1".parse().unwrap()), "10.0.0.3:1".parse().unwrap());
    }
}
