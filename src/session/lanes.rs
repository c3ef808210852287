//! Further lanes of a connection, each a PeerConnection of its own with a data channel, or a
//! [connection of TLS or QUIC](super::straight). They are described over the control channel, so that
//! no server is needed, and data channels take the kind of path that the first connection has found.
//!
//! Those are also how the path's MTU is found out: a lane that assumes one comes up only if its first
//! message, which fills a packet, arrives. One at a time tries that. If it does not come up it is
//! followed by one that assumes less; lanes that are opened meanwhile assume what every path carries.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use p2pshare_signal::protocol::IceServer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::timeout,
};

use super::{
    establish::{Established, Opening, Plan, Speech, establish},
    kinds::Kind,
    progress::Over,
    signalling::Signalled,
    straight::{self, in_time},
};
use crate::{
    error::Error,
    net::{
        interfaces::ETHERNET_MTU,
        lane::{LaneReceiver, LaneSender},
        network::{Network, Transport},
        packet::SAFE_MTU,
        peer::{DATA, Path, PeerEvent},
        quic::UdpPath,
        stream::{self, Connection, StreamSender},
    },
    proto::{
        Role,
        binding::{FIRST_DATA, FIRST_QUIC},
        pake::Keys,
        signal::{LANE_DATA_CHANNEL, Signal},
    },
};

/// The most further lanes of a connection.
pub(super) const MOST_LANES: usize = 16;

/// The same through a relay, which grants a room so many allocations only.
const MOST_RELAYED: usize = 4;

/// Lanes of TLS that the receiver has at once, and as many of QUIC: one that is lost here may not be
/// lost there yet.
const MOST_STREAMS: usize = 4;

/// Lanes of one connection that the receiver answers, in all: what it remembers has an end.
const MOST_NUMBERS: usize = 4096;

/// How long a lane may take to come up. Of what is lost at random on the way there, SCTP sends
/// the first again after a second.
const PATIENCE: Duration = Duration::from_secs(8);

/// The same when it is to find out the path's MTU.
const PROBE_PATIENCE: Duration = Duration::from_secs(4);

/// Lanes that must fail to carry packets of a size until smaller ones are assumed: one may fail
/// because a machine is busy.
const PROBES: u32 = 2;

/// Lanes that may fail one after the other until no more are opened.
const FAILURES: u32 = 3;

/// The end of a lane that sends.
#[derive(Clone, Debug)]
pub enum AnySender {
    /// A data channel.
    DataChannel(LaneSender),
    /// TLS or QUIC.
    Stream(Kind, StreamSender),
}

/// What becomes of lanes.
#[derive(Debug)]
pub(super) enum News {
    /// To be told to the peer.
    Say(u32, Vec<Signal>),
    /// A lane is open; at the receiver, one of TLS or QUIC brings only.
    Open(u32, Option<AnySender>, LaneReceiver),
    /// A lane is not there any more.
    Gone(u32),
    /// A lane did not come up.
    InVain(u32, Kind),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lanes {
    role: Role,
    keys: Keys,
    network: Network,
    servers: Vec<IceServer>,
    most: usize,
    tasks: HashMap<u32, Task>,
    /// The next number of this end.
    next: u32,
    /// Numbers of the peer, which come in any order, and each once.
    used: HashSet<u32>,
    wanted: usize,
    /// What is assumed of the path.
    mtu: u32,
    /// The lane that tries it, and how many have tried it in vain.
    probe: Option<u32>,
    in_vain: u32,
    /// Whether one has come up that assumed it.
    proven: bool,
    failures: u32,
    /// Both ends can open lanes of TLS.
    may_tls: bool,
    /// The way for lanes of QUIC, which both ends can open.
    udp: Option<UdpPath>,
    tell: mpsc::UnboundedSender<News>,
    news: mpsc::UnboundedReceiver<News>,
}

#[derive(Debug)]
struct Task {
    kind: Kind,
    signals: mpsc::UnboundedSender<Vec<Signal>>,
    open: bool,
}

/// What kind of lane a peer means that says this first.
fn kind_of(signals: &[Signal]) -> Kind {
    let of = |signal: &Signal| match signal {
        Signal::Listener(_) => Some(Kind::Tls),
        Signal::Quic(_) => Some(Kind::Quic),
        _ => None,
    };
    signals.iter().find_map(of).unwrap_or(Kind::DataChannel)
}

/// What the peer says of one lane, and where to say something.
pub(super) struct Voice {
    pub(super) lane: u32,
    signals: mpsc::UnboundedReceiver<Vec<Signal>>,
    tell: mpsc::UnboundedSender<News>,
}

impl Speech for Voice {
    fn say(&mut self, signals: &[Signal]) {
        // The connection may have ended.
        let _ = self.tell.send(News::Say(self.lane, signals.to_vec()));
    }

    async fn next(&mut self) -> Result<Signalled, Error> {
        self.signals.recv().await.map(Signalled::Signals).ok_or(Error::NoPath)
    }
}

impl Lanes {
    /// None yet, beside a first connection that takes such a path, which may have this MTU.
    pub(super) fn new(
        role: Role,
        keys: Keys,
        network: &Network,
        servers: Vec<IceServer>,
        path: Path,
        mtu: u32,
    ) -> Self {
        let relayed = path == Path::Relay;
        let transport = if relayed { Transport::Relay } else { Transport::Direct };
        let (tell, news) = mpsc::unbounded_channel();
        Self {
            role,
            keys,
            network: Network { transport, ..network.clone() },
            servers,
            most: if relayed { MOST_RELAYED } else { MOST_LANES },
            tasks: HashMap::new(),
            next: FIRST_QUIC + 1,
            used: HashSet::new(),
            wanted: 0,
            mtu,
            probe: None,
            in_vain: 0,
            proven: false,
            failures: 0,
            may_tls: false,
            udp: None,
            tell,
            news,
        }
    }

    /// The same where there may be lanes of TLS, and of QUIC if they have a way.
    pub(super) fn with_straight(self, tls: bool, quic: Option<UdpPath>) -> Self {
        Self { may_tls: tls, udp: quic, ..self }
    }

    /// There is a first lane of QUIC, which is being opened.
    pub(super) fn add_first_quic(&mut self, opening: Opening) {
        self.used.insert(FIRST_QUIC);
        let voice = self.task(FIRST_QUIC, Kind::Quic);
        tokio::spawn(run_first_quic(self.role, opening, voice));
    }

    /// Opens data channels until there are so many, if that can be done.
    pub(super) fn want(&mut self, count: usize) {
        self.wanted = count.min(self.most);
        while self.count(Kind::DataChannel) < self.wanted && self.failures < FAILURES {
            self.start_next(Kind::DataChannel);
        }
    }

    /// Opens a lane of TLS or QUIC, if that can be done and there is none.
    pub(super) fn want_stream(&mut self, kind: Kind) {
        if self.may(kind) && self.count(kind) == 0 {
            self.start_next(kind);
        }
    }

    /// The fastest kind of lane that is open.
    pub(super) fn over(&self) -> Over {
        let open = |kind| self.tasks.values().any(|task| task.kind == kind && task.open);
        let tls = open(Kind::Tls);
        let quic = !tls && open(Kind::Quic);
        Over { tls, quic, data_channels: !tls && !quic }
    }

    fn may(&self, kind: Kind) -> bool {
        match kind {
            Kind::DataChannel => true,
            Kind::Tls => self.may_tls,
            Kind::Quic => self.udp.is_some(),
        }
    }

    fn count(&self, kind: Kind) -> usize {
        self.tasks.values().filter(|task| task.kind == kind).count()
    }

    fn start_next(&mut self, kind: Kind) {
        let lane = self.next;
        self.next = lane.saturating_add(1);
        self.start(lane, kind);
    }

    /// What the peer says of a lane. The receiver answers one that is new.
    pub(super) fn heard(&mut self, lane: u32, signals: Vec<Signal>) {
        let kind = kind_of(&signals);
        let most = if kind == Kind::DataChannel { self.most } else { MOST_STREAMS };
        let has_place = self.may(kind) && self.count(kind) < most;
        let may_answer = self.role == Role::Receiver
            && lane > FIRST_DATA
            && has_place
            && self.used.len() < MOST_NUMBERS;
        if may_answer && self.used.insert(lane) {
            self.start(lane, kind);
        }
        if let Some(task) = self.tasks.get(&lane) {
            // It may have ended.
            let _ = task.signals.send(signals);
        }
    }

    /// Closes a lane.
    pub(super) fn close(&mut self, lane: u32) {
        self.tasks.remove(&lane);
    }

    fn start(&mut self, lane: u32, kind: Kind) {
        let voice = self.task(lane, kind);
        match kind {
            Kind::DataChannel => self.start_data_channel(voice),
            Kind::Tls => drop(tokio::spawn(run_tls(self.role, self.keys.clone(), voice))),
            Kind::Quic => {
                let (role, keys, path) = (self.role, self.keys.clone(), self.udp.clone());
                drop(tokio::spawn(run_quic(role, keys, path, voice)));
            }
        }
    }

    /// A lane that there is from now on, and what its task hears and says.
    fn task(&mut self, lane: u32, kind: Kind) -> Voice {
        let (signals, said) = mpsc::unbounded_channel();
        self.tasks.insert(lane, Task { kind, signals, open: false });
        Voice { lane, signals: said, tell: self.tell.clone() }
    }

    fn start_data_channel(&mut self, voice: Voice) {
        let lane = voice.lane;
        let may_probe = self.role == Role::Sender && !self.proven && self.mtu > SAFE_MTU;
        let probes = *self.probe.get_or_insert(lane) == lane && may_probe;
        let plan = Plan {
            role: self.role,
            keys: self.keys.clone(),
            lanes: [(lane, DATA)],
            mtu: if self.proven || probes { self.mtu } else { SAFE_MTU },
            words: false,
            kinds: vec![LANE_DATA_CHANNEL],
            quic: None,
        };
        let (network, servers) = (self.network.clone(), self.servers.clone());
        let patience = if probes { PROBE_PATIENCE } else { PATIENCE };
        tokio::spawn(run(plan, voice, network, servers, patience));
    }

    /// The next thing that happens.
    pub(super) async fn next(&mut self) -> News {
        let Some(news) = self.news.recv().await else { return std::future::pending().await };
        match &news {
            News::Say(..) => {}
            News::Open(lane, ..) => {
                if let Some(task) = self.tasks.get_mut(lane) {
                    task.open = true;
                    if task.kind == Kind::DataChannel {
                        self.failures = 0;
                    }
                }
                self.proven |= self.probe == Some(*lane);
            }
            News::Gone(lane) => self.close(*lane),
            News::InVain(lane, kind) => {
                let failed = self.tasks.remove(lane).is_some();
                if self.role == Role::Sender && *kind == Kind::DataChannel && failed {
                    self.failed(*lane);
                }
            }
        }
        news
    }

    fn failed(&mut self, lane: u32) {
        if self.probe == Some(lane) && !self.proven && self.mtu > SAFE_MTU {
            self.probe = None;
            self.in_vain += 1;
            if self.in_vain == PROBES {
                self.mtu = if self.mtu > ETHERNET_MTU { ETHERNET_MTU } else { SAFE_MTU };
                self.in_vain = 0;
            }
        } else {
            self.failures += 1;
        }
        self.want(self.wanted);
    }
}

/// A lane of TLS, from what is said of listeners to its end.
async fn run_tls(role: Role, keys: Keys, mut voice: Voice) {
    let opened = in_time(straight::open_tls(role, keys, &mut voice)).await;
    run_stream(Kind::Tls, role, opened, voice).await;
}

/// The same of QUIC, from what is said of certificates.
async fn run_quic(role: Role, keys: Keys, path: Option<UdpPath>, mut voice: Voice) {
    let opened = in_time(straight::agree_on_quic(role, keys, path, &mut voice)).await;
    run_stream(Kind::Quic, role, opened, voice).await;
}

/// The same of the first one, which is being opened.
async fn run_first_quic(role: Role, mut opening: Opening, voice: Voice) {
    let opened = opening.join_next().await.and_then(Result::ok);
    run_stream(Kind::Quic, role, opened.unwrap_or(Err(Error::NoPath)), voice).await;
}

async fn run_stream<S>(
    kind: Kind,
    role: Role,
    opened: Result<Connection<S>, Error>,
    mut voice: Voice,
) where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let lane = voice.lane;
    match opened {
        Ok(Connection { stream, shortest, .. }) => {
            tracing::debug!(lane, ?kind, "lane");
            let (sender, receiver) = match role {
                Role::Sender => {
                    let (sender, receiver) = stream::sending(stream, shortest);
                    (Some(sender), receiver)
                }
                Role::Receiver => (None, stream::receiving(stream)),
            };
            let any = sender.clone().map(|sender| AnySender::Stream(kind, sender));
            // The connection may have ended.
            let _ = voice.tell.send(News::Open(lane, any, receiver));
            while voice.signals.recv().await.is_some() {}
            sender.into_iter().for_each(|sender| sender.close());
            let _ = voice.tell.send(News::Gone(lane));
        }
        Err(error) => {
            tracing::debug!(lane, ?kind, %error, "the lane does not come up");
            let _ = voice.tell.send(News::InVain(lane, kind));
        }
    }
}

/// A data channel, from its description to its end.
async fn run(
    plan: Plan<1>,
    mut voice: Voice,
    network: Network,
    servers: Vec<IceServer>,
    patience: Duration,
) {
    let lane = voice.lane;
    let routes = network.prepare(&servers);
    let mtu = plan.mtu;
    let established = timeout(patience, establish(plan, &mut voice, routes)).await;
    match established.unwrap_or(Err(Error::NoPath)) {
        Ok(Established { mut peer, channels: [(sender, receiver)], .. }) => {
            tracing::debug!(lane, mtu, "lane");
            peer.opened();
            // The connection may have ended.
            let sender = Some(AnySender::DataChannel(sender));
            let _ = voice.tell.send(News::Open(lane, sender, receiver));
            loop {
                tokio::select! {
                    event = peer.next() => if let PeerEvent::Lost = event { break },
                    signals = voice.signals.recv() => if signals.is_none() { break },
                }
            }
            peer.close().await;
            let _ = voice.tell.send(News::Gone(lane));
        }
        Err(error) => {
            tracing::debug!(lane, mtu, %error, "the lane does not come up");
            let _ = voice.tell.send(News::InVain(lane, Kind::DataChannel));
        }
    }
}
