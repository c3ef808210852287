//! The TURN server's state (RFC 8656): who has an allocation, and what passes between whom. Pure:
//! datagrams, the time and ports come in, datagrams go out.
//!
//! A relay that is *closed* has no ports at all: a relayed address is a name by which one end of a
//! room knows the other, and what is sent to it goes straight into the other's connection. There
//! is nothing to scan from outside and nowhere to send to. An *open* one has real ports, and
//! [`policy`](crate::policy) says where they may send to.
//!
//! The messages are read and written by `turn-types`. Its server, `turn-server-proto`, answers
//! permissions by IP address alone, keeps users for ever and has real ports only, so wrapping it
//! would have left nothing of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use turn_types::AddressFamily;
use turn_types::attribute::{
    ChannelNumber, Data, EvenPort, RequestedAddressFamily, RequestedTransport, XorPeerAddress,
};
use turn_types::channel::ChannelData;
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, DATA, REFRESH, SEND};
use turn_types::stun::attribute::{AttributeStaticType, MessageIntegrity, Nonce, Username};
use turn_types::stun::message::{
    IntegrityAlgorithm, IntegrityKey, LongTermKeyCredentials, Message, MessageClass, MessageType,
    MessageWrite, MessageWriteVec, TransactionId,
};

use self::fuse::Fuse;
use self::messages::{
    Answer, REALM, Refusal, add, allocated, challenge, error, lifetime_attribute, peers,
    requested_lifetime, sign, success, unknown_attributes,
};
use crate::credentials::{self, Nonces, RelayRoom, Secrets};
use crate::limits::RelayLimits;
use crate::policy::is_forbidden;
use crate::stun::canonical;

mod fuse;
mod messages;
#[cfg(test)]
mod tests;

/// How long an allocation lives without a refresh.
const LIFETIME: Duration = Duration::from_secs(600);

/// How long permissions and channels live (RFC 8656, sections 9 and 12).
const PERMISSION: Duration = Duration::from_secs(300);
const CHANNEL: Duration = Duration::from_secs(600);

/// The numbers of channels: those of RFC 5766, which some clients still use, include those of RFC
/// 8656.
const CHANNELS: RangeInclusive<u16> = 0x4000..=0x7fff;

/// How far a room may run ahead of its rate.
const BURST: Duration = Duration::from_millis(250);

/// Peers of one allocation: permissions, and channels.
const MOST_PEERS: usize = 64;

/// UDP's number in REQUESTED-TRANSPORT.
const UDP: u8 = 17;

/// Where a client is: its address, and how its datagrams come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// From this address to that one of the server's, over UDP.
    Datagrams { from: SocketAddr, at: SocketAddr },
    /// Through a stream with this number, from this address.
    Stream { number: u64, from: SocketAddr },
}

impl Client {
    fn address(self) -> SocketAddr {
        let (Self::Datagrams { from, .. } | Self::Stream { from, .. }) = self;
        canonical(from)
    }
}

/// What goes out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// To a client.
    Client(Client, Vec<u8>),
    /// From a port of an open relay to a peer.
    Peer { relayed: SocketAddr, peer: SocketAddr, data: Vec<u8> },
}

/// Where relayed addresses come from.
pub(crate) trait Ports {
    /// A new address of that family for a client, if there is one. Its port is even, which some
    /// clients ask for.
    fn open(&mut self, client: Client, family: AddressFamily) -> Option<SocketAddr>;
    /// It is not needed any more.
    fn close(&mut self, relayed: SocketAddr);
}

/// What time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    /// Seconds since 1970.
    pub(crate) unix: u64,
}

/// Everything that the relay knows.
pub(crate) struct Relay {
    limits: RelayLimits,
    secrets: Secrets,
    nonces: Nonces,
    fuse: Fuse,
    /// The machine's own addresses, when the relay is open.
    open: Option<Vec<IpAddr>>,
    allocations: HashMap<Client, Allocation>,
    rooms: HashMap<RelayRoom, Room>,
    counters: Counters,
}

struct Allocation {
    room: RelayRoom,
    username: String,
    key: IntegrityKey,
    relayed: SocketAddr,
    /// Which request made it: one that is sent again gets the same answer.
    transaction: TransactionId,
    expires: Instant,
    permissions: HashMap<IpAddr, Instant>,
    channels: HashMap<u16, (SocketAddr, Instant)>,
    numbers: HashMap<SocketAddr, u16>,
}

#[derive(Default)]
struct Room {
    members: HashMap<SocketAddr, Client>,
    /// Bytes that were relayed.
    bytes: u64,
    /// When what was relayed so far would have passed, had it kept to the rate.
    busy_until: Option<Instant>,
    /// No credential for it is valid after this time.
    expires: u64,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) allocated: u64,
    pub(crate) unauthorized: u64,
    pub(crate) over_quota: u64,
    pub(crate) relayed_packets: u64,
    pub(crate) relayed_bytes: u64,
    pub(crate) dropped_packets: u64,
}

/// A request whose sender has shown to know a password.
struct Authenticated {
    username: String,
    key: IntegrityKey,
    room: RelayRoom,
    expires: u64,
}

impl Relay {
    pub(crate) fn new(limits: RelayLimits, secrets: Secrets, open: Option<Vec<IpAddr>>) -> Self {
        Self {
            limits,
            nonces: secrets.nonces(),
            secrets,
            fuse: Fuse::default(),
            open,
            allocations: HashMap::new(),
            rooms: HashMap::new(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Whether a client has an allocation.
    pub(crate) fn knows(&self, client: Client) -> bool {
        self.allocations.contains_key(&client)
    }

    /// Takes a message of a client, other than a Binding request.
    pub(crate) fn handle(
        &mut self,
        client: Client,
        bytes: &[u8],
        now: Now,
        ports: &mut dyn Ports,
        out: &mut Vec<Output>,
    ) {
        if let Ok(channel) = ChannelData::parse(bytes) {
            let allocation = self.allocations.get(&client);
            let peer = allocation.and_then(|it| it.peer_of(channel.id(), now.instant));
            match peer {
                Some(peer) => self.relay(client, peer, channel.data(), now, ports, out),
                None => self.counters.dropped_packets += 1,
            }
            return;
        }
        let Ok(message) = Message::from_bytes(bytes) else { return };
        match message.class() {
            MessageClass::Request => {
                if let Some(answer) = self.request(client, &message, now, ports) {
                    out.push(Output::Client(client, answer));
                }
            }
            MessageClass::Indication if message.method() == SEND => {
                self.indication(client, &message, now, ports, out);
            }
            _ => {}
        }
    }

    /// Takes what a peer sent to a port of an open relay.
    pub(crate) fn take_from_peer(
        &mut self,
        client: Client,
        peer: SocketAddr,
        data: &[u8],
        now: Now,
        ports: &mut dyn Ports,
        out: &mut Vec<Output>,
    ) {
        let Some(allocation) = self.allocations.get(&client) else { return };
        let (room, permitted) = (allocation.room, allocation.permits(peer.ip(), now.instant));
        let own = self.open.as_deref().unwrap_or_default();
        if !permitted || is_forbidden(peer.ip(), own) || !self.charge(room, data.len(), now, ports)
        {
            self.counters.dropped_packets += 1;
            return;
        }
        self.deliver(client, peer, data, out);
    }

    /// A client's stream has ended.
    pub(crate) fn disconnect(&mut self, client: Client, ports: &mut dyn Ports) {
        if let Some(allocation) = self.allocations.remove(&client) {
            ports.close(allocation.relayed);
            if let Some(room) = self.rooms.get_mut(&allocation.room) {
                room.members.remove(&allocation.relayed);
            }
        }
    }

    /// Ends what has not been refreshed, and forgets rooms for which nobody has a credential any
    /// more.
    pub(crate) fn expire(&mut self, now: Now, ports: &mut dyn Ports) {
        let expired = self.allocations.iter().filter(|(_, it)| it.expires <= now.instant);
        let expired: Vec<_> = expired.map(|(client, _)| *client).collect();
        expired.into_iter().for_each(|client| self.disconnect(client, ports));
        self.rooms.retain(|_, room| !room.members.is_empty() || room.expires > now.unix);
        self.fuse.reset();
    }

    // Requests.

    fn request(
        &mut self,
        client: Client,
        message: &Message<'_>,
        now: Now,
        ports: &mut dyn Ports,
    ) -> Option<Vec<u8>> {
        let whom = client.address().to_string();
        let authenticated = match self.authenticate(client, message, &whom, now) {
            Ok(authenticated) => authenticated,
            Err(refusal) => {
                self.counters.unauthorized += 1;
                // To whoever asks too often nothing is said: he may be somebody else's victim.
                return self.fuse.allows(client.address().ip()).then(|| {
                    let nonce = self.nonces.make(whom.as_bytes(), now.unix);
                    challenge(message, refusal, &nonce)
                });
            }
        };
        if let Some(refusal) = unknown_attributes(message) {
            return Some(refusal);
        }
        let key = authenticated.key.clone();
        let answered = match message.method() {
            ALLOCATE => self.allocate(client, message, authenticated, now, ports),
            REFRESH => self.refresh(client, message, now, ports),
            CREATE_PERMISSION => self.create_permission(client, message, now),
            CHANNEL_BIND => self.bind_channel(client, message, now),
            _ => Err(Refusal::BadRequest),
        };
        let mut answer = answered.unwrap_or_else(|refusal| {
            if matches!(refusal, Refusal::QuotaReached | Refusal::NoCapacity) {
                self.counters.over_quota += 1;
            }
            error(message, refusal)
        });
        sign(&mut answer, &key);
        Some(answer.finish())
    }

    fn authenticate(
        &self,
        client: Client,
        message: &Message<'_>,
        whom: &str,
        now: Now,
    ) -> Result<Authenticated, Refusal> {
        if !message.has_attribute(MessageIntegrity::TYPE) {
            return Err(Refusal::Unauthorized);
        }
        let username = message.attribute::<Username>().map_err(|_| Refusal::BadRequest)?;
        let username = username.username();
        let nonce = message.attribute::<Nonce>().map_err(|_| Refusal::BadRequest)?;
        if !self.nonces.is_fresh(nonce.nonce(), whom.as_bytes(), now.unix) {
            return Err(Refusal::StaleNonce);
        }
        let (expires, room) = credentials::parse(username).ok_or(Refusal::Unauthorized)?;
        let known = self.allocations.get(&client);
        if known.is_some_and(|allocation| allocation.username != username) {
            return Err(Refusal::WrongCredentials);
        }
        let fits = |key: &IntegrityKey| message.validate_integrity_with_key(key).is_ok();
        let keys = self.secrets.passwords(username).map(|password| {
            let credentials =
                LongTermKeyCredentials::new(username.to_owned(), password, REALM.to_owned());
            credentials.make_key(IntegrityAlgorithm::Sha1)
        });
        // An allocation outlives the secret that it was made with.
        let key = known.map(|known| known.key.clone()).into_iter().chain(keys).find(fits);
        let key = key.ok_or(Refusal::Unauthorized)?;
        Ok(Authenticated { username: username.to_owned(), key, room, expires })
    }

    fn allocate(
        &mut self,
        client: Client,
        message: &Message<'_>,
        authenticated: Authenticated,
        now: Now,
        ports: &mut dyn Ports,
    ) -> Result<Answer, Refusal> {
        if let Some(known) = self.allocations.get(&client) {
            return if known.transaction == message.transaction_id() {
                Ok(allocated(message, client.address(), known.relayed, LIFETIME))
            } else {
                Err(Refusal::AllocationMismatch)
            };
        }
        let Authenticated { username, key, room, expires } = authenticated;
        if expires <= now.unix {
            return Err(Refusal::Unauthorized);
        }
        let transport = message.attribute::<RequestedTransport>();
        match transport.map_err(|_| Refusal::BadRequest)?.protocol() {
            UDP => {}
            _ => return Err(Refusal::TransportNotSupported),
        }
        if message.attribute::<EvenPort>().is_ok_and(|even| even.requested()) {
            return Err(Refusal::NoCapacity); // Nobody reserves a second port for RTCP.
        }
        let family = message.attribute::<RequestedAddressFamily>();
        let family = family.map_or(AddressFamily::IPV4, |family| family.family());
        let lifetime = match requested_lifetime(message) {
            Some(Duration::ZERO) => return Err(Refusal::BadRequest),
            _ => LIFETIME,
        };
        let relayed = self.open_in(client, room, expires, family, ports)?;
        self.rooms.entry(room).or_default().members.insert(relayed, client);
        self.counters.allocated += 1;
        self.allocations.insert(
            client,
            Allocation {
                room,
                username,
                key,
                relayed,
                transaction: message.transaction_id(),
                expires: now.instant + lifetime,
                permissions: HashMap::new(),
                channels: HashMap::new(),
                numbers: HashMap::new(),
            },
        );
        Ok(allocated(message, client.address(), relayed, lifetime))
    }

    /// Opens a relayed address that is new to the room, if it may have another.
    fn open_in(
        &mut self,
        client: Client,
        id: RelayRoom,
        expires: u64,
        family: AddressFamily,
        ports: &mut dyn Ports,
    ) -> Result<SocketAddr, Refusal> {
        if self.allocations.len() >= self.limits.max_allocations {
            return Err(Refusal::NoCapacity);
        }
        let is_new = !self.rooms.contains_key(&id);
        // Rooms without members are remembered for their byte counts; not without bound.
        if is_new && self.rooms.len() >= self.limits.max_allocations.saturating_mul(2) {
            return Err(Refusal::NoCapacity);
        }
        let room = self.rooms.entry(id).or_default();
        room.expires = room.expires.max(expires);
        let is_spent = room.bytes >= self.limits.max_bytes_per_room;
        if is_spent || room.members.len() >= self.limits.max_allocations_per_room {
            return Err(Refusal::QuotaReached);
        }
        let relayed = ports.open(client, family).ok_or(match family {
            AddressFamily::IPV4 => Refusal::NoCapacity,
            AddressFamily::IPV6 => Refusal::FamilyNotSupported,
        })?;
        if room.members.contains_key(&relayed) {
            return Err(Refusal::NoCapacity); // One in 16,384; the client asks again.
        }
        Ok(relayed)
    }

    fn refresh(
        &mut self,
        client: Client,
        message: &Message<'_>,
        now: Now,
        ports: &mut dyn Ports,
    ) -> Result<Answer, Refusal> {
        let allocation = self.allocations.get_mut(&client).ok_or(Refusal::AllocationMismatch)?;
        let lifetime = requested_lifetime(message).unwrap_or(LIFETIME).min(LIFETIME);
        if lifetime.is_zero() {
            self.disconnect(client, ports);
        } else {
            allocation.expires = now.instant + lifetime;
        }
        let mut answer = success(message);
        add(&mut answer, &lifetime_attribute(lifetime));
        Ok(answer)
    }

    fn create_permission(
        &mut self,
        client: Client,
        message: &Message<'_>,
        now: Now,
    ) -> Result<Answer, Refusal> {
        let allocation = self.allocations.get_mut(&client).ok_or(Refusal::AllocationMismatch)?;
        let peers = peers(message);
        if peers.is_empty() {
            return Err(Refusal::BadRequest);
        }
        for peer in peers {
            permit(allocation, self.open.as_deref(), peer, now.instant)?;
        }
        Ok(success(message))
    }

    fn bind_channel(
        &mut self,
        client: Client,
        message: &Message<'_>,
        now: Now,
    ) -> Result<Answer, Refusal> {
        let allocation = self.allocations.get_mut(&client).ok_or(Refusal::AllocationMismatch)?;
        let number = message.attribute::<ChannelNumber>().map_err(|_| Refusal::BadRequest)?;
        let number = number.channel();
        let peer = *peers(message).first().ok_or(Refusal::BadRequest)?;
        let other_peer = allocation.channels.get(&number).is_some_and(|(bound, _)| *bound != peer);
        let other_number = allocation.numbers.get(&peer).is_some_and(|bound| *bound != number);
        if !CHANNELS.contains(&number) || other_peer || other_number {
            return Err(Refusal::BadRequest);
        }
        if allocation.channels.len() >= MOST_PEERS && !allocation.channels.contains_key(&number) {
            return Err(Refusal::NoCapacity);
        }
        permit(allocation, self.open.as_deref(), peer, now.instant)?;
        allocation.channels.insert(number, (peer, now.instant + CHANNEL));
        allocation.numbers.insert(peer, number);
        Ok(success(message))
    }

    // Data.

    fn indication(
        &mut self,
        client: Client,
        message: &Message<'_>,
        now: Now,
        ports: &mut dyn Ports,
        out: &mut Vec<Output>,
    ) {
        if let (Some(peer), Ok(data)) = (peers(message).first(), message.attribute::<Data<'_>>()) {
            self.relay(client, *peer, data.data(), now, ports, out);
        }
    }

    /// Passes data of a client on to a peer: the other end of its room, or, when the relay is
    /// open, whoever it has permission for.
    fn relay(
        &mut self,
        client: Client,
        peer: SocketAddr,
        data: &[u8],
        now: Now,
        ports: &mut dyn Ports,
        out: &mut Vec<Output>,
    ) {
        if !self.try_relay(client, peer, data, now, ports, out).unwrap_or(false) {
            self.counters.dropped_packets += 1;
        }
    }

    fn try_relay(
        &mut self,
        client: Client,
        peer: SocketAddr,
        data: &[u8],
        now: Now,
        ports: &mut dyn Ports,
        out: &mut Vec<Output>,
    ) -> Option<bool> {
        let from = self.allocations.get(&client)?;
        let (id, relayed) = (from.room, from.relayed);
        if from.expires <= now.instant || !from.permits(peer.ip(), now.instant) {
            return Some(false);
        }
        let target = self.rooms.get(&id)?.members.get(&peer).copied();
        if let Some(target) = target {
            let to = self.allocations.get(&target)?;
            let alive = to.expires > now.instant && to.permits(relayed.ip(), now.instant);
            if alive && self.charge(id, data.len(), now, ports) {
                self.deliver(target, relayed, data, out);
                return Some(true);
            }
            return Some(false);
        }
        let own = self.open.as_deref()?;
        if is_forbidden(peer.ip(), own) || !self.charge(id, data.len(), now, ports) {
            return Some(false);
        }
        out.push(Output::Peer { relayed, peer, data: data.to_vec() });
        Some(true)
    }

    /// Gives a client what a peer has sent, in a channel if there is one.
    fn deliver(&self, client: Client, peer: SocketAddr, data: &[u8], out: &mut Vec<Output>) {
        let Some(allocation) = self.allocations.get(&client) else { return };
        let bytes = if let Some(number) = allocation.numbers.get(&peer) {
            let mut bytes = vec![0; data.len() + 4];
            ChannelData::new(*number, data).write_into_unchecked(&mut bytes);
            bytes
        } else {
            let transaction = TransactionId::generate();
            let kind = MessageType::from_class_method(MessageClass::Indication, DATA);
            let mut message = Message::builder(kind, transaction, MessageWriteVec::new());
            add(&mut message, &XorPeerAddress::new(peer, transaction));
            add(&mut message, &Data::new(data));
            message.finish()
        };
        out.push(Output::Client(client, bytes));
    }

    /// Counts bytes that a room wants to have relayed; no when it has used up what it may. The
    /// last byte of a room ends its allocations.
    fn charge(&mut self, id: RelayRoom, bytes: usize, now: Now, ports: &mut dyn Ports) -> bool {
        let Some(room) = self.rooms.get_mut(&id) else { return false };
        let amount = bytes as u64;
        if room.bytes.saturating_add(amount) > self.limits.max_bytes_per_room {
            room.bytes = self.limits.max_bytes_per_room;
            self.counters.over_quota += 1;
            let members: Vec<_> = room.members.values().copied().collect();
            members.into_iter().for_each(|member| self.disconnect(member, ports));
            return false;
        }
        if !room.may_pass(bytes, self.limits.max_rate_per_room, now.instant) {
            return false;
        }
        room.bytes += amount;
        self.counters.relayed_packets += 1;
        self.counters.relayed_bytes += amount;
        true
    }
}

impl Room {
    /// Whether so many bytes may pass now: each takes its time at the given rate, and no more than
    /// a quarter of a second's worth passes at once.
    fn may_pass(&mut self, bytes: usize, rate: u64, now: Instant) -> bool {
        let nanoseconds = (bytes as u64).saturating_mul(1_000_000_000) / rate.max(1);
        let busy_until = self.busy_until.map_or(now, |until| until.max(now));
        let busy_until = busy_until + Duration::from_nanos(nanoseconds);
        let passes = busy_until - now <= BURST;
        if passes {
            self.busy_until = Some(busy_until);
        }
        passes
    }
}

impl Allocation {
    fn permits(&self, address: IpAddr, now: Instant) -> bool {
        self.permissions.get(&address).is_some_and(|expires| *expires > now)
    }

    fn peer_of(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        let (peer, expires) = self.channels.get(&number)?;
        (*expires > now).then_some(*peer)
    }
}

/// Installs a permission. A closed relay agrees to every one, since browsers ask for one to each
/// candidate and give up when one is refused; what passes is decided for each datagram.
fn permit(
    allocation: &mut Allocation,
    open: Option<&[IpAddr]>,
    peer: SocketAddr,
    now: Instant,
) -> Result<(), Refusal> {
    if peer.is_ipv4() != allocation.relayed.is_ipv4() {
        return Err(Refusal::FamilyMismatch);
    }
    let is_relay = peer.ip() == allocation.relayed.ip();
    match open {
        // What nobody in the room has is not worth remembering.
        None if !is_relay => return Ok(()),
        Some(own) if !is_relay && is_forbidden(peer.ip(), own) => return Err(Refusal::Forbidden),
        _ => {}
    }
    allocation.permissions.retain(|_, expires| *expires > now);
    if allocation.permissions.len() >= MOST_PEERS {
        return Err(Refusal::NoCapacity);
    }
    allocation.permissions.insert(peer.ip(), now + PERMISSION);
    Ok(())
}
