//! A PeerConnection: from descriptions and candidates to open data channels.
//!
//! The sender offers and creates the channels, which the receiver knows by their labels. (With
//! channels negotiated beforehand the `rtc` crate drops messages that arrive together with the
//! end of the SCTP handshake.) Nothing here decides whether the peer is the right one, beyond
//! giving its certificate's fingerprint; the session does.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rtc::{ice::mdns::MulticastDnsMode, peer_connection::transport::RTCIceCandidatePair};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc, oneshot};
use webrtc::{
    data_channel::{DataChannel, RTCDataChannelInit},
    peer_connection::{
        PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
        RTCIceCandidateInit, RTCIceCandidateType, RTCIceGatheringState, RTCIceServer,
        RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription, SettingEngine,
        SettingEngineBuilder, StatsSelector,
    },
};

use super::{
    discovery, interfaces,
    lane::{LaneReceiver, LaneSender, lane},
    network::{Routes, Transport},
    packet::{AROUND, LARGEST_MTU, Meter, SAFE_MTU},
    quic::{Sharing, UdpPath},
    relay::{RelayEvent, Relays},
    sdp::{self, BadSdp},
    sockets::{Hurry, TunedRuntime, fitting_window},
    zoned::Zoned,
};
use crate::proto::signal::{Candidate, CandidateHost, CandidateKind, Description};

/// The label of the control channel.
pub const CONTROL: &str = "control";

/// The label of the channel for data.
pub const DATA: &str = "data";

/// Bytes that a lane may have handed to the library and not acknowledged by the peer; enough for
/// loopback and a LAN, and all that a transfer can lose to its sender's memory.
const SEND_BUFFER: usize = 8 * 1024 * 1024;

/// Connectivity checks follow each other this closely; the library's own 200 ms would be waited
/// for at every step of the set-up.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Checks before a pair is given up: 10 s worth.
const CHECKS: u16 = 500;

/// Silence after which the path counts as disconnected, and after that as failed.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(5);
const FAILED_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(1);

/// Names of a peer that are resolved.
const MOST_NAMES: usize = 4;

/// A relayed pair is taken when no direct one was found for this long.
const RELAY_PATIENCE: Duration = Duration::from_millis(100);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The library says so.
    #[error("{0}")]
    Library(#[from] webrtc::error::Error),
    /// The library's SDP has changed its shape.
    #[error(transparent)]
    Sdp(#[from] BadSdp),
    /// The peer has shown no certificate.
    #[error("the peer has shown no certificate")]
    NoCertificate,
    /// Only relayed paths are wanted, and no relay is known.
    #[error("no relay is known")]
    NoRelay,
}

/// What happens to a PeerConnection.
#[derive(Debug)]
pub enum PeerEvent {
    /// An address of ours, for the peer.
    Candidate(Candidate),
    /// Somebody who looked for addresses has found what there is.
    Gathered {
        /// Nobody looks any more.
        all: bool,
    },
    /// There is a path, and the DTLS handshake is over.
    Connected,
    /// The path is lost for good.
    Lost,
}

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Within a LAN or one machine.
    Lan,
    /// Straight, but from network to network.
    Direct,
    /// Through a relay.
    Relay,
}

/// One end of a connection that is being made or stands.
pub struct Peer {
    connection: Arc<dyn PeerConnection>,
    hurry: Hurry,
    awaited: Awaited,
    events: mpsc::UnboundedReceiver<PeerEvent>,
    sharing: Sharing,
    relays: Relays,
    relay_events: mpsc::UnboundedReceiver<RelayEvent>,
    /// How many more names of the peer are resolved.
    names: Semaphore,
    /// Who is still looking for addresses: the library, and each relay.
    gathering: usize,
    /// The stand-in of the relay that the path leads through.
    relay_in_use: Option<u16>,
}

/// A channel as its two ends.
pub type Channel = (LaneSender, LaneReceiver);

impl Peer {
    /// Prepares a connection that this end offers, with channels of these labels, for a path
    /// whose MTU is at least this.
    ///
    /// # Errors
    /// [`PeerError`] when the machine cannot do it.
    pub async fn offer<const N: usize>(
        routes: Routes,
        labels: [&'static str; N],
        mtu: u32,
    ) -> Result<(Self, [Channel; N], Description), PeerError> {
        let (peer, channels, waiting) = Self::build(routes, mtu).await?;
        for (label, waiting) in labels.into_iter().zip(waiting) {
            create(&*peer.connection, label, waiting).await?;
        }
        let offer = peer.connection.create_offer(None).await?;
        let description = sdp::parse(&offer.sdp)?;
        peer.connection.set_local_description(offer).await?;
        Ok((peer, channels, description))
    }

    /// Prepares a connection that the other end has offered, and waits for channels of these
    /// labels.
    ///
    /// # Errors
    /// [`PeerError`] when the machine cannot do it.
    pub async fn answer<const N: usize>(
        routes: Routes,
        labels: [&'static str; N],
        offer: &Description,
    ) -> Result<(Self, [Channel; N], Description), PeerError> {
        let (peer, channels, waiting) = Self::build(routes, SAFE_MTU).await?;
        peer.awaited.expect(labels.into_iter().zip(waiting));
        let offer = RTCSessionDescription::offer(sdp::render(offer))?;
        peer.connection.set_remote_description(offer).await?;
        let answer = peer.connection.create_answer(None).await?;
        let description = sdp::parse(&answer.sdp)?;
        peer.connection.set_local_description(answer).await?;
        Ok((peer, channels, description))
    }

    async fn build<const N: usize>(
        routes: Routes,
        mtu: u32,
    ) -> Result<(Self, [Channel; N], [Waiting; N]), PeerError> {
        let Routes { transport, relays, relay_events, stun } = routes;
        let own = if transport == Transport::Relay { Vec::new() } else { interfaces::gather() };
        let (zoned, mut addresses) = Zoned::replace(own);
        addresses.extend(relays.stand_ins());
        if addresses.is_empty() {
            return Err(PeerError::NoRelay);
        }
        let meter = Meter::new(mtu);
        let sharing = Sharing::default();
        let (runtime, hurry) =
            TunedRuntime::new(zoned.clone(), relays.clone(), sharing.clone(), mtu, meter.clone());
        let (forward, events) = mpsc::unbounded_channel();
        let awaited = Awaited::default();
        let handler =
            Forward { events: forward, awaited: awaited.clone(), zoned, relays: relays.clone() };
        let urls = stun.await.unwrap_or_default();
        let stun = RTCIceServer { urls, ..RTCIceServer::default() };
        let stun = if stun.urls.is_empty() { Vec::new() } else { vec![stun] };
        let builder = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::default().with_ice_servers(stun).build())
            .with_setting_engine(settings(mtu))
            .with_runtime(runtime)
            .with_handler(Arc::new(handler))
            .with_udp_addrs(addresses)
            .with_data_channel_send_buffer_limit(SEND_BUFFER);
        let connection: Arc<dyn PeerConnection> = Arc::new(builder.build().await?);
        let mut waiting = std::array::from_fn(|_| None);
        let channels = waiting.each_mut().map(|waiting| {
            let (give, channel) = oneshot::channel();
            *waiting = Some(give);
            lane(channel, mtu, meter.clone())
        });
        let waiting = waiting.map(|waiting| waiting.expect("each was just made"));
        let peer = Self {
            connection,
            hurry,
            awaited,
            events,
            gathering: 1 + relays.stand_ins().len(),
            sharing,
            relays,
            relay_events,
            names: Semaphore::new(MOST_NAMES),
            relay_in_use: None,
        };
        Ok((peer, channels, waiting))
    }

    /// Takes the peer's answer to the offer.
    ///
    /// # Errors
    /// [`PeerError`] when the library refuses it.
    pub async fn accept(&self, answer: &Description) -> Result<(), PeerError> {
        let answer = RTCSessionDescription::answer(sdp::render(answer))?;
        Ok(self.connection.set_remote_description(answer).await?)
    }

    /// Takes an address of the peer; one that the library cannot use is passed over.
    pub async fn add_candidate(&self, candidate: &Candidate) {
        if let CandidateHost::Mdns(name) = &candidate.host {
            return self.resolve(name.clone(), candidate.clone());
        }
        self.relays.peer(candidate);
        add(&*self.connection, candidate).await;
    }

    /// Finds out what is behind a name, and takes the addresses.
    fn resolve(&self, name: String, candidate: Candidate) {
        // Each makes this machine ask its network; a browser has one or two.
        let Ok(permit) = self.names.try_acquire() else { return };
        permit.forget();
        let (connection, relays) = (self.connection.clone(), self.relays.clone());
        tokio::spawn(async move {
            for address in discovery::resolve(&name).await {
                let host = CandidateHost::Address(address);
                let candidate = Candidate { host, ..candidate.clone() };
                relays.peer(&candidate);
                add(&*connection, &candidate).await;
            }
        });
    }

    /// The next thing that happens to it.
    pub async fn next(&mut self) -> PeerEvent {
        loop {
            tokio::select! {
                // The library keeps the other end as long as the connection lives.
                event = self.events.recv() => match event {
                    Some(PeerEvent::Gathered { .. }) => return self.gathered(),
                    event => return event.unwrap_or(PeerEvent::Lost),
                },
                Some(event) = self.relay_events.recv() => match event {
                    RelayEvent::Candidate(candidate) => return PeerEvent::Candidate(candidate),
                    RelayEvent::Settled => return self.gathered(),
                    RelayEvent::Lost { stand_in } if self.relay_in_use == Some(stand_in) => {
                        return PeerEvent::Lost;
                    }
                    RelayEvent::Lost { .. } => {}
                },
            }
        }
    }

    fn gathered(&mut self) -> PeerEvent {
        self.gathering = self.gathering.saturating_sub(1);
        PeerEvent::Gathered { all: self.gathering == 0 }
    }

    /// Whether something has happened that [`Peer::next`] has not told yet.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.events.is_empty() || !self.relay_events.is_empty()
    }

    /// The driver need not hurry any more: the channels are open.
    pub fn opened(&self) {
        self.hurry.over();
    }

    /// SHA-256 of the certificate that the peer has shown.
    ///
    /// # Errors
    /// [`PeerError::NoCertificate`] before the DTLS handshake is over.
    pub async fn fingerprint(&self) -> Result<[u8; 32], PeerError> {
        let sctp = self.connection.sctp().await.ok_or(PeerError::NoCertificate)?;
        let certificates = sctp.transport().get_remote_certificates().await?;
        let certificate = certificates.first().ok_or(PeerError::NoCertificate)?;
        Ok(Sha256::digest(certificate).into())
    }

    /// How the bytes travel; a guess of [`Path::Direct`] when the library does not say.
    pub async fn path(&mut self) -> Path {
        self.selected_path().await.unwrap_or(Path::Direct)
    }

    async fn selected_pair(&self) -> Option<RTCIceCandidatePair> {
        let sctp = self.connection.sctp().await?;
        sctp.transport().ice_transport().get_selected_candidate_pair().await.ok()?
    }

    async fn selected_path(&mut self) -> Option<Path> {
        let pair = self.selected_pair().await?;
        let own = SocketAddr::new(pair.local().address.parse().ok()?, pair.local().port);
        if self.relays.has(own) {
            self.relay_in_use = Some(own.port());
            return Some(Path::Relay);
        }
        let ends = [pair.local(), pair.remote()];
        if ends.iter().any(|end| end.typ == RTCIceCandidateType::Relay) {
            return Some(Path::Relay);
        }
        let peer: IpAddr = pair.remote().address.parse().ok()?;
        Some(if interfaces::is_near(peer) { Path::Lan } else { Path::Direct })
    }

    /// The largest MTU that the path may have, as far as this machine knows.
    pub async fn likely_mtu(&self) -> u32 {
        let pair = self.selected_pair().await.filter(|_| self.relay_in_use.is_none());
        let ends = pair.and_then(|pair| {
            let [own, peer] = [pair.local(), pair.remote()].map(|end| end.address.parse());
            Some((own.ok()?, peer.ok()?))
        });
        let mtu = ends.map_or(interfaces::ETHERNET_MTU, |(own, peer)| interfaces::mtu(own, peer));
        tracing::debug!(?ends, mtu, "path");
        mtu.clamp(SAFE_MTU, LARGEST_MTU)
    }

    /// The shortest round trip of a connectivity check on the path; nothing when none is known.
    pub async fn round(&self) -> Duration {
        let report = self.connection.get_stats(Instant::now(), StatsSelector::None).await;
        let nominated = report.candidate_pairs().filter(|pair| pair.nominated);
        let rounds = nominated.map(|pair| pair.current_round_trip_time);
        let shortest = rounds.filter(|round| *round > 0.0).min_by(f64::total_cmp);
        shortest.and_then(|round| Duration::try_from_secs_f64(round).ok()).unwrap_or_default()
    }

    /// The way to the peer for QUIC, on a path that leads through no relay.
    pub async fn udp_path(&self) -> Option<UdpPath> {
        let pair = self.selected_pair().await?;
        let peer = SocketAddr::new(pair.remote().address.parse().ok()?, pair.remote().port);
        Some(UdpPath { sharing: self.sharing.clone(), peer })
    }

    /// Closes the connection; what is still queued is lost. That it is closed has left this machine
    /// afterwards, so that the process may end.
    pub async fn close(self) {
        let (relays, relay) = (self.relays.clone(), self.relay_in_use);
        close(self.connection.clone()).await;
        drop(self);
        if let Some(stand_in) = relay {
            relays.ended(stand_in).await;
        }
    }
}

async fn add(connection: &dyn PeerConnection, candidate: &Candidate) {
    let init = RTCIceCandidateInit {
        candidate: sdp::render_candidate(candidate),
        sdp_mid: Some("0".to_owned()),
        sdp_mline_index: Some(0),
        ..Default::default()
    };
    if let Err(error) = connection.add_ice_candidate(init).await {
        tracing::debug!(%error, "candidate");
    }
}

async fn close(connection: Arc<dyn PeerConnection>) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "close");
    }
}

impl Drop for Peer {
    /// A connection that is only dropped would leave its driver running. Closing twice is fine.
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(close(self.connection.clone()));
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peer(..)")
    }
}

fn settings(mtu: u32) -> SettingEngine {
    SettingEngineBuilder::new()
        .with_ice_timeouts(Some(DISCONNECTED_AFTER), Some(FAILED_AFTER), Some(KEEPALIVE))
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS))
        .with_srflx_acceptance_min_wait(Some(Duration::ZERO))
        .with_prflx_acceptance_min_wait(Some(Duration::ZERO))
        .with_relay_acceptance_min_wait(Some(RELAY_PATIENCE))
        // This end names its addresses; a browser's names are resolved by `discovery`.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_include_loopback_candidate(true)
        .with_sctp_max_receive_buffer_size(fitting_window())
        .with_sctp_mtu(mtu - AROUND)
        // What the peer takes for the path's MTU is its affair.
        .with_receive_mtu(LARGEST_MTU as usize)
        .build()
}

async fn create(
    connection: &dyn PeerConnection,
    label: &str,
    waiting: Waiting,
) -> Result<(), PeerError> {
    let options = RTCDataChannelInit { ordered: true, ..RTCDataChannelInit::default() };
    let channel = connection.create_data_channel(label, Some(options)).await?;
    // The lane lives as long as its owner; a connection without one is closed soon.
    let _ = waiting.send(channel);
    Ok(())
}

/// A lane that waits for its channel.
type Waiting = oneshot::Sender<Arc<dyn DataChannel>>;

/// The lanes whose channels the peer is to create, by label.
#[derive(Clone, Default)]
struct Awaited(Arc<Mutex<HashMap<&'static str, Waiting>>>);

impl Awaited {
    fn expect(&self, lanes: impl Iterator<Item = (&'static str, Waiting)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(lanes);
    }

    /// A label that is not expected, or not any more, is nobody's.
    fn arrived(&self, label: &str, channel: Arc<dyn DataChannel>) {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = lanes.remove(label) {
            // As in `create`.
            let _ = waiting.send(channel);
        }
    }
}

/// Forwards what the library calls back with; it is awaited on the driver's task.
struct Forward {
    events: mpsc::UnboundedSender<PeerEvent>,
    awaited: Awaited,
    zoned: Zoned,
    relays: Relays,
}

impl Forward {
    fn tell(&self, event: PeerEvent) {
        // Nobody listens once the session has ended.
        let _ = self.events.send(event);
    }

    /// What a peer must be told of an address that the library found.
    fn host(&self, found: CandidateHost, port: u16) -> CandidateHost {
        match found {
            CandidateHost::Address(address) => {
                CandidateHost::Address(self.zoned.behind(address, port))
            }
            name @ CandidateHost::Mdns(_) => name,
        }
    }
}

#[async_trait]
impl PeerConnectionEventHandler for Forward {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let found = &event.candidate;
        let kind = match found.typ {
            RTCIceCandidateType::Host => CandidateKind::Host,
            RTCIceCandidateType::Srflx => CandidateKind::ServerReflexive,
            RTCIceCandidateType::Prflx => CandidateKind::PeerReflexive,
            RTCIceCandidateType::Relay => CandidateKind::Relay,
            _ => return,
        };
        let foundation = found.foundation.as_str().try_into();
        let host = found.address.as_str().try_into();
        if let (Ok(foundation), Ok(host)) = (foundation, host) {
            let (priority, port) = (found.priority, found.port);
            if let CandidateHost::Address(address) = host
                && self.relays.has(SocketAddr::new(address, port))
            {
                return;
            }
            let host = self.host(host, port);
            self.tell(PeerEvent::Candidate(Candidate { foundation, priority, host, port, kind }));
        }
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let awaited = self.awaited.clone();
        // The label comes from the driver, which this callback must not keep waiting.
        tokio::spawn(async move {
            if let Ok(label) = channel.label().await {
                awaited.arrived(&label, channel);
            }
        });
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.tell(PeerEvent::Gathered { all: true });
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        tracing::debug!(?state, "peer connection");
        match state {
            RTCPeerConnectionState::Connected => self.tell(PeerEvent::Connected),
            RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                self.tell(PeerEvent::Lost);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::net::{lane::LaneEvent, network::Network};

    async fn hand_over(from: &mut Peer, to: &Peer) {
        loop {
            match from.next().await {
                PeerEvent::Candidate(candidate) => to.add_candidate(&candidate).await,
                PeerEvent::Gathered { .. } => return,
                PeerEvent::Connected => {}
                PeerEvent::Lost => panic!("lost"),
            }
        }
    }

    async fn open(lane: &mut LaneReceiver) {
        assert!(matches!(lane.next().await, LaneEvent::Open));
    }

    const LABELS: [&str; 2] = [CONTROL, DATA];

    type End = (Peer, [Channel; 2]);

    async fn offered() -> (Peer, [Channel; 2], Description) {
        Peer::offer(Network::default().prepare(&[]), LABELS, LARGEST_MTU).await.unwrap()
    }

    async fn answered(offer: &Description) -> (Peer, [Channel; 2], Description) {
        Peer::answer(Network::default().prepare(&[]), LABELS, offer).await.unwrap()
    }

    async fn connected() -> (End, End, [Description; 2]) {
        let (mut offerer, mut ours, offer) = offered().await;
        let (mut answerer, mut theirs, answer) = answered(&offer).await;
        offerer.accept(&answer).await.unwrap();
        hand_over(&mut offerer, &answerer).await;
        hand_over(&mut answerer, &offerer).await;
        for (_, lane) in ours.iter_mut().chain(&mut theirs) {
            open(lane).await;
        }
        ((offerer, ours), (answerer, theirs), [offer, answer])
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_peers_exchange_messages_over_both_channels() {
        let ((mut offerer, mut ours), (answerer, mut theirs), [offer, answer]) = connected().await;
        for ((from, _), (_, to)) in ours.iter().zip(&mut theirs) {
            from.send(BytesMut::from(vec![7; 65_536].as_slice())).await.unwrap();
            let LaneEvent::Message(message) = to.next().await else { panic!("no message") };
            assert_eq!(message, Bytes::from(vec![7; 65_536]));
        }
        assert_eq!(offerer.fingerprint().await.unwrap(), answer.fingerprint);
        assert_eq!(answerer.fingerprint().await.unwrap(), offer.fingerprint);
        assert_ne!(offer.fingerprint, answer.fingerprint);
        assert_eq!(offerer.path().await, Path::Lan);
        answerer.close().await;
        assert!(matches!(ours[0].1.next().await, LaneEvent::Closed));
        offerer.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_library_refuses_a_certificate_of_another_fingerprint() {
        let (mut offerer, mut ours, offer) = offered().await;
        let swapped = Description { fingerprint: [9; 32], ..offer };
        let (mut answerer, _theirs, answer) = answered(&swapped).await;
        offerer.accept(&answer).await.unwrap();
        hand_over(&mut offerer, &answerer).await;
        hand_over(&mut answerer, &offerer).await;
        let lost = async {
            loop {
                if let PeerEvent::Lost = answerer.next().await {
                    return;
                }
            }
        };
        tokio::select! {
            () = lost => {}
            event = ours[0].1.next() => assert!(matches!(event, LaneEvent::Closed)),
        }
        offerer.close().await;
    }
}
