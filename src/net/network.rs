//! What of the network a session may use, and so which routes a connection may take.

use p2pshare_signal::protocol::IceServer;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    dial::Dialer,
    ice::{IceServers, IceUrl},
    relay::{RelayEvent, Relays},
};
use crate::proto::signal::{LANE_DATA_CHANNEL, LANE_QUIC, LANE_TLS};

/// Which paths are sought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// All; the straightest that works is taken.
    #[default]
    Auto,
    /// Only straight ones: no third party sees even sealed bytes.
    Direct,
    /// Only those through a relay: the peer does not learn this machine's addresses.
    Relay,
}

/// Which kinds of lane carry files; the control channel is a data channel always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kinds {
    /// Those that are fastest.
    #[default]
    Auto,
    /// Data channels.
    DataChannel,
    /// TLS over TCP, as soon as there is a lane of it.
    Tls,
    /// QUIC, as soon as there is a lane of it.
    Quic,
}

/// The kinds of lane beside data channels that two ends want and can open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faster {
    /// TLS over TCP.
    pub tls: bool,
    /// QUIC on the path that ICE finds.
    pub quic: bool,
    /// The user wants no other.
    pub alone: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// How servers are reached.
    pub dialer: Dialer,
    /// Which paths are sought.
    pub transport: Transport,
    /// STUN and TURN servers beside those that the rendezvous server names.
    pub ice: Vec<IceUrl>,
    /// Which kinds of lane are wanted.
    pub kinds: Kinds,
}

/// What a connection is made with: relays that have been asked already, and where to ask for the
/// addresses under which the world sees this machine.
#[derive(Debug)]
pub struct Routes {
    pub(super) transport: Transport,
    pub(super) relays: Relays,
    pub(super) relay_events: mpsc::UnboundedReceiver<RelayEvent>,
    pub(super) stun: JoinHandle<Vec<String>>,
}

impl Network {
    /// The kinds of lane that this end can open. With one that is straight, the peer would learn
    /// this machine's addresses.
    #[must_use]
    pub fn lanes(&self) -> Vec<u16> {
        let straight = self.transport != Transport::Relay;
        let wants = |kind| straight && (self.kinds == kind || self.kinds == Kinds::Auto);
        let tls = wants(Kinds::Tls).then_some(LANE_TLS);
        let quic = wants(Kinds::Quic).then_some(LANE_QUIC);
        [LANE_DATA_CHANNEL].into_iter().chain(tls).chain(quic).collect()
    }

    /// Those beside data channels that a peer can open as well.
    #[must_use]
    pub fn faster_with(&self, theirs: &[u16]) -> Faster {
        let ours = self.lanes();
        let both = |kind| ours.contains(&kind) && theirs.contains(&kind);
        let alone = self.kinds != Kinds::Auto;
        Faster { tls: both(LANE_TLS), quic: both(LANE_QUIC), alone }
    }

    /// Starts to look for routes for two ends that a rendezvous server has named these servers to.
    #[must_use]
    pub fn prepare(&self, named: &[IceServer]) -> Routes {
        let mut servers = IceServers::new(named, &self.ice);
        match self.transport {
            Transport::Auto => {}
            Transport::Direct => servers.turn.clear(),
            Transport::Relay => servers.stun.clear(),
        }
        let (events, relay_events) = mpsc::unbounded_channel();
        let relays = Relays::start(&servers.turn, &self.dialer, &events);
        let stun = tokio::spawn(async move { servers.stun_urls().await });
        Routes { transport: self.transport, relays, relay_events, stun }
    }
}
