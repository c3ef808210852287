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

use super::{
    meet::random,
    signalling::{Signalled, Signalling},
};
use crate::{
    error::Error,
    net::{
        lane::{LaneEvent, LaneSender},
        network::Routes,
        packet::{SAFE_MTU, packet_payload},
        peer::{Channel, Peer, PeerEvent},
    },
    proto::{
        Role,
        binding::{Binding, Fingerprints, Hello},
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
}

/// Everything that must come together.
struct Establishing<'a, S, const N: usize> {
    role: Role,
    words: bool,
    keys: Keys,
    speech: &'a mut S,
    peer: Peer,
    ours: Description,
    theirs: Option<Description>,
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
    let Plan { role, keys, lanes, mtu, words, kinds } = plan;
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
    let Establishing { peer, theirs, greetings, .. } = establishing;
    let peer_wants_words = greetings.iter().any(|lane| lane.peer_wants_words == Some(true));
    let max_frame = max_frame(theirs.as_ref());
    let kinds = theirs.map_or_else(Vec::new, |description| description.lanes);
    Ok(Established { peer, channels, max_frame, peer_wants_words, kinds })
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
                event = self.peer.next() => self.peer_event(event)?,
                signalled = self.speech.next() => self.signalled(signalled?).await?,
                (lane, event) = lane_event(channels, greeted) => {
                    if let Some((sender, _)) = channels.get(lane) {
                        self.happened(lane, sender, event).await?;
                    }
                }
            }
        }
    }

    fn peer_event(&mut self, event: PeerEvent) -> Result<(), Error> {
        match event {
            PeerEvent::Candidate(candidate) => self.found.push(Signal::Candidate(candidate)),
            PeerEvent::Gathered { all: true } => self.found.push(Signal::EndOfCandidates),
            PeerEvent::Gathered { all: false } => {}
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
