//! What of the network a session may use, and so which routes a connection may take.

use p2pshare_signal::protocol::IceServer;

use super::{
    dial::Dialer,
    ice::{IceServers, IceUrl},
};

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

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// How servers are reached.
    pub dialer: Dialer,
    /// Which paths are sought.
    pub transport: Transport,
    /// STUN and TURN servers beside those that the rendezvous server names.
    pub ice: Vec<IceUrl>,
}

/// What a connection is made with.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    pub(super) dialer: Dialer,
    pub(super) transport: Transport,
    pub(super) servers: IceServers,
}

impl Network {
    /// The routes for two ends that a rendezvous server has named these servers to.
    #[must_use]
    pub fn routes(&self, named: &[IceServer]) -> Routes {
        let mut servers = IceServers::new(named, &self.ice);
        match self.transport {
            Transport::Auto => {}
            Transport::Direct => servers.turn.clear(),
            Transport::Relay => servers.stun.clear(),
        }
        Routes { dialer: self.dialer.clone(), transport: self.transport, servers }
    }
}
