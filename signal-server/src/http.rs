//! The HTTP side: one path becomes a WebSocket, one says that the server is well, some are the page,
//! and the rest is a 404 that says what this is. Logs no request. Used by `run`.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};

use crate::admission::{Stopping, Visitor, Welcome};
use crate::connection;
use crate::hosts::{Hosts, Stranger, host};
use crate::hub::Hub;
use crate::ice::Reached;
use crate::page::{FILES, File};
use crate::protocol::{MAX_MESSAGE, PATH};
use crate::relay::Counters;
use crate::turn::Turn;

/// How much of a socket is read at once. The library's 128 KiB are allocated for each connection
/// when it opens; requests are a few hundred bytes.
const READ_BUFFER: usize = 4 * 1024;

/// How much may wait inside the library: it is given one reply at a time, so this is never
/// reached and only says that it has an end.
const WRITE_BUFFER: usize = 256 * 1024;

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) hub: Arc<Hub>,
    pub(crate) turn: Option<Arc<Turn>>,
    pub(crate) stopping: Stopping,
    pub(crate) hosts: Hosts,
}

/// Every path there is.
pub(crate) fn router(shared: Shared) -> Router {
    let router = Router::new().route(PATH, any(rendezvous)).route("/health", get(health));
    let add = |router: Router<Shared>, file: &'static File| {
        router
            .route(file.path, get(async |shared, headers: HeaderMap| page(file, shared, &headers)))
    };
    FILES.iter().fold(router, add).fallback(not_found).with_state(shared)
}

async fn rendezvous(
    State(shared): State<Shared>,
    ConnectInfo(visitor): ConnectInfo<Visitor>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match shared.hosts.admits(&headers) {
        Ok(()) => {}
        Err(Stranger::Host) => return misdirected(),
        Err(Stranger::Page) => {
            let text = "this server does not talk to pages of other servers\n";
            return refuse(StatusCode::FORBIDDEN, text);
        }
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    if visitor.welcome == Welcome::TooMany {
        let text = "this address has as many connections as this server allows\n";
        return refuse(StatusCode::TOO_MANY_REQUESTS, text);
    }
    visitor.stay();
    let from = visitor.address.ip();
    let called = host(&headers).and_then(|host| host.as_str().parse().ok());
    let reached = called.map(|by| Reached { by, from });
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(async move |socket| {
            let line = shared.hub.connect(from.into(), reached);
            connection::serve(socket, line, shared.stopping).await;
        })
}

fn page(file: &File, State(shared): State<Shared>, headers: &HeaderMap) -> Response {
    let host = host(headers);
    if !shared.hosts.has(host.as_ref()) {
        return misdirected();
    }
    file.response(headers, host.as_ref())
}

/// A name that somebody else points at this server: a page from there would be theirs.
fn misdirected() -> Response {
    refuse(StatusCode::MISDIRECTED_REQUEST, "call this server by its address\n")
}

async fn health(State(shared): State<Shared>) -> Response {
    let report = serde_json::json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "rooms": shared.hub.rooms(),
        "relay": shared.turn.as_ref().and_then(|turn| turn.counters()).map(report),
    });
    ([(CONTENT_TYPE, "application/json")], format!("{report}\n")).into_response()
}

fn report((counters, allocations): (Counters, usize)) -> serde_json::Value {
    serde_json::json!({
        "allocations": allocations,
        "allocated": counters.allocated,
        "unauthorized": counters.unauthorized,
        "over_quota": counters.over_quota,
        "relayed_packets": counters.relayed_packets,
        "relayed_bytes": counters.relayed_bytes,
        "dropped_packets": counters.dropped_packets,
    })
}

async fn not_found() -> Response {
    refuse(StatusCode::NOT_FOUND, "this is a p2pshare server; its page is at /\n")
}

fn refuse(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}
