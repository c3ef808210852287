//! The abuse table: what the relay must not do, whoever asks, beside what it is for.

use turn_types::attribute::Lifetime;
use turn_types::stun::attribute::ErrorCode;
use turn_types::stun::attribute::{Realm, XorMappedAddress};
use turn_types::stun::message::{MessageWriteExt as _, Method};

use super::*;
use crate::protocol::RoomId;

const UNIX: u64 = 1_700_000_000;

/// Ports that were opened and not closed.
#[derive(Default)]
struct TestPorts {
    next: u16,
    open: Vec<SocketAddr>,
}

impl Ports for TestPorts {
    fn open(&mut self, _: Client, family: AddressFamily) -> Option<SocketAddr> {
        self.next += 1;
        let ip: IpAddr = match family {
            AddressFamily::IPV4 => [198, 51, 100, 1].into(),
            AddressFamily::IPV6 => "2001:db8::1".parse().unwrap(),
        };
        let relayed = SocketAddr::new(ip, 50_000 + self.next);
        self.open.push(relayed);
        Some(relayed)
    }

    fn close(&mut self, relayed: SocketAddr) {
        self.open.retain(|open| *open != relayed);
    }
}

struct World {
    relay: Relay,
    ports: TestPorts,
    secrets: Secrets,
    now: Now,
}

/// One end of a room.
#[derive(Clone)]
struct End {
    client: Client,
    username: String,
    password: String,
    nonce: String,
}

impl World {
    fn new() -> Self {
        Self::with(RelayLimits::default(), None)
    }

    fn open() -> Self {
        Self::with(RelayLimits::default(), Some(vec!["198.51.100.1".parse().unwrap()]))
    }

    fn with(limits: RelayLimits, open: Option<Vec<IpAddr>>) -> Self {
        let secrets = Secrets::of_process([9; 32]);
        Self {
            relay: Relay::new(limits, secrets.clone(), open),
            ports: TestPorts::default(),
            secrets,
            now: Now { instant: Instant::now(), unix: UNIX },
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now.instant += Duration::from_secs(seconds);
        self.now.unix += seconds;
        self.relay.expire(self.now, &mut self.ports);
    }

    fn hand(&mut self, client: Client, bytes: &[u8]) -> Vec<Output> {
        let mut out = Vec::new();
        self.relay.handle(client, bytes, self.now, &mut self.ports, &mut out);
        out
    }

    /// An end with a credential of that room, and a nonce.
    fn end(&mut self, port: u16, room: u8) -> End {
        let room = RoomId::from_128_bits([room; 16]);
        let (username, password) = self.secrets.issue(&room, self.now.unix);
        let client = client(port);
        let mut end = End { client, username, password, nonce: String::new() };
        let refusal = self.ask_plainly(&end, ALLOCATE, &[]);
        end.nonce = nonce(&refusal).expect("a challenge");
        end
    }

    fn ask_plainly(&mut self, end: &End, method: Method, attributes: Attributes<'_>) -> Vec<u8> {
        let message = request(method, attributes);
        self.answer(end.client, &message.finish())
    }

    fn ask(&mut self, end: &End, method: Method, attributes: Attributes<'_>) -> Vec<u8> {
        let bytes = signed(request(method, attributes), end);
        self.answer(end.client, &bytes)
    }

    fn answer(&mut self, client: Client, bytes: &[u8]) -> Vec<u8> {
        let out = self.hand(client, bytes);
        match <[Output; 1]>::try_from(out) {
            Ok([Output::Client(to, answer)]) if to == client => answer,
            other => panic!("{other:?}"),
        }
    }

    /// An end with an allocation, and its relayed address.
    fn allocated(&mut self, port: u16, room: u8) -> (End, SocketAddr) {
        let end = self.end(port, room);
        let relayed = relayed(&self.ask(&end, ALLOCATE, &[&udp()]));
        (end, relayed.expect("an allocation"))
    }

    fn permit(&mut self, end: &End, peer: SocketAddr) -> Option<u16> {
        refused(&self.ask_about(end, CREATE_PERMISSION, peer, None))
    }

    fn bind(&mut self, end: &End, number: u16, peer: SocketAddr) -> Option<u16> {
        refused(&self.ask_about(end, CHANNEL_BIND, peer, Some(number)))
    }

    fn ask_about(
        &mut self,
        end: &End,
        method: Method,
        peer: SocketAddr,
        number: Option<u16>,
    ) -> Vec<u8> {
        let mut message = MessageWriteVec::new();
        let transaction = TransactionId::generate();
        let kind = MessageType::from_class_method(MessageClass::Request, method);
        message = Message::builder(kind, transaction, message);
        add(&mut message, &XorPeerAddress::new(peer, transaction));
        if let Some(number) = number {
            add(&mut message, &ChannelNumber::new(number));
        }
        let bytes = signed(message, end);
        self.answer(end.client, &bytes)
    }

    /// Sends data by a Send indication.
    fn send(&mut self, end: &End, peer: SocketAddr, data: &[u8]) -> Vec<Output> {
        let transaction = TransactionId::generate();
        let kind = MessageType::from_class_method(MessageClass::Indication, SEND);
        let mut message = Message::builder(kind, transaction, MessageWriteVec::new());
        add(&mut message, &XorPeerAddress::new(peer, transaction));
        add(&mut message, &Data::new(data));
        self.hand(end.client, &message.finish())
    }

    /// Two ends of one room that may send to one another.
    fn pair(&mut self) -> [(End, SocketAddr); 2] {
        let ends = [self.allocated(1, 1), self.allocated(2, 1)];
        assert_eq!(self.permit(&ends[0].0, ends[1].1), None);
        assert_eq!(self.permit(&ends[1].0, ends[0].1), None);
        ends
    }
}

type Attributes<'a> = &'a [&'a dyn turn_types::stun::attribute::AttributeWrite];

fn client(port: u16) -> Client {
    let at = "198.51.100.1:9477".parse().unwrap();
    Client::Datagrams { from: SocketAddr::from(([192, 0, 2, 1], port)), at }
}

fn udp() -> RequestedTransport {
    RequestedTransport::new(UDP)
}

fn request(method: Method, attributes: Attributes<'_>) -> MessageWriteVec {
    let mut message = Message::builder_request(method, MessageWriteVec::new());
    attributes.iter().for_each(|attribute| add(&mut message, *attribute));
    message
}

fn signed(mut message: MessageWriteVec, end: &End) -> Vec<u8> {
    add(&mut message, &Username::new(&end.username).unwrap());
    add(&mut message, &Realm::new(REALM).unwrap());
    add(&mut message, &Nonce::new(&end.nonce).unwrap());
    let credentials =
        LongTermKeyCredentials::new(end.username.clone(), end.password.clone(), REALM.to_owned());
    let key = credentials.make_key(IntegrityAlgorithm::Sha1);
    message.add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1).unwrap();
    message.finish()
}

/// The code of an error; none when it is a success.
fn refused(answer: &[u8]) -> Option<u16> {
    let message = Message::from_bytes(answer).unwrap();
    message.attribute::<ErrorCode>().ok().map(|error| error.code())
}

fn nonce(answer: &[u8]) -> Option<String> {
    let message = Message::from_bytes(answer).unwrap();
    message.attribute::<Nonce>().ok().map(|nonce| nonce.nonce().to_owned())
}

fn relayed(answer: &[u8]) -> Option<SocketAddr> {
    let message = Message::from_bytes(answer).unwrap();
    let relayed = message.attribute::<turn_types::attribute::XorRelayedAddress>().ok()?;
    Some(relayed.addr(message.transaction_id()))
}

/// Who got which data from whom.
fn heard(out: &[Output]) -> Option<(Client, SocketAddr, Vec<u8>)> {
    let [Output::Client(to, bytes)] = out else { return None };
    let message = Message::from_bytes(bytes).ok()?;
    let peer = message.attribute::<XorPeerAddress>().ok()?.addr(message.transaction_id());
    Some((*to, peer, message.attribute::<Data<'_>>().ok()?.data().to_vec()))
}

// What it is for.

#[test]
fn two_ends_of_a_room_reach_each_other_by_indications_and_by_channels() {
    let mut world = World::new();
    let [(one, one_relayed), (other, other_relayed)] = world.pair();
    let out = world.send(&one, other_relayed, b"hello");
    assert_eq!(heard(&out), Some((other.client, one_relayed, b"hello".to_vec())));

    assert_eq!(world.bind(&one, 0x4001, other_relayed), None);
    assert_eq!(world.bind(&other, 0x4002, one_relayed), None);
    let out = world.hand(one.client, &[0x40, 1, 0, 2, b'h', b'i']);
    assert_eq!(out, [Output::Client(other.client, vec![0x40, 2, 0, 2, b'h', b'i'])]);
    assert_eq!(world.relay.counters().relayed_bytes, 7);
}

#[test]
fn the_answer_to_an_allocation_tells_both_addresses_and_a_repeated_request_the_same() {
    let mut world = World::new();
    let end = world.end(7, 1);
    let bytes = signed(request(ALLOCATE, &[&udp()]), &end);
    let first = world.answer(end.client, &bytes);
    let message = Message::from_bytes(&first).unwrap();
    let mapped = message.attribute::<XorMappedAddress>().unwrap();
    assert_eq!(mapped.addr(message.transaction_id()), "192.0.2.1:7".parse().unwrap());
    assert_eq!(message.attribute::<Lifetime>().unwrap().seconds(), 600);
    assert_eq!(relayed(&world.answer(end.client, &bytes)), relayed(&first));
    assert_eq!(refused(&world.ask(&end, ALLOCATE, &[&udp()])), Some(437));
    assert_eq!(world.ports.open.len(), 1);
}

#[test]
fn a_refresh_of_a_long_transfer_is_accepted_after_the_credential_has_expired() {
    let mut world = World::new();
    let [(one, _), (other, other_relayed)] = world.pair();
    for _ in 0..100 {
        world.pass(240);
        for end in [&one, &other] {
            let answer = world.ask(end, REFRESH, &[&Lifetime::new(600)]);
            if refused(&answer) == Some(438) {
                let end = End { nonce: nonce(&answer).unwrap(), ..end.clone() };
                assert_eq!(refused(&world.ask(&end, REFRESH, &[&Lifetime::new(600)])), None);
            }
        }
    }
    let one = End { nonce: world.end(3, 1).nonce, ..one };
    let nonces = [&one, &other].map(|end| nonce(&world.ask_plainly(end, REFRESH, &[])).unwrap());
    let one = End { nonce: nonces[0].clone(), ..one };
    let other = End { nonce: nonces[1].clone(), ..other };
    world.permit(&one, other_relayed);
    world.permit(&other, other_relayed);
    assert!(heard(&world.send(&one, other_relayed, b"still here")).is_some());
}

#[test]
fn what_is_not_refreshed_ends_and_gives_its_port_back() {
    let mut world = World::new();
    let [(one, _), (_, other_relayed)] = world.pair();
    world.pass(599);
    assert_eq!(world.ports.open.len(), 2);
    world.pass(2);
    assert!(world.ports.open.is_empty());
    assert_eq!(world.send(&one, other_relayed, b"late"), []);
}

#[test]
fn a_refresh_with_no_lifetime_ends_an_allocation() {
    let mut world = World::new();
    let (end, _) = world.allocated(1, 1);
    assert_eq!(refused(&world.ask(&end, REFRESH, &[&Lifetime::new(0)])), None);
    assert!(world.ports.open.is_empty());
    assert_eq!(refused(&world.ask(&end, REFRESH, &[&Lifetime::new(600)])), Some(437));
}

#[test]
fn a_stream_that_ends_takes_its_allocation_along() {
    let mut world = World::new();
    let (end, _) = world.allocated(1, 1);
    world.relay.disconnect(end.client, &mut world.ports);
    assert!(world.ports.open.is_empty());
    assert_eq!(world.relay.allocations(), 0);
}

// What it must not do.

/// Every kind of address that is not the other end of the room, in every spelling.
const NOBODY: &[&str] = &[
    "0.0.0.0",
    "8.8.8.8",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.1.2.3",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.251",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:198.51.100.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a9fe:a9fe",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:c0a8:1::1",
    "2a00:1450::1",
    "fc00::1",
    "fe80::1",
    "fe80::5efe:10.0.0.1",
    "ff02::fb",
];

#[test]
fn a_closed_relay_agrees_to_every_permission_and_sends_nothing_to_anybody() {
    assert!(NOBODY.len() >= 40);
    let mut world = World::new();
    let (v4, _) = world.allocated(1, 1);
    let v6 = world.end(2, 1);
    let family = RequestedAddressFamily::new(AddressFamily::IPV6);
    assert!(relayed(&world.ask(&v6, ALLOCATE, &[&udp(), &family])).is_some());
    for (index, address) in NOBODY.iter().enumerate() {
        let ip: IpAddr = address.parse().unwrap();
        let end = if ip.is_ipv4() { &v4 } else { &v6 };
        for port in [1, 9477, 50_500, 50_999] {
            let peer = SocketAddr::new(ip, port);
            assert_eq!(world.permit(end, peer), None, "{peer}");
            assert_eq!(world.send(end, peer, b"out"), [], "{peer}");
        }
        let number = 0x4000 + u16::try_from(index).unwrap();
        let peer = SocketAddr::new(ip, 53);
        assert_eq!(world.bind(end, number, peer), None, "{peer}");
        let [high, low] = number.to_be_bytes();
        assert_eq!(world.hand(end.client, &[high, low, 0, 1, 7]), [], "{peer}");
    }
    assert_eq!(world.relay.counters().relayed_packets, 0);
}

#[test]
fn an_open_relay_refuses_everything_that_is_not_a_public_host_in_both_directions() {
    let mut world = World::open();
    let (end, _) = world.allocated(1, 1);
    for address in NOBODY {
        let peer = SocketAddr::new(address.parse().unwrap(), 53);
        let is_public = *address == "8.8.8.8";
        let own = *address == "198.51.100.1"; // The relay's: permitted, but only to the room.
        let refusal = world.permit(&end, peer);
        assert_eq!(refusal.is_none(), is_public || own, "{peer}: {refusal:?}");
        let expected: &[_] = if is_public { &[peer] } else { &[] };
        let out = world.send(&end, peer, b"out");
        let sent: Vec<_> = out.iter().filter_map(destination).collect();
        assert_eq!(sent, expected, "{peer}");
        let mut out = Vec::new();
        world.relay.take_from_peer(end.client, peer, b"in", world.now, &mut world.ports, &mut out);
        assert_eq!(out.is_empty(), !is_public, "{peer}");
    }
}

fn destination(output: &Output) -> Option<SocketAddr> {
    match output {
        Output::Peer { peer, .. } => Some(*peer),
        Output::Client(..) => None,
    }
}

#[test]
fn nothing_passes_between_rooms_though_both_permit_it() {
    for mut world in [World::new(), World::open()] {
        let (one, one_relayed) = world.allocated(1, 1);
        let (other, other_relayed) = world.allocated(2, 2);
        world.permit(&one, other_relayed);
        world.permit(&other, one_relayed);
        assert_eq!(world.send(&one, other_relayed, b"hello"), []);
        assert_eq!(world.relay.counters().dropped_packets, 1);
    }
}

#[test]
fn nothing_passes_to_an_end_that_has_not_asked_for_it() {
    let mut world = World::new();
    let (one, one_relayed) = world.allocated(1, 1);
    let (other, other_relayed) = world.allocated(2, 1);
    assert_eq!(world.send(&one, other_relayed, b"too early"), []);
    world.permit(&one, other_relayed);
    assert_eq!(world.send(&one, other_relayed, b"too early"), []);
    world.permit(&other, one_relayed);
    assert!(heard(&world.send(&one, other_relayed, b"now")).is_some());
    world.now.instant += PERMISSION;
    assert_eq!(world.send(&one, other_relayed, b"too late"), []);
}

#[test]
fn a_credential_is_of_no_use_for_another_room_or_with_another_password() {
    let mut world = World::new();
    let one = world.end(1, 1);
    let other = world.end(2, 2);
    let swapped = End { username: other.username.clone(), ..one.clone() };
    assert_eq!(refused(&world.ask(&swapped, ALLOCATE, &[&udp()])), Some(401));
    let wrong = End { password: "guess".to_owned(), ..one.clone() };
    assert_eq!(refused(&world.ask(&wrong, ALLOCATE, &[&udp()])), Some(401));
    for made_up in ["", "bob", "99999999999:xyz", "99999999999:0102030405060708"] {
        let made_up = End { username: made_up.to_owned(), ..one.clone() };
        assert_eq!(refused(&world.ask(&made_up, ALLOCATE, &[&udp()])), Some(401));
    }
    assert!(world.ports.open.is_empty());
}

#[test]
fn an_allocation_answers_only_to_the_credential_that_made_it() {
    let mut world = World::new();
    let (one, _) = world.allocated(1, 1);
    let other = world.end(2, 2);
    let thief = End { client: one.client, nonce: one.nonce.clone(), ..other };
    assert_eq!(refused(&world.ask(&thief, REFRESH, &[&Lifetime::new(0)])), Some(441));
    assert_eq!(world.relay.allocations(), 1);
}

#[test]
fn an_expired_credential_opens_nothing() {
    let mut world = World::new();
    let end = world.end(1, 1);
    world.pass(601);
    assert_eq!(refused(&world.ask(&end, ALLOCATE, &[&udp()])), Some(401));
}

#[test]
fn an_old_nonce_is_answered_with_a_new_one_and_that_of_another_client_too() {
    let mut world = World::new();
    let one = world.end(1, 1);
    let other = End { client: client(2), ..one };
    let answer = world.ask(&other, ALLOCATE, &[&udp()]);
    assert_eq!(refused(&answer), Some(438));
    let other = End { nonce: nonce(&answer).unwrap(), ..other };
    assert_eq!(refused(&world.ask(&other, ALLOCATE, &[&udp()])), None);
}

#[test]
fn the_last_byte_of_a_room_ends_its_allocations() {
    let limits = RelayLimits { max_bytes_per_room: 10, ..RelayLimits::default() };
    let mut world = World::with(limits, None);
    let [(one, _), (_, other_relayed)] = world.pair();
    assert!(heard(&world.send(&one, other_relayed, b"0123456789")).is_some());
    assert_eq!(world.send(&one, other_relayed, b"1"), []);
    assert!(world.ports.open.is_empty());
    let again = world.end(3, 1);
    assert_eq!(refused(&world.ask(&again, ALLOCATE, &[&udp()])), Some(486));
}

#[test]
fn what_is_over_the_rate_of_a_room_is_lost_and_later_there_is_place_again() {
    let limits = RelayLimits { max_rate_per_room: 4_000, ..RelayLimits::default() };
    let mut world = World::with(limits, None);
    let [(one, _), (_, other_relayed)] = world.pair();
    let passed = |world: &mut World| {
        (0..10).filter(|_| !world.send(&one, other_relayed, &[0; 500]).is_empty()).count()
    };
    assert_eq!(passed(&mut world), 2);
    world.now.instant += Duration::from_secs(60);
    assert_eq!(passed(&mut world), 2);
}

#[test]
fn allocations_have_caps_for_a_room_and_for_all() {
    let limits =
        RelayLimits { max_allocations: 3, max_allocations_per_room: 2, ..RelayLimits::default() };
    let mut world = World::with(limits, None);
    let answers = [(1, 1), (2, 1), (3, 1), (4, 2), (5, 3)].map(|(port, room)| {
        let end = world.end(port, room);
        refused(&world.ask(&end, ALLOCATE, &[&udp()]))
    });
    assert_eq!(answers, [None, None, Some(486), None, Some(508)]);
}

#[test]
fn a_hundred_thousand_spoofed_requests_leave_nothing_behind_and_are_hardly_answered() {
    let mut world = World::new();
    let end = world.end(1, 1);
    let bytes = signed(request(ALLOCATE, &[&udp()]), &End { password: "x".to_owned(), ..end });
    let mut answered = 0;
    for number in 0..100_000_u32 {
        let [_, b, c, d] = number.to_be_bytes();
        let from = SocketAddr::from(([203, b, c, 1], u16::from(d) + 1));
        let client = Client::Datagrams { from, at: "198.51.100.1:1".parse().unwrap() };
        for output in world.hand(client, &bytes) {
            let Output::Client(_, answer) = output else { panic!("{output:?}") };
            assert!(answer.len() <= bytes.len(), "it amplifies");
            answered += 1;
        }
    }
    assert!(answered <= 391 * 100, "{answered}");
    assert_eq!((world.relay.allocations.len(), world.relay.rooms.len()), (0, 0));
    assert_eq!(world.relay.allocations.capacity(), 0);
}

#[test]
fn what_makes_no_sense_is_not_answered_or_refused() {
    let mut world = World::new();
    let (end, _) = world.allocated(1, 1);
    for bytes in [&b""[..], b"GET / HTTP/1.1", &[0; 20], &[0xff; 600], &[0x40, 0, 0xff, 0xff]] {
        assert_eq!(world.hand(end.client, bytes), []);
    }
    let tcp = RequestedTransport::new(6);
    let other = world.end(2, 1);
    assert_eq!(refused(&world.ask(&other, ALLOCATE, &[&tcp])), Some(442));
    assert_eq!(refused(&world.ask(&other, ALLOCATE, &[])), Some(400));
    assert_eq!(refused(&world.ask(&end, CREATE_PERMISSION, &[])), Some(400));
    let nobody = "192.0.2.5:1".parse().unwrap();
    assert_eq!(world.bind(&end, 0x3fff, nobody), Some(400));
    assert_eq!(world.bind(&end, 0x4001, "[2001:db8::5]:1".parse().unwrap()), Some(443));
    assert_eq!(world.bind(&end, 0x4001, nobody), None);
    assert_eq!(world.bind(&end, 0x4001, "192.0.2.5:2".parse().unwrap()), Some(400));
    assert_eq!(world.bind(&end, 0x4002, nobody), Some(400));
}
