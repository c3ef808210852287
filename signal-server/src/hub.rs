//! The one set of rooms and the queues of all sockets, shared by every connection.
//!
//! A `std` mutex, held for one request: nothing under it waits, and each request is a few map
//! look-ups. What a request means is decided in `rooms`; this adds the clock, the random bytes and
//! the way to the sockets. Used by `connection`, `http` and `run`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::ice::{Issuer, Reached};
use crate::limits::{Limits, Source};
use crate::outbox::{Inbox, Outbox, outbox};
use crate::protocol::{Refusal, Reply, Request};
use crate::rooms::{ConnectionId, Random, Rooms};

/// Where requests go and replies come from.
pub(crate) struct Hub {
    state: Mutex<State>,
    /// The next deadline moved.
    rescheduled: Notify,
}

struct State {
    rooms: Rooms,
    clients: HashMap<ConnectionId, Client>,
    issuer: Option<Issuer>,
    last_connection: u64,
}

/// What is known of one socket.
struct Client {
    outbox: Outbox,
    reached: Option<Reached>,
}

/// One socket's line to the hub. When it is dropped, the rooms learn that the socket closed.
pub(crate) struct Line {
    hub: Arc<Hub>,
    connection: ConnectionId,
    inbox: Inbox,
}

impl Hub {
    pub(crate) fn new(limits: Limits, issuer: Option<Issuer>) -> Self {
        let rooms = Rooms::new(limits);
        let state = State { rooms, clients: HashMap::new(), issuer, last_connection: 0 };
        Self { state: Mutex::new(state), rescheduled: Notify::new() }
    }

    /// A socket opened. How its client reached this server decides what it is told of STUN and
    /// TURN.
    pub(crate) fn connect(self: &Arc<Self>, source: Source, reached: Option<Reached>) -> Line {
        let (outbox, inbox) = outbox();
        let mut state = self.lock();
        state.last_connection += 1;
        let connection = ConnectionId(state.last_connection);
        state.rooms.connect(connection, source);
        state.clients.insert(connection, Client { outbox, reached });
        drop(state);
        Line { hub: Arc::clone(self), connection, inbox }
    }

    /// How many slots and rooms there are.
    pub(crate) fn rooms(&self) -> usize {
        self.lock().rooms.count()
    }

    /// Ends slots and rooms when their time has come. Runs until it is dropped.
    pub(crate) async fn keep_time(&self) {
        loop {
            let deadline = self.lock().rooms.next_deadline();
            let Some(deadline) = deadline else {
                self.rescheduled.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep_until(deadline.into()) => self.change(Rooms::expire),
                () = self.rescheduled.notified() => {}
            }
        }
    }

    /// Changes the rooms and sends out what they answer.
    fn change(&self, change: impl FnOnce(&mut Rooms, Instant)) {
        let now = Instant::now();
        let mut state = self.lock();
        let before = state.rooms.next_deadline();
        change(&mut state.rooms, now);
        state.send_replies(now);
        if state.rooms.next_deadline() != before {
            self.rescheduled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn send_replies(&mut self, now: Instant) {
        while let Some((to, reply)) = self.rooms.poll_reply() {
            let Some(client) = self.clients.get(&to) else { continue };
            let Some(reply) = self.with_servers(reply, client) else { continue };
            if client.outbox.push(to_text(&reply)).is_err() {
                tracing::debug!(connection = to.0, "the client does not read");
                self.clients.remove(&to);
                self.rooms.disconnect(to, now);
            }
        }
    }

    /// Puts the servers for ICE into a reply that has a place for them. A reply that is there for
    /// nothing else is left out when there are none.
    fn with_servers(&self, mut reply: Reply, client: &Client) -> Option<Reply> {
        let is_for_them_alone = matches!(reply, Reply::IceServers { .. });
        if let Reply::Paired { room, ice_servers, .. }
        | Reply::Claimed { room, ice_servers, .. }
        | Reply::IceServers { room, ice_servers } = &mut reply
        {
            if let (Some(issuer), Some(reached)) = (&self.issuer, &client.reached) {
                *ice_servers = issuer.servers(reached, room, unix_time());
            }
            if is_for_them_alone && ice_servers.is_empty() {
                return None;
            }
        }
        Some(reply)
    }
}

impl Line {
    /// Hands a request over. The answer comes through [`Line::next`].
    pub(crate) fn request(&self, request: Request) -> Result<(), getrandom::Error> {
        let random = draw()?;
        self.hub.change(|rooms, now| rooms.handle(self.connection, request, now, &random));
        Ok(())
    }

    /// The next message to write; none when the hub hung up because too many waited.
    pub(crate) async fn next(&mut self) -> Option<Utf8Bytes> {
        self.inbox.next().await
    }

    /// The number under which this connection is logged.
    pub(crate) fn number(&self) -> u64 {
        self.connection.0
    }

    /// Whether the hub hung up.
    pub(crate) fn is_cut(&self) -> bool {
        self.inbox.is_cut()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.hub.lock().clients.remove(&self.connection);
        self.hub.change(|rooms, now| rooms.disconnect(self.connection, now));
    }
}

/// A reply as it goes over the wire.
fn to_text(reply: &Reply) -> String {
    serde_json::to_string(reply).expect("replies hold only strings, numbers and lists")
}

/// The answer to what could not be read.
pub(crate) fn not_understood() -> String {
    to_text(&Reply::Refused { room: None, reason: Refusal::BadMessage })
}

/// Seconds since 1970.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn draw() -> Result<Random, getrandom::Error> {
    Ok(Random { room: bytes()?, token: bytes()?, other_token: bytes()? })
}

fn bytes() -> Result<[u8; 16], getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Body, MAX_BODY, Presence, Role, RoomId, Token};

    fn line(hub: &Arc<Hub>) -> Line {
        hub.connect(std::net::IpAddr::from([192, 0, 2, 1]).into(), None)
    }

    async fn hear(line: &mut Line) -> Reply {
        serde_json::from_str(&line.next().await.unwrap()).unwrap()
    }

    async fn join(line: &mut Line, room: &RoomId, role: Role) -> Token {
        line.request(Request::Join { room: room.clone(), role }).unwrap();
        let Reply::Joined { token, .. } = hear(line).await else { panic!("not joined") };
        token
    }

    #[tokio::test]
    async fn a_line_that_nobody_reads_is_cut_and_its_peer_learns_it_at_once() {
        let hub = Arc::new(Hub::new(Limits::default(), None));
        let (mut reader, mut deaf) = (line(&hub), line(&hub));
        let room = RoomId::from_256_bits([1; 32]);
        join(&mut reader, &room, Role::Sender).await;
        let token = join(&mut deaf, &room, Role::Receiver).await;
        let body = Body::new(vec![7; MAX_BODY]).unwrap();
        reader.request(Request::Send { room: room.clone(), number: 1, body }).unwrap();
        while !deaf.is_cut() {
            let (room, token) = (room.clone(), token.clone());
            deaf.request(Request::Rejoin { room, token, received: 0 }).unwrap();
        }
        let here = Reply::Peer { room: room.clone(), presence: Presence::Here };
        assert_eq!(hear(&mut reader).await, here);
        let gone = Reply::Peer { room, presence: Presence::Gone };
        assert_eq!(hear(&mut reader).await, gone);
        while deaf.next().await.is_some() {}
    }

    #[tokio::test]
    async fn the_peer_learns_that_a_line_was_dropped() {
        let hub = Arc::new(Hub::new(Limits::default(), None));
        let (mut stays, mut goes) = (line(&hub), line(&hub));
        let room = RoomId::from_256_bits([1; 32]);
        join(&mut stays, &room, Role::Sender).await;
        join(&mut goes, &room, Role::Receiver).await;
        hear(&mut stays).await;
        drop(goes);
        let gone = Reply::Peer { room, presence: Presence::Gone };
        assert_eq!(hear(&mut stays).await, gone);
        assert_eq!(hub.lock().clients.len(), 1);
    }
}
