//! The rendezvous server of p2pshare: where two clients that know the same code meet, before they
//! have a path of their own. The binary `p2pshare-signal` runs it alone; a sender without a server
//! runs it inside its own process with [`run`].
//!
//! It keeps messages that it cannot read until the other end has them, for rooms of two, in memory
//! only. Sealing, codes and passwords are the clients' business.
//!
//! The way of a request:
//!
//! ```text
//! admission   accepts the socket, counts it, cuts it when no WebSocket comes of it
//! http        upgrades it
//! connection  reads a text frame, parses a protocol::Request ...
//! hub         ... takes the lock, adds clock and random bytes ...
//! rooms       ... decides, and answers with (connection, protocol::Reply) pairs    PURE
//! hub         puts each reply into the outbox of its connection
//! connection  writes it
//! ```
//!
//! `rooms`, `limits` and [`protocol`] are pure: no socket, clock or randomness. [`protocol`] is the
//! contract with clients and imports nothing else from here.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

pub use self::limits::Limits;

mod admission;
mod connection;
mod http;
mod hub;
mod limits;
mod outbox;
pub mod protocol;
mod rooms;

/// How long the sockets may take to close when the server ends.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// How a server is to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// What it holds, and for whom.
    pub limits: Limits,
}

/// Serves clients that come to `listener` until `shutdown` is ready, then closes every socket and
/// returns within about a second. Slots and rooms are gone with it.
///
/// # Errors
/// Those of the listener's address. A failing `accept` is retried.
pub async fn run(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let mut serving = pin!(serve(listener, config, stopping));
    tokio::select! {
        result = &mut serving => return result,
        () = shutdown => {}
    }
    stop.send_replace(true);
    // Every connection holds a receiver of `stop`: when the last one is dropped, all have ended.
    let ended = timeout(CLOSING_TIME, async {
        let result = serving.await;
        stop.closed().await;
        result
    });
    ended.await.unwrap_or(Ok(()))
}

async fn serve(
    listener: TcpListener,
    config: Config,
    mut stopping: admission::Stopping,
) -> io::Result<()> {
    let hub = Arc::new(hub::Hub::new(config.limits));
    let door = admission::Door::new(listener, config.limits, stopping.clone());
    let router = http::router(http::Shared { hub: Arc::clone(&hub), stopping: stopping.clone() });
    let service = router.into_make_service_with_connect_info::<admission::Visitor>();
    let stopped = async move {
        // An error would mean that `run` was dropped; then it ends too.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        result = axum::serve(door, service).with_graceful_shutdown(stopped) => result,
        () = hub.keep_time() => Ok(()),
    }
}
