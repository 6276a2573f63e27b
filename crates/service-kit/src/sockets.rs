//! The sockets of a service, bound before anything else runs: what can fail, fails first and in one sentence.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::config::BaseArgs;

/// The bound listeners a service is given.
#[derive(Debug)]
pub struct Sockets {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For admin HTTP.
    pub admin: TcpListener,
}

/// A socket that cannot be bound; the text names the address and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (--{flag}): {remedy}")]
pub struct BindError {
    flag: &'static str,
    address: SocketAddr,
    remedy: String,
}

impl Sockets {
    /// Binds both addresses; port 0 takes a free port (see [`Sockets::addresses`]).
    ///
    /// # Errors
    /// The first address that is taken or not ours.
    pub async fn bind(base: &BaseArgs) -> Result<Self, BindError> {
        Ok(Self {
            grpc: bind("grpc-listen", base.grpc.grpc_listen).await?,
            admin: bind("admin-listen", base.admin.admin_listen).await?,
        })
    }

    /// Where they listen: gRPC, admin.
    ///
    /// # Errors
    /// The operating system no longer knows the socket.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.grpc.local_addr()?, self.admin.local_addr()?))
    }
}

/// Binds one address; `flag` is the setting the error names.
///
/// # Errors
/// The address is taken, privileged or not ours.
pub async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => {
                "the port is taken; stop what uses it, or choose another port (0 takes a free one)".to_owned()
            }
            ErrorKind::AddrNotAvailable => {
                "this machine does not have that address; use 127.0.0.1 or 0.0.0.0".to_owned()
            }
            ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose a higher one".to_owned(),
            _ => error.to_string(),
        };
        BindError { flag, address, remedy }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_one_sentence_with_its_flag_and_the_remedy() {
        let first = bind("grpc-listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = bind("admin-listen", first.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(
            error.contains("--admin-listen") && error.contains("port is taken") && error.contains("choose another"),
            "{error}"
        );
    }
}
