//! From two ends that know each other to open lanes, each bound to the session: descriptions and
//! candidates go sealed through the room, and nothing else is said before every lane's first
//! message has proved who is there.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use p2pshare_signal::protocol::Presence;
use rand_core::Rng;
use tokio::time::{sleep, timeout};

use super::{
    event::{Event, Front},
    meet::{Paired, random},
    signalling::{Signalled, Signalling},
};
use crate::{
    error::Error,
    net::{
        lane::{LaneEvent, LaneSender},
        network::Routes,
        peer::{Channel, Channels, Path, Peer, PeerEvent},
    },
    proto::{
        Role,
        binding::{Binding, CONTROL, FIRST_DATA, Fingerprints},
        frame::{Frame, FrameError, MAX_FRAME, Reason},
        pake::Keys,
        signal::{Description, MAX_CANDIDATES, Signal},
    },
};

/// How long a path may be sought.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the peer may take to hear that this end gives up.
const FAREWELL: Duration = Duration::from_millis(700);

/// Two ends with lanes between them.
#[derive(Debug)]
pub struct Link {
    /// The connection under the lanes.
    pub peer: Peer,
    /// How its bytes travel.
    pub path: Path,
    /// Lane 0.
    pub control: Channel,
    /// Lane 1.
    pub data: Channel,
    /// The sealed room beside the lanes.
    pub signalling: Signalling,
    /// The longest frame for data that the peer takes, in bytes.
    pub max_frame: usize,
    /// The peer's user wants to compare verifier words.
    pub peer_wants_words: bool,
}

/// Connects to a peer.
///
/// # Errors
/// [`Error::NoPath`] when there is none in time, [`Error::Tampered`] and [`Error::Unbound`] when
/// somebody interferes, or what the peer says when it gives up.
pub async fn connect(
    role: Role,
    paired: Paired,
    words: bool,
    front: &Front,
) -> Result<Link, Error> {
    let Paired { keys, room, routes, .. } = paired;
    let mut signalling = Signalling::new(room, &keys, role);
    let established = tokio::select! {
        established = establish(role, keys, &mut signalling, routes, words) => established,
        () = sleep(PATIENCE) => Err(Error::NoPath),
        interrupt = front.interrupted() => Err(Error::Interrupted(interrupt)),
    };
    match established {
        Ok(Established { mut peer, channels, max_frame, peer_wants_words }) => {
            let path = peer.path().await;
            peer.opened();
            front.tell(Event::Connected(path));
            let Channels { control, data } = channels;
            Ok(Link { peer, path, control, data, signalling, max_frame, peer_wants_words })
        }
        Err(error) => {
            signalling.leave(Some(error.reason())).await;
            Err(error)
        }
    }
}

impl Link {
    /// Sends a frame on the control channel; one that does not arrive shows as a lost path.
    pub async fn send(&self, frame: &Frame) {
        let message = BytesMut::from(frame.to_wire().as_slice());
        if self.control.0.send(message).await.is_err() {
            tracing::debug!("the control channel is closed");
        }
    }

    /// Takes leave: with a reason, when this end gives up, on both ways to the peer, which then
    /// closes.
    pub async fn end(mut self, reason: Option<Reason>) {
        if let Some(reason) = reason {
            self.signalling.say(&[Signal::Cancel(reason)]);
            let told = async {
                self.control.0.drained().await;
                while !matches!(self.control.1.next().await, LaneEvent::Closed) {}
            };
            if timeout(FAREWELL, told).await.is_err() {
                tracing::debug!("the peer takes no farewell");
            }
        }
        tokio::join!(self.signalling.leave(None), self.peer.close());
    }
}

struct Established {
    peer: Peer,
    channels: Channels,
    max_frame: usize,
    peer_wants_words: bool,
}

/// Everything that must come together before lanes are open.
struct Establishing<'a> {
    role: Role,
    words: bool,
    keys: Keys,
    signalling: &'a mut Signalling,
    peer: Peer,
    ours: Description,
    theirs: Option<Description>,
    /// Candidates of the peer that were taken.
    candidates: usize,
    /// Our own that are not told yet.
    found: Vec<Signal>,
    control: Greeting,
    data: Greeting,
}

/// How far the first messages of a lane are.
struct Greeting {
    lane: u32,
    opened: bool,
    peer_wants_words: Option<bool>,
}

async fn establish(
    role: Role,
    keys: Keys,
    signalling: &mut Signalling,
    routes: Routes,
    words: bool,
) -> Result<Established, Error> {
    let (peer, mut channels, ours, theirs, early) = match role {
        Role::Sender => {
            let (peer, channels, ours) = Peer::offer(routes).await?;
            (peer, channels, ours, None, Vec::new())
        }
        Role::Receiver => {
            let (offer, early) = offer(signalling).await?;
            let (peer, channels, ours) = Peer::answer(routes, &offer).await?;
            (peer, channels, ours, Some(offer), early)
        }
    };
    signalling.say(&[Signal::Description(ours.clone())]);
    let greeting = |lane| Greeting { lane, opened: false, peer_wants_words: None };
    let (control, data) = (greeting(CONTROL), greeting(FIRST_DATA));
    let mut establishing = Establishing {
        role,
        words,
        keys,
        signalling,
        peer,
        ours,
        theirs,
        candidates: 0,
        found: Vec::new(),
        control,
        data,
    };
    establishing.signalled(Signalled::Signals(early)).await?;
    establishing.run(&mut channels).await?;
    let Establishing { peer, theirs, control, data, .. } = establishing;
    let peer_wants_words = [control, data].iter().any(|lane| lane.peer_wants_words == Some(true));
    Ok(Established { peer, channels, max_frame: max_frame(theirs.as_ref()), peer_wants_words })
}

/// A peer that takes messages of any length says 0 (RFC 8841, section 6.1).
fn max_frame(theirs: Option<&Description>) -> usize {
    let size = theirs.map_or(0, |description| description.max_message_size);
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    size.map_or(MAX_FRAME, |size| size.min(MAX_FRAME))
}

/// Waits for the offer; what came with it is given along.
async fn offer(signalling: &mut Signalling) -> Result<(Description, Vec<Signal>), Error> {
    loop {
        if let Signalled::Signals(signals) = heard(signalling.next().await?)? {
            let mut early = signals;
            let position = early.iter().position(|s| matches!(s, Signal::Description(_)));
            if let Some(Signal::Description(offer)) = position.map(|at| early.swap_remove(at)) {
                return Ok((offer, early));
            }
        }
    }
}

/// What ends the attempt, whoever says it.
fn heard(signalled: Signalled) -> Result<Signalled, Error> {
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

impl Establishing<'_> {
    async fn run(&mut self, channels: &mut Channels) -> Result<(), Error> {
        let Channels { control, data } = channels;
        loop {
            if self.control.peer_wants_words.is_some() && self.data.peer_wants_words.is_some() {
                return Ok(());
            }
            // A lane that has greeted is left alone until the other has, too.
            tokio::select! {
                event = self.peer.next() => self.peer_event(event)?,
                signalled = self.signalling.next() => self.signalled(signalled?).await?,
                event = control.1.next(), if self.control.peer_wants_words.is_none() => {
                    self.lane_event(CONTROL, &control.0, event).await?;
                }
                event = data.1.next(), if self.data.peer_wants_words.is_none() => {
                    self.lane_event(FIRST_DATA, &data.0, event).await?;
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
            self.signalling.say(&std::mem::take(&mut self.found));
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

    async fn lane_event(
        &mut self,
        lane: u32,
        sender: &LaneSender,
        event: LaneEvent,
    ) -> Result<(), Error> {
        match event {
            LaneEvent::Open => self.greet(lane, sender).await,
            LaneEvent::Message(message) => self.greeted(lane, sender, &message).await,
            LaneEvent::Closed => Err(Error::NoPath),
        }
    }

    fn greeting(&mut self, lane: u32) -> &mut Greeting {
        if lane == self.control.lane { &mut self.control } else { &mut self.data }
    }

    /// Sends this end's first message, once the peer's certificate is the one it described.
    async fn greet(&mut self, lane: u32, sender: &LaneSender) -> Result<(), Error> {
        if std::mem::replace(&mut self.greeting(lane).opened, true) {
            return Ok(());
        }
        let mut nonce = [0; 16];
        random().fill_bytes(&mut nonce);
        let hello = self.binding().await?.hello(self.role, lane, nonce, self.words);
        let message = BytesMut::from(Frame::Hello(hello).to_wire().as_slice());
        sender.send(message).await.map_err(|_| Error::NoPath)
    }

    async fn greeted(
        &mut self,
        lane: u32,
        sender: &LaneSender,
        message: &Bytes,
    ) -> Result<(), Error> {
        self.greet(lane, sender).await?;
        let Ok(Some(Frame::Hello(hello))) = Frame::from_wire(message) else {
            return Err(Error::Unbound);
        };
        let checked = self.binding().await?.check(self.role.peer(), lane, &hello);
        checked.map_err(|_| Error::Unbound)?;
        self.greeting(lane).peer_wants_words = Some(hello.verify);
        Ok(())
    }

    /// The binding to both certificates; the peer's own must be the one it described.
    async fn binding(&self) -> Result<Binding, Error> {
        let described = self.theirs.as_ref().ok_or(Error::Unbound)?.fingerprint;
        if self.peer.fingerprint().await? != described {
            return Err(Error::Unbound);
        }
        let fingerprints = match self.role {
            Role::Sender => Fingerprints { sender: self.ours.fingerprint, receiver: described },
            Role::Receiver => Fingerprints { sender: described, receiver: self.ours.fingerprint },
        };
        Ok(Binding::new(self.keys.clone(), fingerprints, 0))
    }
}

/// What an event on a lane means.
pub(super) enum Arrived {
    /// A frame.
    Frame(Frame),
    /// Nothing that matters.
    Nothing,
    /// Bytes that are no frame, or one that offers what is refused.
    Malformed(FrameError),
    /// The peer has closed the lane.
    Closed,
}

/// Parses what happened on a lane.
pub(super) fn arrived(event: &LaneEvent) -> Arrived {
    match event {
        LaneEvent::Open => Arrived::Nothing,
        LaneEvent::Closed => Arrived::Closed,
        LaneEvent::Message(message) => match Frame::from_wire(message) {
            Ok(Some(frame)) => Arrived::Frame(frame),
            Ok(None) => Arrived::Nothing,
            Err(error) => Arrived::Malformed(error),
        },
    }
}
