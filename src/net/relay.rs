//! Paths through TURN servers (RFC 8656), over UDP, TCP or TLS, for the `webrtc` crate, which
//! knows only the first.
//!
//! Each server gets a stand-in: the crate binds a loopback address, and the
//! [runtime](super::sockets) exchanges that socket for a [queue](socket::RelaySocket) with a task
//! at its other end, which speaks TURN. The crate takes the stand-in for a host candidate; a peer
//! is told of the relayed address instead, as soon as there is one. Datagrams pass only to and
//! from candidates of the peer that are relayed themselves, unless the server is open: everything
//! else would be refused by the server anyway.
//!
//! All servers are asked at once, when the two ends are paired, so that nothing waits for a direct
//! path to fail.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    time::{sleep_until, timeout},
};
use turn_client_proto::{
    api::{Transmit, TurnClientApi as _, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet},
    prelude::DelayedTransmitBuild as _,
    stun::types::TransportType,
    types::TurnCredentials,
    udp::TurnClientUdp,
};
use webrtc::runtime::AsyncUdpSocket;

use self::{
    socket::{Datagram, Queues, RelaySocket},
    wire::Wire,
};
use super::{
    dial::Dialer,
    ice::{Carrier, TurnServer},
};
use crate::proto::signal::{Candidate, CandidateHost, CandidateKind};

mod socket;
mod wire;

/// Requests that are not answered are sent again after this long, then twice as long, and so on.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
const RETRIES: u32 = 7;
const LAST_RETRY: Duration = Duration::from_secs(2);

/// How far apart the TURN client sends its requests. So that a path is not sought for longer than
/// it must be, its clock is put forward by as much with each: there are not many, and all but the
/// first two follow an answer.
const CADENCE: Duration = Duration::from_millis(50);

/// How long a server may take to hear that it is not needed any more.
const FAREWELL: Duration = Duration::from_millis(300);

/// Places in the queue to a server that are kept for requests.
const RESERVED: usize = 16;

/// The two ends of a stand-in's way to its server, as the TURN client names them; nothing is sent
/// there.
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2);

/// What becomes of a relay.
#[derive(Debug)]
pub(super) enum RelayEvent {
    /// The peer can reach this end there.
    Candidate(Candidate),
    /// It has got its relayed address, or will get none.
    Settled,
    /// The server does not serve this end any more.
    Lost {
        /// The port of its stand-in.
        stand_in: u16,
    },
}

/// Every relay of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Relays {
    waiting: Arc<Mutex<Vec<(u16, RelaySocket)>>>,
    stand_ins: Vec<SocketAddr>,
    tasks: Vec<mpsc::UnboundedSender<Candidate>>,
}

impl Relays {
    /// Asks every server for a relayed address.
    pub(super) fn start(
        servers: &[TurnServer],
        dialer: &Dialer,
        events: &mpsc::UnboundedSender<RelayEvent>,
    ) -> Self {
        let mut relays = Self::default();
        let mut waiting = Vec::new();
        for server in servers {
            let Ok(stand_in) = free_address() else { continue };
            let (socket, queues) = RelaySocket::new(stand_in);
            let (peer, peers) = mpsc::unbounded_channel();
            let relay = Relay {
                server: server.clone(),
                stand_in: stand_in.port(),
                queues,
                peers,
                events: events.clone(),
            };
            tokio::spawn(relay.run(dialer.clone()));
            waiting.push((stand_in.port(), socket));
            relays.stand_ins.push(stand_in);
            relays.tasks.push(peer);
        }
        relays.waiting = Arc::new(Mutex::new(waiting));
        relays
    }

    /// What the crate is to bind.
    pub(super) fn stand_ins(&self) -> &[SocketAddr] {
        &self.stand_ins
    }

    /// Whether an address of ours is that of a stand-in.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.stand_ins.contains(&address)
    }

    /// What a socket stands in for.
    pub(super) fn take(&self, stand_in: &UdpSocket) -> Option<Arc<dyn AsyncUdpSocket>> {
        let address = stand_in.local_addr().ok().filter(|address| self.has(*address))?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let position = waiting.iter().position(|(port, _)| *port == address.port())?;
        Some(Arc::new(waiting.swap_remove(position).1))
    }

    /// The peer can be reached there.
    pub(super) fn peer(&self, candidate: &Candidate) {
        for task in &self.tasks {
            // A relay that came to nothing does not listen.
            let _ = task.send(candidate.clone());
        }
    }

    /// Waits until what a stand-in sent last has left, once nobody holds that any more.
    pub(super) async fn ended(&self, stand_in: u16) {
        let position = self.stand_ins.iter().position(|address| address.port() == stand_in);
        if let Some(task) = position.and_then(|position| self.tasks.get(position))
            && timeout(2 * FAREWELL, task.closed()).await.is_err()
        {
            tracing::debug!(stand_in, "a relay does not end");
        }
    }
}

fn free_address() -> io::Result<SocketAddr> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// One relay.
struct Relay {
    server: TurnServer,
    stand_in: u16,
    queues: Queues,
    peers: mpsc::UnboundedReceiver<Candidate>,
    events: mpsc::UnboundedSender<RelayEvent>,
}

impl Relay {
    async fn run(self, dialer: Dialer) {
        let (events, stand_in) = (self.events.clone(), self.stand_in);
        let server = self.server.clone();
        let (ending, was_there) = match Wire::connect(&server, &dialer).await {
            Ok(wire) => {
                let mut client = Client::new(self, wire);
                (client.run().await, client.relayed.is_some())
            }
            Err(error) => (Err(error), false),
        };
        tracing::debug!(?server, ?ending, "relay");
        // Nobody listens when the connection is over.
        let ended = if was_there { RelayEvent::Lost { stand_in } } else { RelayEvent::Settled };
        let _ = events.send(ended);
    }
}

/// The TURN client of one relay, and its wire.
struct Client {
    relay: Relay,
    wire: Wire,
    turn: TurnClientUdp,
    /// When its clock stood at zero.
    start: Instant,
    relayed: Option<SocketAddr>,
    peers: HashSet<SocketAddr>,
}

/// What a client waits for.
enum Woken {
    Readable(io::Result<()>),
    Outgoing(Option<Datagram>),
    Peer(Candidate),
    Time,
}

impl Client {
    fn new(relay: Relay, wire: Wire) -> Self {
        let TurnServer { username, password, .. } = &relay.server;
        let mut config = TurnConfig::new(TurnCredentials::new(username, password));
        config.set_request_retransmits(FIRST_RETRY, LONGEST_RETRY, RETRIES, LAST_RETRY);
        let turn = TurnClientUdp::allocate(LOCAL, SERVER, config);
        let start = Instant::now();
        Self { relay, wire, turn, start, relayed: None, peers: HashSet::new() }
    }

    fn now(&self) -> turn_client_proto::stun::Instant {
        turn_client_proto::stun::Instant::from_std(self.start)
    }

    /// Serves until its stand-in is dropped and what that sent last has left, or until the server
    /// does not serve any more.
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let wake = match self.turn.poll(self.now()) {
                TurnPollRet::WaitUntil(at) => at.to_std(self.start),
                TurnPollRet::Closed => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => self.start,
            };
            if self.tell() {
                continue;
            }
            self.transmit();
            match self.wait(wake).await {
                Woken::Readable(read) => {
                    read?;
                    self.receive().await?;
                }
                Woken::Outgoing(Some((peer, data))) => self.send(peer, &data),
                Woken::Peer(candidate) => self.meet(&candidate),
                Woken::Outgoing(None) => return self.take_leave().await,
                Woken::Time => {}
            }
        }
    }

    async fn wait(&mut self, wake: Instant) -> Woken {
        let Queues { outgoing, incoming } = &mut self.relay.queues;
        let Wire { reader, writer } = &mut self.wire;
        let readable = async {
            // As many as one read can bring; an error means that nobody takes them.
            let _ = incoming.reserve_many(RESERVED).await;
            reader.fill().await
        };
        let datagram = async {
            let _ = writer.reserve_many(RESERVED + 1).await;
            outgoing.recv().await
        };
        tokio::select! {
            read = readable => Woken::Readable(read),
            datagram = datagram => Woken::Outgoing(datagram),
            Some(candidate) = self.relay.peers.recv() => Woken::Peer(candidate),
            () = sleep_until(wake.into()) => Woken::Time,
        }
    }

    /// Sends what the client has to say.
    fn transmit(&mut self) {
        while let Some(message) = self.turn.poll_transmit(self.now()) {
            // There is place; and what is lost is sent again.
            let _ = self.wire.writer.try_send(message.data.to_vec());
            self.start = self.start.checked_sub(CADENCE).unwrap_or(self.start);
        }
    }

    /// Tells what has happened; whether anything has.
    fn tell(&mut self) -> bool {
        let mut has_news = false;
        while let Some(event) = self.turn.poll_event() {
            tracing::trace!(?event, "relay");
            has_news = true;
            if let TurnEvent::AllocationCreated(_, relayed) = event {
                self.relayed = Some(relayed);
                self.permit(relayed);
                let candidate = candidate(relayed, self.relay.server.carrier);
                let _ = self.relay.events.send(RelayEvent::Candidate(candidate));
                let _ = self.relay.events.send(RelayEvent::Settled);
                for peer in self.peers.clone() {
                    self.bind(peer);
                }
            }
        }
        has_news
    }

    async fn receive(&mut self) -> io::Result<()> {
        while let Some(message) = self.wire.reader.next()? {
            let now = turn_client_proto::stun::Instant::from_std(self.start);
            let transmit = Transmit::new(message, TransportType::Udp, SERVER, LOCAL);
            if let TurnRecvRet::PeerData(data) = self.turn.recv(transmit, now)
                && self.peers.contains(&data.peer)
            {
                let datagram = (data.peer, data.data().to_vec());
                // Waits only when one read brought more than most; nobody takes it at the end.
                let _ = self.relay.queues.incoming.send(datagram).await;
            }
        }
        Ok(())
    }

    fn send(&mut self, peer: SocketAddr, data: &[u8]) {
        if !self.peers.contains(&peer) {
            return;
        }
        let now = self.now();
        if let Ok(Some(message)) = self.turn.send_to(TransportType::Udp, peer, data, now) {
            // A place was free before the datagram was taken.
            let _ = self.wire.writer.try_send(message.data.build());
        }
    }

    /// Lets data of a candidate of the peer in and out.
    fn meet(&mut self, candidate: &Candidate) {
        let CandidateHost::Address(address) = candidate.host else { return };
        if candidate.kind == CandidateKind::Relay || self.relay.server.is_open {
            let peer = SocketAddr::new(address, candidate.port);
            self.peers.insert(peer);
            self.bind(peer);
        }
    }

    fn permit(&mut self, peer: SocketAddr) {
        let permitted = self.turn.create_permission(TransportType::Udp, peer.ip(), self.now());
        tracing::trace!(?permitted, "relay");
    }

    /// Binds a channel, which permits, too; before there is an allocation it waits for that.
    fn bind(&mut self, peer: SocketAddr) {
        if self.relayed.is_some_and(|relayed| relayed.is_ipv4() == peer.is_ipv4()) {
            let bound = self.turn.bind_channel(TransportType::Udp, peer, self.now());
            tracing::trace!(?bound, "relay");
        }
    }

    /// Gives the relayed address back.
    async fn take_leave(&mut self) -> io::Result<()> {
        if self.turn.delete(self.now()).is_ok() {
            self.transmit();
            let gone = async {
                while !matches!(self.turn.poll(self.now()), TurnPollRet::Closed) {
                    self.wire.reader.fill().await?;
                    self.receive().await?;
                }
                io::Result::Ok(())
            };
            let gone = timeout(FAREWELL, gone).await;
            tracing::trace!(?gone, "relay");
        }
        Ok(())
    }
}

/// What a peer is told of a relayed address: the less there is in the way, the rather it is used
/// (RFC 8445, section 5.1.2).
fn candidate(relayed: SocketAddr, carrier: Carrier) -> Candidate {
    let (foundation, preference) = match carrier {
        Carrier::Udp => ("relayudp", 3),
        Carrier::Tcp => ("relaytcp", 2),
        Carrier::Tls => ("relaytls", 1),
    };
    Candidate {
        foundation: foundation.try_into().expect("letters"),
        priority: (preference << 8) | 255,
        host: CandidateHost::Address(relayed.ip()),
        port: relayed.port(),
        kind: CandidateKind::Relay,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use webrtc::runtime::Transmit as Outgoing;

    use super::*;
    use crate::net::ice::HostPort;

    #[tokio::test]
    async fn what_a_stand_in_sent_last_leaves_before_the_relay_takes_leave() {
        const SENT: usize = 20;
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = TurnServer {
            at: HostPort { host: "127.0.0.1".into(), port: silent.local_addr().unwrap().port() },
            carrier: Carrier::Udp,
            username: "name".to_owned(),
            password: "secret".to_owned(),
            is_open: false,
        };
        let (socket, queues) = RelaySocket::new(LOCAL);
        let (peer, peers) = mpsc::unbounded_channel();
        let (events, _) = mpsc::unbounded_channel();
        let wire = Wire::connect(&server, &Dialer::default()).await.unwrap();
        let mut client = Client::new(Relay { server, stand_in: 1, queues, peers, events }, wire);

        let last = Outgoing {
            destination: SERVER,
            contents: b"bye",
            ecn: None,
            segment_size: None,
            src_ip: None,
        };
        for _ in 0..SENT {
            poll_fn(|cx| socket.poll_send(cx, &last)).await.unwrap();
        }
        drop((socket, peer));
        let later = Instant::now() + Duration::from_secs(60);
        for _ in 0..SENT {
            assert!(matches!(client.wait(later).await, Woken::Outgoing(Some(_))));
        }
        assert!(matches!(client.wait(later).await, Woken::Outgoing(None)));
    }
}
