//! The rendezvous server of p2pshare: where two clients that know the same code meet, before they
//! have a path of their own; and their STUN and TURN server, which helps them find one and lends
//! them one. The binary `p2pshare-signal` runs it alone; a sender without a server runs it inside
//! its own process with [`run`].
//!
//! It keeps messages that it cannot read until the other end has them, for rooms of two, in memory
//! only. Sealing, codes and passwords are the clients' business.
//!
//! The way of a connection, and of a request:
//!
//! ```text
//! listeners   are bound: one port number for TCP and UDP
//! reception   accepts a connection, has it counted by admission, takes TLS off, and tells HTTP
//!             from STUN by the first byte
//!
//! http        upgrades a request, or answers it with a file of the page
//! connection  reads a text frame, parses a protocol::Request ...
//! hub         ... takes the lock, adds clock and random bytes ...
//! rooms       ... decides, and answers with (connection, protocol::Reply) pairs    PURE
//! hub         adds what ice says of STUN and TURN servers, signed by credentials   PURE
//! hub         puts each reply into the outbox of its connection
//! connection  writes it
//!
//! turn        takes messages from UDP sockets (udp) and streams (framing) ...
//! stun, relay ... answer them, and say what goes to whom                           PURE
//! turn        sends it
//! ```
//!
//! `hosts` says which pages may do the former; `page` holds the files, which `web/` is built to.
//!
//! `rooms`, `hosts`, `relay`, `stun`, `ice`, `credentials`, `policy`, `limits`, [`framing`] and [`protocol`]
//! are pure: no socket, clock or randomness. [`protocol`] is the contract with clients and imports
//! nothing else from here.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use self::credentials::Secrets;
pub use self::hosts::Hosts;
pub use self::ice::{NotAnAddress, PublicAddress};
pub use self::limits::{Limits, RelayLimits};
pub use self::listeners::Listeners;
pub use self::page::page_hash;
pub use self::tls::{BadCertificate, Tls};

mod admission;
mod connection;
mod credentials;
pub mod framing;
mod hosts;
mod http;
mod hub;
mod ice;
mod limits;
mod listeners;
mod outbox;
mod page;
mod policy;
pub mod protocol;
mod reception;
mod relay;
mod rooms;
mod stun;
mod tls;
mod turn;
mod udp;

/// How long the sockets may take to close when the server ends.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Connections that were let in and that HTTP has not taken yet.
const WAITING_VISITORS: usize = 64;

/// How a server is to run.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What it holds, and for whom.
    pub limits: Limits,
    /// Its certificate; without one it serves nothing under TLS.
    pub tls: Option<Tls>,
    /// The relay; without one it is no TURN server.
    pub relay: Option<RelayConfig>,
    /// Under which address clients are told of STUN and TURN: without one, that which they used.
    pub public_address: Option<PublicAddress>,
    /// By which names a browser may call it.
    pub hosts: Hosts,
}

/// How the TURN server is to run.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// What it relays, and for whom.
    pub limits: RelayLimits,
    /// What its passwords are made with.
    pub secrets: Secrets,
    /// To whom it relays.
    pub reach: Reach,
    /// URLs of other TURN servers that use the same secret, which clients are told of too.
    pub others: Vec<String>,
}

/// To whom a relay passes things on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To nobody: this server has no relay, others have.
    Nowhere,
    /// Between the two ends of each room.
    Rooms,
    /// Also between them and every public host, from this address of the machine.
    Everywhere(IpAddr),
}

/// Serves clients until `shutdown` is ready, then closes every socket and returns within about a
/// second. Slots, rooms and allocations are gone with it.
///
/// # Errors
/// None at present. A failing `accept` is retried.
pub async fn run(
    listeners: impl Into<Listeners>,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let mut serving = pin!(serve(listeners.into(), config, stopping));
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
    listeners: Listeners,
    config: Config,
    mut stopping: admission::Stopping,
) -> io::Result<()> {
    let hub = Arc::new(hub::Hub::new(config.limits, issuer(&config, &listeners)));
    let (visitor, visitors) = mpsc::channel(WAITING_VISITORS);
    let Listeners { tcp, udp, pair } = listeners;
    let turn = has_stun(&config, &udp).then(|| turn_service(&config, udp, pair));
    let reception = reception::Reception {
        guests: admission::Guests::new(config.limits),
        tls: config.tls,
        http: visitor,
        turn: turn.clone(),
        stopping: stopping.clone(),
    };
    let mut tasks = JoinSet::new();
    tcp.into_iter().for_each(|listener| {
        tasks.spawn(reception.clone().serve(listener));
    });
    drop(reception);
    if let Some(turn) = &turn {
        tasks.spawn(Arc::clone(turn).serve_datagrams());
    }
    let (hosts, stopping_http) = (config.hosts, stopping.clone());
    let shared = http::Shared { hub: Arc::clone(&hub), turn, stopping: stopping_http, hosts };
    let service = http::router(shared).into_make_service_with_connect_info::<admission::Visitor>();
    let stopped = async move {
        // An error would mean that `run` was dropped; then it ends too.
        let _ = stopping.wait_for(|stop| *stop).await;
        tasks.shutdown().await;
    };
    tokio::select! {
        result = axum::serve(admission::Door { visitors }, service)
            .with_graceful_shutdown(stopped) => result,
        () = hub.keep_time() => Ok(()),
    }
}

fn has_stun(config: &Config, udp: &[udp::Udp]) -> bool {
    config.relay.is_some() || !udp.is_empty()
}

fn issuer(config: &Config, listeners: &Listeners) -> Option<ice::Issuer> {
    let relay = config.relay.as_ref()?;
    let ports = if relay.reach == Reach::Nowhere { Vec::new() } else { listeners.ports() };
    Some(ice::Issuer {
        secrets: relay.secrets.clone(),
        ports,
        has_tls: config.tls.is_some(),
        public: config.public_address.clone(),
        others: relay.others.clone(),
    })
}

fn turn_service(config: &Config, udp: Vec<udp::Udp>, pair: Option<stun::Pair>) -> Arc<turn::Turn> {
    let Some(relay) = config.relay.as_ref().filter(|relay| relay.reach != Reach::Nowhere) else {
        return turn::Turn::new(udp, pair, None, None);
    };
    let public = config.public_address.as_ref().and_then(PublicAddress::ip);
    let open = match relay.reach {
        Reach::Everywhere(bound) => Some(turn::RelayIp { bound, public: public.unwrap_or(bound) }),
        _ => None,
    };
    let own = open.map(|open| {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        interfaces.iter().map(if_addrs::Interface::ip).chain([open.bound, open.public]).collect()
    });
    let machine = relay::Relay::new(relay.limits, relay.secrets.clone(), own);
    turn::Turn::new(udp, pair, Some(machine), open)
}
