//! From two ends that can say things to each other to lanes that are bound to the session:
//! descriptions and candidates are told, a PeerConnection comes up, and the first message of every
//! lane proves who is there. Nothing else is sent before.

use std::{
    array,
    future::{Future, poll_fn},
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use p2pshare_signal::protocol::Presence;
use rand_core::Rng;
use tokio::task::JoinSet;

use super::{
    meet::random,
    signalling::{Signalled, Signalling},
    straight::{in_time, open_quic},
};
use crate::{
    error::Error,
    net::{
        flight::SHORT,
        identity::Identity,
        lane::{LaneEvent, LaneSender},
        network::Routes,
        packet::{SAFE_MTU, packet_payload},
        peer::{Channel, Path, Peer, PeerEvent},
        quic::{self, QuicEnd},
    },
    proto::{
        Role,
        binding::{Binding, FIRST_QUIC, Fingerprints, Hello},
        frame::{Frame, MAX_FRAME},
        pake::Keys,
        signal::{Description, MAX_CANDIDATES, Signal},
    },
};

/// A way to tell the peer of descriptions and candidates.
pub(super) trait Speech: Send {
    /// Says something to the peer.
    fn say(&mut self, signals: &[Signal]);

    /// The next thing that is heard.
    fn next(&mut self) -> impl Future<Output = Result<Signalled, Error>> + Send;
}

impl Speech for Signalling {
    fn say(&mut self, signals: &[Signal]) {
        Signalling::say(self, signals);
    }

    fn next(&mut self) -> impl Future<Output = Result<Signalled, Error>> + Send {
        Signalling::next(self)
    }
}

/// What is to be made.
pub(super) struct Plan<const N: usize> {
    pub(super) role: Role,
    pub(super) keys: Keys,
    /// The lanes of the connection: their numbers, and the labels of their channels.
    pub(super) lanes: [(u32, &'static str); N],
    /// What the sender takes for the path's MTU. The connection comes up only if that is true.
    pub(super) mtu: u32,
    /// This end's user wants to compare words.
    pub(super) words: bool,
    /// Kinds of lane that this end can open.
    pub(super) kinds: Vec<u16>,
    /// The first lane of QUIC, if there may be one.
    pub(super) quic: Option<FirstQuic>,
}

/// A lane of QUIC that is opened while the connection's own lanes are bound.
pub(super) struct FirstQuic {
    /// What this end shows on it.
    pub(super) identity: Identity,
    /// It is wanted on a short line, too.
    pub(super) anywhere: bool,
}

/// What was made.
pub(super) struct Established<const N: usize> {
    pub(super) peer: Peer,
    pub(super) channels: [Channel; N],
    /// The longest frame that the peer takes, in bytes.
    pub(super) max_frame: usize,
    pub(super) peer_wants_words: bool,
    /// Kinds of lane that the peer can open.
    pub(super) kinds: Vec<u16>,
    /// The first lane of QUIC, which is being opened.
    pub(super) quic: Option<Opening>,
}

/// A lane of QUIC that is being opened, unless this is dropped.
pub(super) type Opening = JoinSet<Result<quic::Connection, Error>>;

/// Everything that must come together.
struct Establishing<'a, S, const N: usize> {
    role: Role,
    words: bool,
    keys: Keys,
    speech: &'a mut S,
    peer: Peer,
    ours: Description,
    theirs: Option<Description>,
    quic: Option<FirstQuic>,
    opening: Option<Opening>,
    /// Candidates of the peer that were taken.
    candidates: usize,
    /// Our own that are not told yet.
    found: Vec<Signal>,
    greetings: [Greeting; N],
    /// The length of this end's first messages: that of a packet which only a path with the
    /// wanted MTU carries.
    length: usize,
}

/// How far the first messages of a lane are.
struct Greeting {
    lane: u32,
    opened: bool,
    peer_wants_words: Option<bool>,
}

/// Makes a connection with the peer.
///
/// # Errors
/// [`Error::NoPath`] when there is none, [`Error::Tampered`] and [`Error::Unbound`] when somebody
/// interferes, or what the peer says when it gives up.
pub(super) async fn establish<S: Speech, const N: usize>(
    plan: Plan<N>,
    speech: &mut S,
    routes: Routes,
) -> Result<Established<N>, Error> {
    let Plan { role, keys, lanes, mtu, words, kinds, quic } = plan;
    let labels = lanes.map(|(_, label)| label);
    let (peer, mut channels, mut ours, theirs, early) = match role {
        Role::Sender => {
            let (peer, channels, ours) = Peer::offer(routes, labels, mtu).await?;
            (peer, channels, ours, None, Vec::new())
        }
        Role::Receiver => {
            let (offer, early) = offer(speech).await?;
            let (peer, channels, ours) = Peer::answer(routes, labels, &offer).await?;
            (peer, channels, ours, Some(offer), early)
        }
    };
    ours.lanes = kinds;
    ours.quic = quic.as_ref().map(|quic| quic.identity.fingerprint());
    speech.say(&[Signal::Description(ours.clone())]);
    let greetings = lanes.map(|(lane, _)| Greeting { lane, opened: false, peer_wants_words: None });
    let probes = role == Role::Sender && mtu > SAFE_MTU;
    let mut establishing = Establishing {
        role,
        words,
        keys,
        speech,
        peer,
        ours,
        theirs,
        quic,
        opening: None,
        candidates: 0,
        found: Vec::new(),
        greetings,
        length: if probes { packet_payload(mtu) } else { 0 },
    };
    establishing.signalled(Signalled::Signals(early)).await?;
    establishing.run(&mut channels).await?;
    if probes {
        for (lane, _) in &channels {
            lane.drained().await;
        }
    }
    let Establishing { peer, theirs, greetings, opening, .. } = establishing;
    let peer_wants_words = greetings.iter().any(|lane| lane.peer_wants_words == Some(true));
    let max_frame = max_frame(theirs.as_ref());
    let kinds = theirs.map_or_else(Vec::new, |description| description.lanes);
    Ok(Established { peer, channels, max_frame, peer_wants_words, kinds, quic: opening })
}

/// A peer that takes messages of any length says 0 (RFC 8841, section 6.1).
fn max_frame(theirs: Option<&Description>) -> usize {
    let size = theirs.map_or(0, |description| description.max_message_size);
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    size.map_or(MAX_FRAME, |size| size.min(MAX_FRAME))
}

/// Waits for the offer; what came with it is given along.
async fn offer(speech: &mut impl Speech) -> Result<(Description, Vec<Signal>), Error> {
    loop {
        if let Signalled::Signals(signals) = heard(speech.next().await?)? {
            let mut early = signals;
            let position = early.iter().position(|s| matches!(s, Signal::Description(_)));
            if let Some(Signal::Description(offer)) = position.map(|at| early.swap_remove(at)) {
                return Ok((offer, early));
            }
        }
    }
}

/// What ends the attempt, whoever says it.
pub(super) fn heard(signalled: Signalled) -> Result<Signalled, Error> {
    match &signalled {
        Signalled::Signals(signals) => {
            let reason = signals.iter().find_map(|signal| match signal {
                Signal::Cancel(reason) => Some(*reason),
                _ => None,
            });
            reason.map_or(Ok(signalled), |reason| Err(Error::PeerGaveUp(reason)))
        }
        Signalled::Peer(Presence::Left) => Err(Error::PeerVanished),
        Signalled::Lost => Err(Error::ServerLost),
        Signalled::Peer(Presence::Here | Presence::Gone) => Ok(signalled),
    }
}

/// The first message of an end in this role.
pub(super) fn hello(binding: &Binding, role: Role, lane: u32, words: bool) -> Frame {
    let mut nonce = [0; 16];
    random().fill_bytes(&mut nonce);
    Frame::Hello(binding.hello(role, lane, nonce, words))
}

/// The first message of the peer of an end in this role, which proves who it is.
pub(super) fn checked_hello(
    binding: &Binding,
    role: Role,
    lane: u32,
    message: &Bytes,
) -> Result<Hello, Error> {
    let Ok(Some(Frame::Hello(hello))) = Frame::from_wire(message) else {
        return Err(Error::Unbound);
    };
    binding.check(role.peer(), lane, &hello).map_err(|_| Error::Unbound)?;
    Ok(hello)
}

/// The next thing that happens on a lane whose peer has not greeted: a lane that has greeted is
/// left alone until all others have, too.
async fn lane_event<const N: usize>(
    channels: &mut [Channel; N],
    greeted: [bool; N],
) -> (usize, LaneEvent) {
    poll_fn(|cx| {
        for (index, ((_, lane), greeted)) in channels.iter_mut().zip(greeted).enumerate() {
            if !greeted && let Poll::Ready(event) = lane.poll_next(cx) {
                return Poll::Ready((index, event));
            }
        }
        Poll::Pending
    })
    .await
}

impl<S: Speech, const N: usize> Establishing<'_, S, N> {
    async fn run(&mut self, channels: &mut [Channel; N]) -> Result<(), Error> {
        loop {
            let greeted = array::from_fn(|lane| {
                self.greetings.get(lane).is_some_and(|lane| lane.peer_wants_words.is_some())
            });
            if greeted.iter().all(|greeted| *greeted) {
                return Ok(());
            }
            tokio::select! {
                event = self.peer.next() => self.peer_event(event).await?,
                signalled = self.speech.next() => self.signalled(signalled?).await?,
                (lane, event) = lane_event(channels, greeted) => {
                    if let Some((sender, _)) = channels.get(lane) {
                        self.happened(lane, sender, event).await?;
                    }
                }
            }
        }
    }

    async fn peer_event(&mut self, event: PeerEvent) -> Result<(), Error> {
        match event {
            PeerEvent::Candidate(candidate) => self.found.push(Signal::Candidate(candidate)),
            PeerEvent::Gathered { all: true } => self.found.push(Signal::EndOfCandidates),
            PeerEvent::Gathered { all: false } => {}
            PeerEvent::Connected => self.open_quic().await,
            PeerEvent::Lost => return Err(Error::NoPath),
        }
        // Those that were found together travel together.
        if !self.peer.has_news() && !self.found.is_empty() {
            self.speech.say(&std::mem::take(&mut self.found));
        }
        Ok(())
    }

    async fn signalled(&mut self, signalled: Signalled) -> Result<(), Error> {
        let Signalled::Signals(signals) = heard(signalled)? else { return Ok(()) };
        for signal in signals {
            match signal {
                Signal::Description(answer) if self.theirs.is_none() => {
                    self.peer.accept(&answer).await?;
                    self.theirs = Some(answer);
                }
                Signal::Candidate(candidate) if self.candidates < MAX_CANDIDATES => {
                    self.candidates += 1;
                    self.peer.add_candidate(&candidate).await;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn happened(
        &mut self,
        lane: usize,
        sender: &LaneSender,
        event: LaneEvent,
    ) -> Result<(), Error> {
        match event {
            LaneEvent::Open => self.greet(lane, sender).await,
            LaneEvent::Message(message) => self.greeted(lane, sender, &message).await,
            LaneEvent::Closed => Err(Error::NoPath),
        }
    }

    /// Sends this end's first message, once the peer's certificate is the one it described.
    async fn greet(&mut self, lane: usize, sender: &LaneSender) -> Result<(), Error> {
        let Some(greeting) = self.greetings.get_mut(lane) else { return Ok(()) };
        if std::mem::replace(&mut greeting.opened, true) {
            return Ok(());
        }
        let number = greeting.lane;
        let hello = hello(&self.binding().await?, self.role, number, self.words);
        let message = hello.to_wire_of_length(self.length);
        sender.send(BytesMut::from(message.as_slice())).await.map_err(|_| Error::NoPath)
    }

    async fn greeted(
        &mut self,
        lane: usize,
        sender: &LaneSender,
        message: &Bytes,
    ) -> Result<(), Error> {
        self.greet(lane, sender).await?;
        let binding = self.binding().await?;
        let Some(greeting) = self.greetings.get_mut(lane) else { return Ok(()) };
        let hello = checked_hello(&binding, self.role, greeting.lane, message)?;
        greeting.peer_wants_words = Some(hello.verify);
        Ok(())
    }

    /// Begins to open the first lane of QUIC, on a path that leads through no relay. Whether the line is
    /// long enough the sender decides.
    async fn open_quic(&mut self) {
        let theirs = self.theirs.as_ref().and_then(|description| description.quic);
        let (Some(ours), Some(theirs)) = (self.quic.take(), theirs) else { return };
        let decides = self.role == Role::Sender && !ours.anywhere;
        let is_unwanted = decides && self.peer.round().await <= SHORT;
        if is_unwanted || self.peer.path().await == Path::Relay {
            return;
        }
        let path = self.peer.udp_path().await;
        let Some(Ok(end)) = path.map(|path| QuicEnd::open(ours.identity, &path)) else { return };
        let open = open_quic(self.role, self.keys.clone(), end, theirs, FIRST_QUIC);
        self.opening.get_or_insert_default().spawn(in_time(open));
    }

    /// The binding to both certificates; the peer's own must be the one it described.
    async fn binding(&self) -> Result<Binding, Error> {
        let described = self.theirs.as_ref().ok_or(Error::Unbound)?.fingerprint;
        if self.peer.fingerprint().await? != described {
            return Err(Error::Unbound);
        }
        let fingerprints = Fingerprints::of(self.role, self.ours.fingerprint, described);
        Ok(Binding::new(self.keys.clone(), fingerprints, 0))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        net::{network::Network, peer::DATA, stream::Connection},
        proto::{binding::FIRST_DATA, pake::tests_support::keys},
    };

    /// A way between two ends of one test.
    struct Between {
        to: mpsc::UnboundedSender<Vec<Signal>>,
        from: mpsc::UnboundedReceiver<Vec<Signal>>,
        /// What the other end is told of this one's certificate for QUIC instead.
        quic: Option<[u8; 32]>,
    }

    impl Speech for Between {
        fn say(&mut self, signals: &[Signal]) {
            let changed = signals.iter().cloned().map(|signal| match signal {
                Signal::Description(described) => Signal::Description(Description {
                    quic: self.quic.or(described.quic),
                    ..described
                }),
                signal => signal,
            });
            let _ = self.to.send(changed.collect());
        }

        async fn next(&mut self) -> Result<Signalled, Error> {
            self.from.recv().await.map(Signalled::Signals).ok_or(Error::NoPath)
        }
    }

    fn between() -> [Between; 2] {
        let ((to, from), (back, answers)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        [Between { to, from: answers, quic: None }, Between { to: back, from, quic: None }]
    }

    async fn established(role: Role, speech: &mut Between, anywhere: bool) -> Established<1> {
        let plan = Plan {
            role,
            keys: keys(),
            lanes: [(FIRST_DATA, DATA)],
            mtu: SAFE_MTU,
            words: false,
            kinds: Vec::new(),
            quic: Some(FirstQuic { identity: Identity::new(), anywhere }),
        };
        establish(plan, speech, Network::default().prepare(&[])).await.unwrap()
    }

    /// What became of the first lane of QUIC at the two ends of a short line.
    async fn first_quic(
        [mut sender, mut receiver]: [Between; 2],
        anywhere: bool,
    ) -> [Option<Result<quic::Connection, Error>>; 2] {
        let (mut sender, mut receiver) = tokio::join!(
            established(Role::Sender, &mut sender, anywhere),
            established(Role::Receiver, &mut receiver, anywhere)
        );
        let opened = async |quic: Option<Opening>| Some(quic?.join_next().await?.unwrap());
        let [at_sender, at_receiver] = [sender.quic.take(), receiver.quic.take()];
        let sent = opened(at_sender).await;
        // Who waits in vain waits long.
        let taken = if matches!(sent, Some(Ok(_))) { opened(at_receiver).await } else { None };
        sender.peer.close().await;
        receiver.peer.close().await;
        [sent, taken]
    }

    #[tokio::test]
    async fn the_first_lane_of_quic_is_opened_while_others_are_bound() {
        let [sent, taken] = first_quic(between(), true).await;
        let exporter = |Connection { exporter, .. }: quic::Connection| exporter;
        assert_eq!(exporter(sent.unwrap().unwrap()), exporter(taken.unwrap().unwrap()));
    }

    #[tokio::test]
    async fn on_a_short_line_it_is_not_opened() {
        assert!(matches!(first_quic(between(), false).await, [None, None]));
    }

    #[tokio::test]
    async fn it_is_refused_to_who_has_another_certificate_than_the_described() {
        for wrong in 0..2 {
            let mut between = between();
            between[wrong].quic = Some([9; 32]);
            assert!(matches!(first_quic(between, true).await, [Some(Err(_)), None]), "{wrong}");
        }
    }
}
