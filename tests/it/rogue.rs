//! An end of a transfer inside the test: it knows the code, and from the first description on it
//! says what the test wants said. Made of the library's own parts.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use p2pshare::{
    Code, Dialer, Network, ServerUrl,
    net::{
        lane::{LaneEvent, LaneReceiver, LaneSender},
        packet::SAFE_MTU,
        peer::{CONTROL as CONTROL_LABEL, Channel, DATA, Peer, PeerEvent},
        rendezvous::{Address, Connection, Slot},
    },
    proto::{
        Role,
        binding::{Binding, CONTROL, FIRST_DATA, Fingerprints, Hello},
        frame::Frame,
        lanes::NUMBER,
        pairing::{Claiming, Message, Waiting},
        pake::Keys,
        signal::{Description, Signal},
    },
    session::{
        meet::Paired,
        signalling::{Signalled, Signalling},
    },
};
use p2pshare_signal::protocol::{Nameplate, Presence, RoomId};
use rand_core::{CryptoRng, Rng, UnwrapErr};
use tokio::{
    runtime::Runtime,
    time::{Duration, timeout},
};

use crate::harness::{PATIENCE, Server};

/// A code of the test's own choice.
pub(crate) fn code(number: usize) -> String {
    format!("{number}-albatross-ambulance-asparagus")
}

/// What runs rogues.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub(crate) fn random() -> impl CryptoRng {
    UnwrapErr(getrandom::SysRng)
}

/// What a rogue lies about before the first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing.
    None,
    /// Its description has the fingerprint of another certificate.
    Fingerprint,
    /// Its Hello is for other certificates.
    OtherCertificates,
    /// Its Hello is made with other keys.
    OtherKeys,
    /// Its Hello is the peer's own, sent back.
    Reflection,
    /// The Hello of each lane is that of the other.
    OtherLane,
    /// Its Hello is of a later connection.
    OtherGeneration,
    /// Its first frame is no Hello.
    NoHello,
    /// It says that it takes no longer messages than this.
    MessageSize(u32),
}

/// A rogue sender that waits for its receiver.
pub(crate) struct RogueSlot {
    waiting: Waiting,
    slot: Slot,
}

impl RogueSlot {
    pub(crate) async fn open(server: &Server, code: &str) -> Self {
        let code: Code = code.parse().unwrap();
        let mut name = [0; 16];
        random().fill_bytes(&mut name);
        let name = RoomId::from_128_bits(name);
        let waiting = Waiting::new(&code, name.as_str().to_owned(), &mut random());
        let share = waiting.share().to_wire();
        let nameplate = nameplate(&code);
        let opened = connection(server).await.allocate(name, nameplate, PATIENCE, share).await;
        Self { waiting, slot: opened.unwrap() }
    }

    /// Waits for the receiver and pairs with it.
    pub(crate) async fn paired(self) -> Paired {
        let mut slot = self.slot;
        let seat = patient(slot.claimed()).await.unwrap();
        let mut room = slot.enter(seat);
        let reply = patient(message(&mut room)).await.expect("a reply");
        let reply = Message::from_wire(&reply).unwrap();
        let (confirmation, keys) = self.waiting.confirm(room.id().as_str(), &reply).unwrap();
        room.say(confirmation.to_wire());
        paired(keys, room)
    }
}

/// Claims a code and pairs with its sender; `None` when the code is wrong.
pub(crate) async fn claim(server: &Server, code: &str) -> Option<Paired> {
    let code: Code = code.parse().unwrap();
    let claimed = connection(server).await.claim(&nameplate(&code)).await.unwrap();
    let share = Message::from_wire(&claimed.share).unwrap();
    let mut room = claimed.room;
    let (reply, claiming) =
        Claiming::reply(&code, claimed.slot.as_str(), room.id().as_str(), &share, &mut random())
            .unwrap();
    room.say(reply.to_wire());
    let confirmation = patient(message(&mut room)).await?;
    let keys = claiming.confirmed(&Message::from_wire(&confirmation).unwrap()).unwrap();
    Some(paired(keys, room))
}

/// A rogue never meets anybody again, so it need not remember where.
fn paired(keys: Keys, room: p2pshare::net::rendezvous::Room) -> Paired {
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let routes = Network::default().prepare(room.ice_servers());
    Paired { keys, room, routes, address: Address::Socket(nowhere), embedded: false }
}

async fn connection(server: &Server) -> Connection {
    let url: ServerUrl = server.url().parse().unwrap();
    Connection::open(Address::Server(url), &Dialer::default()).await.unwrap()
}

fn nameplate(code: &Code) -> Nameplate {
    Nameplate::try_from(code.nameplate.to_string()).unwrap()
}

async fn message(room: &mut p2pshare::net::rendezvous::Room) -> Option<Vec<u8>> {
    use p2pshare::net::rendezvous::RoomEvent;
    loop {
        match room.next().await {
            RoomEvent::Message(message) => return Some(message),
            RoomEvent::Peer(Presence::Here) => {}
            RoomEvent::Peer(_) | RoomEvent::Lost => return None,
        }
    }
}

/// Waits, but not for ever.
pub(crate) async fn patient<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// A rogue with lanes to the real program.
pub(crate) struct Rogue {
    peer: Peer,
    control: (LaneSender, LaneReceiver),
    data: (LaneSender, LaneReceiver),
    signalling: Signalling,
    /// The number of the next frame on the data lane.
    numbers: AtomicU64,
    /// The other end's first message on the data lane, the only one without a number, was heard.
    data_greeted: bool,
}

impl Rogue {
    /// Connects, lying about one thing. `None` when the other end does not want to.
    pub(crate) async fn connect(role: Role, paired: Paired, lie: Lie) -> Option<Self> {
        patient(Connecting::start(role, paired, lie)).await?.finish().await
    }

    /// Says something on a lane; whether the lane took it.
    pub(crate) async fn say(&self, lane: u32, frame: &[u8]) -> bool {
        if lane == CONTROL {
            return self.control.0.send(BytesMut::from(frame)).await.is_ok();
        }
        self.say_as(self.numbers.fetch_add(1, Ordering::Relaxed), frame).await
    }

    /// Says something on the data lane, as the frame of a number.
    pub(crate) async fn say_as(&self, number: u64, frame: &[u8]) -> bool {
        let message = [&number.to_be_bytes(), frame].concat();
        self.data.0.send(BytesMut::from(message.as_slice())).await.is_ok()
    }

    /// The next frame of the other end on any lane; `None` when it has closed.
    pub(crate) async fn hear(&mut self) -> Option<Frame> {
        let (control, data) = (&mut self.control.1, &mut self.data.1);
        let next = async {
            loop {
                let (event, before) = tokio::select! {
                    event = control.next() => (event, 0),
                    event = data.next() => match event {
                        LaneEvent::Message(_) if !self.data_greeted => {
                            self.data_greeted = true;
                            continue;
                        }
                        event => (event, NUMBER),
                    },
                    event = self.peer.next() => match event {
                        PeerEvent::Lost => return None,
                        _ => continue,
                    },
                    signals = signals(&mut self.signalling) => match signals {
                        Some(_) => continue,
                        None => return None,
                    },
                };
                match event {
                    LaneEvent::Open => {}
                    LaneEvent::Closed => return None,
                    LaneEvent::Message(bytes) => match Frame::from_wire(&bytes.slice(before..)) {
                        Ok(Some(Frame::Limited(_))) => {}
                        frame => return frame.unwrap(),
                    },
                }
            }
        };
        patient(next).await
    }

    /// Listens until a frame comes that is wanted; `None` when the other end gives up or closes
    /// before that.
    pub(crate) async fn hear_until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            match self.hear().await? {
                frame if wanted(&frame) => return Some(frame),
                Frame::Cancel(_) => return None,
                _ => {}
            }
        }
    }

    /// Listens until the other end has given up or closed.
    pub(crate) async fn hear_the_end(&mut self) {
        while !matches!(self.hear().await, None | Some(Frame::Cancel(_))) {}
    }

    /// Waits until the other end has everything that was said on its lanes.
    pub(crate) async fn drained(&self) {
        // A lane that is closed never drains.
        let drained = async { tokio::join!(self.control.0.drained(), self.data.0.drained()) };
        let _ = timeout(Duration::from_secs(10), drained).await;
    }

    /// Closes the connection and leaves the room without a word.
    pub(crate) async fn close(self) {
        self.peer.close().await;
        self.signalling.leave(None).await;
    }

    /// Leaves the room without a word and keeps the connection; whether the other end closes it
    /// before it would lose its patience.
    pub(crate) async fn leave(self) -> bool {
        let Self { peer: _peer, control: (_, mut control), signalling, .. } = self;
        signalling.leave(None).await;
        let closed = async { while !matches!(control.next().await, LaneEvent::Closed) {} };
        timeout(PATIENCE / 12, closed).await.is_ok()
    }
}

const LABELS: [&str; 2] = [CONTROL_LABEL, DATA];

/// On the way to lanes that both ends have greeted on.
struct Connecting {
    role: Role,
    lie: Lie,
    keys: Keys,
    other_keys: Keys,
    signalling: Signalling,
    peer: Peer,
    channels: [Channel; 2],
    ours: [u8; 32],
    theirs: Option<[u8; 32]>,
}

impl Connecting {
    async fn start(role: Role, paired: Paired, lie: Lie) -> Option<Self> {
        let Paired { keys, room, routes, .. } = paired;
        let mut signalling = Signalling::new(room, &keys, role);
        let mut early = Vec::new();
        let (peer, channels, ours, theirs) = match role {
            Role::Sender => {
                let (peer, channels, ours) = Peer::offer(routes, LABELS, SAFE_MTU).await.unwrap();
                (peer, channels, ours, None)
            }
            Role::Receiver => {
                let offer = loop {
                    early.extend(signals(&mut signalling).await?);
                    let found = early.iter().find_map(|signal| match signal {
                        Signal::Description(offer) => Some(offer.clone()),
                        _ => None,
                    });
                    if let Some(offer) = found {
                        break offer;
                    }
                };
                let (peer, channels, ours) = Peer::answer(routes, LABELS, &offer).await.unwrap();
                (peer, channels, ours, Some(offer.fingerprint))
            }
        };
        let fingerprint = if lie == Lie::Fingerprint { [0x42; 32] } else { ours.fingerprint };
        let max_message_size = match lie {
            Lie::MessageSize(size) => size,
            _ => ours.max_message_size,
        };
        let described = Description { fingerprint, max_message_size, ..ours.clone() };
        signalling.say(&[Signal::Description(described)]);
        let (other_keys, ours) = (other_keys(), ours.fingerprint);
        let mut connecting =
            Self { role, lie, keys, other_keys, signalling, peer, channels, ours, theirs };
        connecting.heard(early).await;
        Some(connecting)
    }

    async fn finish(mut self) -> Option<Rogue> {
        let (mut greeted, mut closed, mut lost) = ([false; 2], [false; 2], false);
        while greeted != [true; 2] {
            let [control, data] = &mut self.channels;
            let (lane, event) = tokio::select! {
                event = self.peer.next(), if !lost => match event {
                    PeerEvent::Candidate(candidate) => {
                        self.signalling.say(&[Signal::Candidate(candidate)]);
                        continue;
                    }
                    // The other end is to say what it thinks of it.
                    PeerEvent::Lost => {
                        lost = true;
                        continue;
                    }
                    PeerEvent::Gathered { .. } | PeerEvent::Connected => continue,
                },
                signals = signals(&mut self.signalling) => {
                    let Some(signals) = signals else { break };
                    self.heard(signals).await;
                    continue;
                }
                event = control.1.next(), if !greeted[0] && !closed[0] => (CONTROL, event),
                event = data.1.next(), if !greeted[1] && !closed[1] => (FIRST_DATA, event),
                () = tokio::time::sleep(PATIENCE) => panic!("nothing happens"),
            };
            match event {
                LaneEvent::Open => self.greet(lane).await,
                LaneEvent::Message(message) => {
                    if self.lie == Lie::Reflection {
                        self.say(lane, &message).await;
                    }
                    greeted[usize::try_from(lane).unwrap()] = true;
                }
                LaneEvent::Closed => closed[usize::try_from(lane).unwrap()] = true,
            }
        }
        let Self { peer, channels, signalling, lie, .. } = self;
        let [control, data] = channels;
        let [_, data_greeted] = greeted;
        let mut rogue =
            Rogue { peer, control, data, signalling, numbers: AtomicU64::new(0), data_greeted };
        if matches!(lie, Lie::None | Lie::MessageSize(_)) {
            return Some(rogue);
        }
        // Whatever the other end says on a lane now, it says it to a liar.
        let told = rogue.hear_until(|frame| !matches!(frame, Frame::Hello(_))).await;
        assert_eq!(told, None);
        rogue.close().await;
        None
    }

    async fn heard(&mut self, signals: Vec<Signal>) {
        for signal in signals {
            match signal {
                Signal::Description(answer) if self.theirs.is_none() => {
                    // Whatever the peer takes, longer messages are sent to it, too.
                    let answer = Description { max_message_size: 0, ..answer };
                    self.theirs = Some(answer.fingerprint);
                    self.peer.accept(&answer).await.unwrap();
                }
                Signal::Candidate(candidate) => self.peer.add_candidate(&candidate).await,
                _ => {}
            }
        }
    }

    async fn greet(&self, lane: u32) {
        let frame = match self.lie {
            Lie::Reflection => return,
            Lie::NoHello => Frame::Accept,
            _ => Frame::Hello(self.hello(lane)),
        };
        self.say(lane, &frame.to_wire()).await;
    }

    fn hello(&self, lane: u32) -> Hello {
        let theirs = self.theirs.unwrap();
        let (mut ours, mut keys, mut generation, mut named) = (self.ours, &self.keys, 0, lane);
        match self.lie {
            Lie::OtherCertificates => ours = [0x42; 32],
            Lie::OtherKeys => keys = &self.other_keys,
            Lie::OtherLane => named = CONTROL + FIRST_DATA - lane,
            Lie::OtherGeneration => generation = 1,
            _ => {}
        }
        let fingerprints = match self.role {
            Role::Sender => Fingerprints { sender: ours, receiver: theirs },
            Role::Receiver => Fingerprints { sender: theirs, receiver: ours },
        };
        Binding::new(keys.clone(), fingerprints, generation).hello(self.role, named, [7; 16], false)
    }

    async fn say(&self, lane: u32, message: &[u8]) {
        let [control, data] = &self.channels;
        let sender = if lane == CONTROL { &control.0 } else { &data.0 };
        let _ = sender.send(BytesMut::from(message)).await;
    }
}

/// What the other end signals next; `None` when it gives up, leaves or is lost.
async fn signals(signalling: &mut Signalling) -> Option<Vec<Signal>> {
    loop {
        match signalling.next().await.unwrap() {
            Signalled::Signals(signals) => {
                let over = signals.iter().any(|signal| matches!(signal, Signal::Cancel(_)));
                return (!over).then_some(signals);
            }
            Signalled::Peer(Presence::Left) | Signalled::Lost => return None,
            Signalled::Peer(_) => {}
        }
    }
}

/// Keys of a session that never was.
fn other_keys() -> Keys {
    let code: Code = code(1).parse().unwrap();
    let sender = Waiting::new(&code, "slot".to_owned(), &mut random());
    let (reply, _) =
        Claiming::reply(&code, "slot", "room", &sender.share(), &mut random()).unwrap();
    sender.confirm("room", &reply).unwrap().1
}
