//! The door at a fixed port: hands each connection's bytes to the broker's own port and back. It knows no protocol.

use std::io;
use std::net::TcpListener as StdListener;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Clients keep one connection here, if any: the others go to the broker's own port.
const MAX_CONNECTIONS: usize = 1_024;
/// After a failed accept (mostly: no file descriptor left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A thread with a small runtime, so that the door opens in any kind of program, and ends when dropped.
pub(super) struct Proxy {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Takes connections from `door` and leads them to `target`.
    pub(super) fn start(door: StdListener, target: String) -> io::Result<Self> {
        door.set_nonblocking(true)?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let door = {
            let _inside = runtime.enter();
            TcpListener::from_std(door)?
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("broker-door".to_owned())
            .spawn(move || runtime.block_on(stopped.run_until_cancelled(serve(door, target))).unwrap_or_default())?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the embedded broker's fixed port panicked");
        }
    }
}

async fn serve(door: TcpListener, target: String) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((client, _)) => {
                    connections.spawn(connect_through(client, target.clone()));
                }
                Err(cause) => {
                    tracing::warn!(%cause, "the embedded broker's fixed port took no connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect_through(mut client: TcpStream, target: String) {
    let outcome = async {
        let mut broker = TcpStream::connect(&target).await?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        copy_bidirectional(&mut client, &mut broker).await
    };
    if let Err(cause) = outcome.await {
        tracing::debug!(%cause, "connection through the embedded broker's fixed port ended");
    }
}
