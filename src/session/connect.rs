//! From two ends that know each other to open lanes, each bound to the session: descriptions and
//! candidates go sealed through the room, and nothing else is said before every lane's first
//! message has proved who is there.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::SelectAll;
use p2pshare_signal::protocol::IceServer;
use tokio::time::{sleep, timeout};

use super::{
    establish::{Established, FirstQuic, Plan, establish},
    event::{Event, Front},
    lanes::Lanes,
    meet::Paired,
    signalling::Signalling,
};
use crate::{
    error::Error,
    net::{
        identity::Identity,
        lane::{LaneEvent, LaneSender, Numbered},
        network::{Faster, Kinds, Network},
        packet::SAFE_MTU,
        peer::{CONTROL as CONTROL_LABEL, Channel, DATA, Path, Peer},
    },
    proto::{
        Role,
        binding::{CONTROL, FIRST_DATA},
        frame::{Frame, FrameError, Reason},
        lanes::Inbox,
        pake::Keys,
        signal::{LANE_QUIC, Signal},
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
    /// How long the way to the peer and back is, or nothing.
    pub round: Duration,
    /// Lane 0.
    pub control: Channel,
    /// Lane 1, which is there as long as the connection is.
    pub first: LaneSender,
    /// Everything that data lanes bring.
    pub data: SelectAll<Numbered>,
    /// The same in order.
    pub inbox: Inbox,
    /// Data lanes beyond the first.
    pub(super) lanes: Lanes,
    /// Kinds of lane beside data channels that there may be.
    pub faster: Faster,
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
    network: &Network,
    words: bool,
    front: &Front,
) -> Result<Link, Error> {
    let Paired { keys, room, routes, .. } = paired;
    let servers = room.ice_servers().to_vec();
    let mut signalling = Signalling::new(room, &keys, role);
    let lanes = [(CONTROL, CONTROL_LABEL), (FIRST_DATA, DATA)];
    let kinds = network.lanes();
    let anywhere = network.kinds == Kinds::Quic;
    let first_quic = || FirstQuic { identity: Identity::new(), anywhere };
    let quic = kinds.contains(&LANE_QUIC).then(first_quic);
    let plan = Plan { role, keys: keys.clone(), lanes, mtu: SAFE_MTU, words, kinds, quic };
    let established = tokio::select! {
        established = establish(plan, &mut signalling, routes) => established,
        () = sleep(PATIENCE) => Err(Error::NoPath),
        interrupt = front.interrupted() => Err(Error::Interrupted(interrupt)),
    };
    match established {
        Ok(established) => {
            let link = Link::new(established, role, keys, network, servers, signalling).await;
            front.tell(Event::Connected(link.path));
            Ok(link)
        }
        Err(error) => {
            signalling.leave(Some(error.reason())).await;
            Err(error)
        }
    }
}

impl Link {
    /// Two ends whose lanes are bound.
    async fn new(
        established: Established<2>,
        role: Role,
        keys: Keys,
        network: &Network,
        servers: Vec<IceServer>,
        signalling: Signalling,
    ) -> Self {
        let Established { mut peer, channels, max_frame, peer_wants_words, kinds, quic } =
            established;
        let (path, round) = (peer.path().await, peer.round().await);
        peer.opened();
        let faster = network.faster_with(&kinds);
        let may_quic = faster.quic && path != Path::Relay;
        let udp = if may_quic { peer.udp_path().await } else { None };
        let faster = Faster { quic: udp.is_some(), ..faster };
        let mtu = peer.likely_mtu().await;
        let lanes = Lanes::new(role, keys, network, servers, path, mtu);
        let mut lanes = lanes.with_straight(faster.tls, udp);
        if let Some(opening) = quic.filter(|_| faster.quic) {
            lanes.add_first_quic(opening);
        }
        let [control, (first, brings)] = channels;
        Self {
            peer,
            path,
            round,
            control,
            first,
            data: [Numbered::new(FIRST_DATA, brings)].into_iter().collect(),
            inbox: Inbox::default(),
            lanes,
            faster,
            signalling,
            max_frame,
            peer_wants_words,
        }
    }

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

/// What an event on a lane means.
#[derive(Debug)]
pub enum Arrived {
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
        LaneEvent::Message(message) => parsed(message),
    }
}

/// Parses a frame.
pub(super) fn parsed(frame: &Bytes) -> Arrived {
    match Frame::from_wire(frame) {
        Ok(Some(frame)) => Arrived::Frame(frame),
        Ok(None) => Arrived::Nothing,
        Err(error) => Arrived::Malformed(error),
    }
}
