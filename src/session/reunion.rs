//! The connection to the peer, and its successors: when a path is lost, both ends go to a room
//! that only they can name, prove there that they are the same, and connect anew.
//!
//! While the path leads through a relay, a straight one is looked for in the same way, and then
//! taken in its place.
//!
//! Is the other process gone, or only the path? An end that was seen to leave, by the server or
//! because the server was in its process, and does not come back soon, is gone. Silence alone is
//! a lost path, which is waited for.

use std::time::Duration;

use futures_util::StreamExt as _;
use p2pshare_signal::protocol::{self, Presence, RoomId};
use rand_core::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{
    carrier::Change,
    connect::{self, Arrived, Link, arrived, parsed},
    event::{Event, Front},
    kinds::Kind,
    lanes::News,
    meet::{Paired, random},
    progress::Over,
    signalling::{Signalled, cancelled},
};
use crate::{
    error::Error,
    net::{
        lane::{LaneEvent, Numbered},
        network::{Network, Transport},
        peer::{Path, PeerEvent},
        rendezvous::{Address, Connection, RendezvousError, Room, RoomEvent},
    },
    proto::{
        Role,
        binding::FIRST_DATA,
        frame::{Frame, Reason},
        limit::Limit,
        pake::Keys,
        reunion::{Greeting, Reunion},
        signal::Signal,
    },
};

/// Pauses between attempts: the first, how each grows, the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const GROWTH: f64 = 1.5;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long an end that was seen to leave may take to come back.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// How long the sender's process may refuse connections before it counts as gone.
const REFUSED_FOR: Duration = Duration::from_secs(4);

/// When a straight path is looked for in place of a relayed one: this long after that was found,
/// and then each time this long later, twice as long each time, up to the longest pause. Both ends
/// count from the same moment, so they meet.
const FIRST_IMPROVEMENT: Duration = Duration::from_secs(2);
const SECOND_IMPROVEMENT: Duration = Duration::from_secs(10);

/// How long it is looked for.
const IMPROVING: Duration = Duration::from_secs(8);

/// How long what was said last may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long the other end, once it is in the room, may take to greet.
const GREETING: Duration = Duration::from_secs(15);

/// Where and how the same two ends meet again.
#[derive(Clone, Debug)]
pub struct Meeting {
    /// Which end this is.
    pub role: Role,
    /// The server.
    pub address: Address,
    /// Whether the server is in the sender's process.
    pub embedded: bool,
    /// What they know each other by.
    pub reunion: Reunion,
    /// What of the network may be used.
    pub network: Network,
}

/// A connection that is being looked for.
struct Search {
    /// Whether it is to be in place of one that stands, but is relayed.
    improves: bool,
    /// One task, which ends with this.
    found: JoinSet<Result<Link, Error>>,
}

impl Search {
    fn start(
        improves: bool,
        search: impl Future<Output = Result<Link, Error>> + Send + 'static,
    ) -> Self {
        let mut found = JoinSet::new();
        found.spawn(search);
        Self { improves, found }
    }
}

/// When to look for a straight path again.
#[derive(Clone, Copy)]
struct Improvement {
    at: Instant,
    pause: Duration,
}

impl Improvement {
    fn first() -> Self {
        Self { at: Instant::now() + FIRST_IMPROVEMENT, pause: SECOND_IMPROVEMENT }
    }

    fn next(self) -> Self {
        Self { at: self.at + self.pause, pause: (self.pause * 2).min(LONGEST_PAUSE) }
    }
}

/// A connection that is replaced when it is lost.
pub struct Ties {
    meeting: Meeting,
    patience: Duration,
    front: Front,
    link: Option<Link>,
    search: Option<Search>,
    improvement: Improvement,
    /// The server saw the peer's socket close.
    seen_leaving: bool,
    /// Something was said of which nothing proves that it has arrived.
    unproved: bool,
}

/// What happens between the two ends.
#[derive(Debug)]
pub enum Heard {
    /// Something on the control channel.
    Control(Arrived),
    /// Something on the data lanes.
    Data(Arrived),
    /// A change of the data lanes that this end sends on.
    Lanes(Change),
    /// What the other end takes for what limits the transfer.
    Limited(Option<Limit>),
    /// The peer gives up.
    Cancel(Reason),
    /// The peer has closed the connection; a new one is looked for.
    Closed,
    /// The path is lost; a new one is looked for.
    Lost,
    /// The peer has left the room, and its reason for that, if it gave one, was heard before.
    Left,
    /// There is a new connection, in place of one that was lost or not.
    Reconnected,
    /// There will be none.
    Alone(Error),
}

impl Link {
    /// What something on the control channel means; that of further lanes is dealt with here.
    fn on_control(&mut self, event: &LaneEvent) -> Option<Heard> {
        match arrived(event) {
            Arrived::Frame(Frame::Lane { lane, signals }) => {
                match Signal::from_wire(&signals) {
                    Ok(signals) => self.lanes.heard(lane, signals),
                    Err(error) => return Some(Heard::Control(Arrived::Malformed(error.into()))),
                }
                None
            }
            Arrived::Frame(Frame::Limited(limit)) => Some(Heard::Limited(limit)),
            arrived => Some(Heard::Control(arrived)),
        }
    }

    fn on_data(&mut self, lane: u32, event: &LaneEvent) -> Option<Heard> {
        match event {
            LaneEvent::Open => None,
            LaneEvent::Closed => {
                self.lanes.close(lane);
                Some(Heard::Lanes(Change::Gone(lane)))
            }
            LaneEvent::Message(message) => match self.inbox.take(message) {
                Ok(()) => None,
                Err(error) => Some(Heard::Data(Arrived::Malformed(error.into()))),
            },
        }
    }

    async fn lane_news(&mut self, news: News) -> Option<Heard> {
        match news {
            News::Say(lane, signals) => {
                let signals = Signal::to_wire(&signals).into();
                self.send(&Frame::Lane { lane, signals }).await;
                None
            }
            News::Open(lane, sender, receiver) => {
                self.data.push(Numbered::new(lane, receiver));
                sender.map(|sender| Heard::Lanes(Change::Open(lane, sender)))
            }
            News::Gone(lane) => Some(Heard::Lanes(Change::Gone(lane))),
            News::InVain(_, kind) => Some(Heard::Lanes(Change::InVain(kind))),
        }
    }
}

impl Ties {
    /// Takes over a connection.
    #[must_use]
    pub fn new(link: Link, meeting: Meeting, patience: Duration, front: Front) -> Self {
        let link = Some(link);
        let improvement = Improvement::first();
        Self {
            meeting,
            patience,
            front,
            link,
            search: None,
            improvement,
            seen_leaving: false,
            unproved: false,
        }
    }

    /// The connection, while there is one.
    #[must_use]
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Sends a frame on the control channel, if there is one.
    pub async fn send(&mut self, frame: &Frame) {
        if let Some(link) = &self.link {
            link.send(frame).await;
        }
        match frame {
            // `FinOk` says that it has arrived, and everything before it.
            Frame::Fin(_) => self.unproved = false,
            Frame::Limited(_) => {}
            _ => self.unproved = true,
        }
    }

    /// Has so many further data lanes, if that can be done.
    pub fn want_lanes(&mut self, count: usize) {
        self.link.iter_mut().for_each(|link| link.lanes.want(count));
    }

    /// Has a lane of TLS or QUIC, if that can be done.
    pub fn want_stream(&mut self, kind: Kind) {
        self.link.iter_mut().for_each(|link| link.lanes.want_stream(kind));
    }

    /// The kinds of lane that there are, of which the fastest are used.
    #[must_use]
    pub fn over(&self) -> Over {
        self.link.as_ref().map_or_else(Over::default, |link| link.lanes.over())
    }

    /// Gives a data lane up.
    pub fn close_lane(&mut self, lane: u32) {
        self.link.iter_mut().for_each(|link| link.lanes.close(lane));
    }

    /// Whether the peer has everything that was said on the control channel; it may take a moment
    /// to say so.
    pub async fn is_drained(&self) -> bool {
        // SCTP acknowledges it up to 200 ms later (RFC 9260, section 6.2).
        match &self.link {
            Some(link) => timeout(LAST_WORDS, link.control.0.drained()).await.is_ok(),
            None => false,
        }
    }

    /// From now on, a lost connection is looked for only so long.
    pub fn be_patient_for(&mut self, patience: Duration) {
        self.patience = self.patience.min(patience);
    }

    /// The next thing that happens.
    pub async fn next(&mut self) -> Heard {
        loop {
            let heard = if let Some(link) = &mut self.link {
                let improvable = self.search.is_none() && is_improvable(link, &self.meeting);
                if let Some(frame) = link.inbox.pop() {
                    return Heard::Data(parsed(&frame));
                }
                tokio::select! {
                    event = link.control.1.next() => match event {
                        LaneEvent::Closed => Some(self.lost(Heard::Closed)),
                        event => link.on_control(&event),
                    },
                    Some((lane, event)) = link.data.next() => match event {
                        LaneEvent::Closed if lane == FIRST_DATA => Some(self.lost(Heard::Closed)),
                        event => link.on_data(lane, &event),
                    },
                    news = link.lanes.next() => link.lane_news(news).await,
                    event = link.peer.next() => {
                        matches!(event, PeerEvent::Lost).then(|| self.lost(Heard::Lost))
                    }
                    signalled = link.signalling.next() => self.signalled(signalled),
                    found = found(&mut self.search) => self.found(found),
                    () = sleep_until(self.improvement.at), if improvable => {
                        self.improve();
                        None
                    }
                }
            } else {
                let found = found(&mut self.search).await;
                self.found(found)
            };
            if let Some(heard) = heard {
                return heard;
            }
        }
    }

    fn signalled(&mut self, signalled: Result<Signalled, Error>) -> Option<Heard> {
        if let Ok(Signalled::Peer(presence)) = &signalled {
            self.seen_leaving = *presence != Presence::Here;
            // A receiver that died may come back before its path is known to be lost.
            if self.seen_leaving && self.meeting.role == Role::Sender {
                self.look();
            }
            if *presence == Presence::Left {
                return Some(Heard::Left);
            }
        }
        match cancelled(signalled) {
            Some(Frame::Cancel(reason)) => Some(Heard::Cancel(reason)),
            _ => None,
        }
    }

    fn lost(&mut self, how: Heard) -> Heard {
        self.link = None;
        if let Heard::Lost = how {
            self.front.tell(Event::Reconnecting(self.patience));
        }
        self.look();
        how
    }

    fn look(&mut self) {
        if self.search.is_none() {
            let (meeting, front) = (self.meeting.clone(), self.front.clone());
            let (patience, leaving) = (self.patience, self.seen_leaving);
            let found = async move { meeting.meet(patience, leaving, &front).await };
            self.search = Some(Search::start(false, found));
        }
    }

    fn improve(&mut self) {
        let (meeting, front) = (self.meeting.clone(), self.front.clone());
        let found = async move { meeting.improve(&front).await };
        self.search = Some(Search::start(true, found));
        self.improvement = self.improvement.next();
    }

    fn found(&mut self, found: Result<Link, Error>) -> Option<Heard> {
        let improved = self.search.take().is_some_and(|search| search.improves);
        match found {
            Ok(link) => {
                self.link = Some(link);
                self.seen_leaving = false;
                self.improvement = Improvement::first();
                Some(Heard::Reconnected)
            }
            // The relayed one was lost meanwhile.
            Err(_) if improved && self.link.is_none() => {
                self.look();
                None
            }
            // The old one still stands.
            Err(error) if self.link.is_some() => {
                tracing::debug!(%error, "reunion");
                None
            }
            Err(error) => Some(Heard::Alone(error)),
        }
    }

    /// Takes leave of the peer, with a reason when this end gives up.
    pub async fn end(self, reason: Option<Reason>) {
        if reason.is_none() && self.meeting.role == Role::Sender && self.unproved {
            // What was said last must arrive before the connection is closed.
            let drained = self.is_drained().await;
            tracing::debug!(drained, "control channel");
        }
        drop(self.search);
        if let Some(link) = self.link {
            link.end(reason).await;
        }
    }
}

impl std::fmt::Debug for Ties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ties").field("link", &self.link).finish_non_exhaustive()
    }
}

async fn found(search: &mut Option<Search>) -> Result<Link, Error> {
    match search {
        Some(search) => match search.found.join_next().await {
            Some(found) => found.expect("a search does not panic"),
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Whether a straight path is worth looking for.
fn is_improvable(link: &Link, meeting: &Meeting) -> bool {
    link.path == Path::Relay && meeting.network.transport == Transport::Auto
}

/// Why an attempt came to nothing.
enum Missed {
    /// The server cannot be reached.
    NoServer,
    /// The other end is not there, or went away.
    NoPeer,
    /// It is gone for good.
    Gone,
}

impl Meeting {
    /// Where the two ends of a pairing meet again.
    #[must_use]
    pub fn of(role: Role, paired: &Paired, network: Network) -> Self {
        let (address, embedded) = (paired.address.clone(), paired.embedded);
        Self { role, address, embedded, reunion: paired.keys.reunion(), network }
    }

    /// Waits for the other end, and connects. An end that was seen leaving is not waited for as
    /// long as one that is only silent, by the receiver.
    ///
    /// # Errors
    /// [`Error::PathLost`] when it does not come.
    pub async fn meet(
        &self,
        patience: Duration,
        seen_leaving: bool,
        front: &Front,
    ) -> Result<Link, Error> {
        let deadline = Instant::now() + patience;
        let leaving = seen_leaving && self.role == Role::Receiver;
        let gone = if leaving { deadline.min(Instant::now() + GONE_AFTER) } else { deadline };
        let mut refused_since = None;
        let mut pause = FIRST_PAUSE;
        while Instant::now() < deadline {
            match self.attempt(deadline, gone, front).await {
                Ok(link) => return Ok(link),
                Err(Missed::Gone) => break,
                Err(Missed::NoPeer) => {
                    refused_since = None;
                    pause = FIRST_PAUSE;
                }
                Err(Missed::NoServer) => {
                    let since = *refused_since.get_or_insert_with(Instant::now);
                    let process_gone = self.embedded && self.role == Role::Receiver;
                    if process_gone && since.elapsed() >= REFUSED_FOR {
                        break;
                    }
                }
            }
            sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
            pause = pause.mul_f64(GROWTH).min(LONGEST_PAUSE);
        }
        Err(Error::PathLost)
    }

    async fn attempt(
        &self,
        deadline: Instant,
        gone: Instant,
        front: &Front,
    ) -> Result<Link, Missed> {
        let paired = self.pair(deadline, gone).await?;
        front.tell(Event::Connecting);
        let connected = connect::connect(self.role, paired, &self.network, false, front).await;
        connected.map_err(|_| Missed::NoPeer)
    }

    /// Looks for a straight path, beside the relayed one that there is.
    async fn improve(&self, front: &Front) -> Result<Link, Error> {
        let network = Network { transport: Transport::Direct, ..self.network.clone() };
        let straight = Self { network, ..self.clone() };
        let deadline = Instant::now() + IMPROVING;
        let found = async {
            let paired = straight.pair(deadline, deadline).await.map_err(|_| Error::NoPath)?;
            connect::connect(self.role, paired, &self.network, false, front).await
        };
        timeout_at(deadline, found).await.unwrap_or(Err(Error::NoPath))
    }

    /// Waits for the other end in the room, and makes sure that it is the same.
    async fn pair(&self, deadline: Instant, gone: Instant) -> Result<Paired, Missed> {
        let connection = Connection::open(self.address.clone(), &self.network.dialer).await;
        let connection = connection.map_err(|_| Missed::NoServer)?;
        let id = RoomId::from_256_bits(*self.reunion.room.as_bytes());
        let role = match self.role {
            Role::Sender => protocol::Role::Sender,
            Role::Receiver => protocol::Role::Receiver,
        };
        let mut room = connection.join(id, role).await.map_err(|error| match error {
            // Its server holds the place of this end's lost socket.
            RendezvousError::Refused(_) => Missed::NoPeer,
            _ => Missed::NoServer,
        })?;
        match timeout_at(gone, arrival(&mut room)).await {
            Ok(Ok(())) => {}
            Ok(Err(missed)) => return Err(missed),
            Err(_) if gone < deadline => return Err(Missed::Gone),
            Err(_) => return Err(Missed::NoPeer),
        }
        let routes = self.network.prepare(room.ice_servers());
        let keys = timeout(GREETING, self.greet(&mut room)).await;
        let keys = keys.ok().flatten().ok_or(Missed::NoPeer)?;
        let (address, embedded) = (self.address.clone(), self.embedded);
        Ok(Paired { keys, room, routes, address, embedded })
    }

    /// Exchanges greetings; `None` when the other end goes away or is somebody else.
    async fn greet(&self, room: &mut Room) -> Option<Keys> {
        let mut nonce = [0; 16];
        random().fill_bytes(&mut nonce);
        let ours = self.reunion.greeting(self.role, nonce);
        room.say(ours.to_wire());
        loop {
            match room.next().await {
                RoomEvent::Message(message) => {
                    let theirs = Greeting::from_wire(&message).ok()?;
                    return self.reunion.keys(self.role, &ours, &theirs);
                }
                RoomEvent::Peer(Presence::Left) | RoomEvent::Lost => return None,
                RoomEvent::Peer(_) => {}
            }
        }
    }
}

/// Waits until the other end is in the room.
async fn arrival(room: &mut Room) -> Result<(), Missed> {
    loop {
        match room.next().await {
            RoomEvent::Peer(Presence::Here) => return Ok(()),
            RoomEvent::Peer(Presence::Left) => return Err(Missed::NoPeer),
            RoomEvent::Peer(Presence::Gone) | RoomEvent::Message(_) => {}
            RoomEvent::Lost => return Err(Missed::NoServer),
        }
    }
}
