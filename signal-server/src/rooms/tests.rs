//! The rules of the rooms, each as a test with virtual time. `tests::random` runs many clients
//! against them at once.

mod random;

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::protocol::{Body, MAX_TTL, MAX_UNACKNOWLEDGED, Nameplate, Token};

const TTL: u64 = 3600;

/// A server without sockets, in virtual time.
struct World {
    rooms: Rooms,
    now: Instant,
    connections: u64,
    seed: u64,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self { rooms: Rooms::new(limits), now: Instant::now(), connections: 0, seed: 1 }
    }

    fn connect(&mut self) -> ConnectionId {
        self.connect_from(1)
    }

    fn connect_from(&mut self, last: u8) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        self.rooms.connect(connection, IpAddr::from([192, 0, 2, last]).into());
        connection
    }

    /// What everybody is told after a request.
    fn ask(&mut self, connection: ConnectionId, request: Request) -> Vec<(ConnectionId, Reply)> {
        let random = self.random();
        self.rooms.handle(connection, request, self.now, &random);
        self.replies()
    }

    /// What the asker alone is told.
    fn ask_one(&mut self, connection: ConnectionId, request: Request) -> Reply {
        let [(to, reply)] = <[_; 1]>::try_from(self.ask(connection, request)).unwrap();
        assert_eq!(to, connection);
        reply
    }

    fn disconnect(&mut self, connection: ConnectionId) -> Vec<(ConnectionId, Reply)> {
        self.rooms.disconnect(connection, self.now);
        self.replies()
    }

    fn pass(&mut self, seconds: u64) -> Vec<(ConnectionId, Reply)> {
        self.now += Duration::from_secs(seconds);
        self.rooms.expire(self.now);
        self.replies()
    }

    fn replies(&mut self) -> Vec<(ConnectionId, Reply)> {
        std::iter::from_fn(|| self.rooms.poll_reply()).collect()
    }

    fn random(&mut self) -> Random {
        Random { room: self.bytes(), token: self.bytes(), other_token: self.bytes() }
    }

    fn bytes(&mut self) -> [u8; 16] {
        (u128::from(self.draw()) << 64 | u128::from(self.draw())).to_be_bytes()
    }

    /// A linear congruential generator (Knuth's MMIX constants), the low bits thrown away.
    fn draw(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 33
    }

    /// Opens a slot and returns its token.
    fn allocate(&mut self, sender: ConnectionId, slot: &RoomId, nameplate: u32) -> Token {
        match self.ask_one(sender, allocate(slot, nameplate)) {
            Reply::Allocated { token, .. } => token,
            other => panic!("{other:?}"),
        }
    }

    /// A sender and a receiver in a room for two.
    fn pair(&mut self) -> Pair {
        let (sender, receiver) = (self.connect(), self.connect());
        let slot_token = self.allocate(sender, &slot(1), 7);
        let replies = self.ask(receiver, claim(7));
        let [(_, Reply::Claimed { room, token: receiver_token, .. }), (_, paired)] = &replies[..]
        else {
            panic!("{replies:?}")
        };
        let Reply::Paired { token: sender_token, .. } = paired else { panic!("{paired:?}") };
        Pair {
            sender,
            receiver,
            room: room.clone(),
            slot_token,
            sender_token: sender_token.clone(),
            receiver_token: receiver_token.clone(),
        }
    }

    fn join(&mut self, role: Role) -> (ConnectionId, Token) {
        let connection = self.connect();
        let reply = self.ask(connection, join(role)).swap_remove(0);
        let (_, Reply::Joined { token, .. }) = reply else { panic!("{reply:?}") };
        (connection, token)
    }
}

struct Pair {
    sender: ConnectionId,
    receiver: ConnectionId,
    room: RoomId,
    slot_token: Token,
    sender_token: Token,
    receiver_token: Token,
}

fn slot(number: u8) -> RoomId {
    RoomId::from_128_bits([number; 16])
}

fn meeting_point() -> RoomId {
    RoomId::from_256_bits([9; 32])
}

fn body(text: &str) -> Body {
    Body::new(text.as_bytes().to_vec()).unwrap()
}

fn allocate(slot: &RoomId, nameplate: u32) -> Request {
    Request::Allocate {
        room: slot.clone(),
        nameplate: Nameplate::number(nameplate),
        ttl: TTL,
        claims: 1,
        body: body("hello"),
    }
}

fn claim(nameplate: u32) -> Request {
    Request::Claim { nameplate: Nameplate::number(nameplate) }
}

fn join(role: Role) -> Request {
    Request::Join { room: meeting_point(), role }
}

fn send(room: &RoomId, number: u64, text: &str) -> Request {
    Request::Send { room: room.clone(), number, body: body(text) }
}

fn ack(room: &RoomId, number: u64) -> Request {
    Request::Ack { room: room.clone(), number }
}

fn leave(room: &RoomId) -> Request {
    Request::Leave { room: room.clone() }
}

fn rejoin(room: &RoomId, token: &Token, received: u64) -> Request {
    Request::Rejoin { room: room.clone(), token: token.clone(), received }
}

fn message(room: &RoomId, number: u64, text: &str) -> Reply {
    Reply::Message { room: room.clone(), number, body: body(text) }
}

fn peer(room: &RoomId, presence: Presence) -> Reply {
    Reply::Peer { room: room.clone(), presence }
}

fn rejoined(room: &RoomId, received: u64) -> Reply {
    Reply::Rejoined { room: room.clone(), received }
}

fn refused(room: &RoomId, reason: Refusal) -> Reply {
    Reply::Refused { room: Some(room.clone()), reason }
}

fn no_such_code() -> Reply {
    Reply::Refused { room: None, reason: Refusal::NoSuchCode }
}

// Slots.

#[test]
fn a_slot_is_opened_with_the_nameplate_that_was_asked_for_and_a_bounded_life() {
    let mut world = World::new();
    let sender = world.connect();
    let wished = world.ask_one(sender, allocate(&slot(1), 4711));
    assert!(matches!(wished, Reply::Allocated { room, nameplate, ttl: TTL, .. }
        if room == slot(1) && nameplate.as_str() == "4711"));
    let any = Request::Allocate {
        room: slot(2),
        nameplate: Nameplate::lan(5),
        ttl: MAX_TTL + 1,
        claims: 1,
        body: body(""),
    };
    let given = world.ask_one(sender, any);
    assert!(matches!(given, Reply::Allocated { nameplate, ttl: MAX_TTL, .. }
        if nameplate.as_str() == "lan5"));
}

#[test]
fn what_version_1_cannot_do_is_a_bad_message() {
    let mut world = World::new();
    let sender = world.connect();
    for (room, ttl, claims) in [(slot(1), 0, 1), (slot(1), 1, 2), (meeting_point(), 1, 1)] {
        let (nameplate, body) = (Nameplate::number(7), body(""));
        let request = Request::Allocate { room: room.clone(), nameplate, ttl, claims, body };
        assert_eq!(world.ask_one(sender, request), refused(&room, Refusal::BadMessage));
    }
    let short = Request::Join { room: slot(1), role: Role::Sender };
    assert_eq!(world.ask_one(sender, short), refused(&slot(1), Refusal::BadMessage));
    assert_eq!(world.rooms.count(), 0);
}

#[test]
fn a_nameplate_is_refused_while_it_is_live_and_while_it_rests() {
    let mut world = World::new();
    let sender = world.connect();
    world.allocate(sender, &slot(1), 7);
    let taken = refused(&slot(2), Refusal::NameplateTaken);
    assert_eq!(world.ask_one(sender, allocate(&slot(2), 7)), taken);
    world.ask(sender, leave(&slot(1)));
    assert_eq!(world.ask_one(sender, allocate(&slot(2), 7)), taken);
    world.pass(3600);
    world.allocate(sender, &slot(2), 7);
}

#[test]
fn the_name_of_a_slot_is_used_once_even_after_it_was_claimed() {
    let mut world = World::new();
    let pair = world.pair();
    let again = world.ask_one(pair.sender, allocate(&slot(1), 8));
    assert_eq!(again, refused(&slot(1), Refusal::PlaceTaken));
    let in_room = world.ask_one(pair.sender, allocate(&pair.room, 8));
    assert_eq!(in_room, refused(&pair.room, Refusal::PlaceTaken));
}

#[test]
fn a_claim_pairs_the_two_and_hands_over_the_first_message() {
    let mut world = World::new();
    let (sender, receiver) = (world.connect(), world.connect());
    world.allocate(sender, &slot(1), 7);
    let replies = world.ask(receiver, claim(7));
    let [(first, claimed), (second, paired)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!((*first, *second), (receiver, sender));
    let Reply::Claimed { nameplate, slot: of, room, body: first_message, ice_servers, .. } =
        claimed
    else {
        panic!("{claimed:?}")
    };
    assert_eq!((nameplate.as_str(), of), ("7", &slot(1)));
    assert_eq!(*first_message, body("hello"));
    assert!(ice_servers.is_empty() && !room.is_256_bits());
    assert!(matches!(paired, Reply::Paired { slot: of, room: same, .. }
        if *of == slot(1) && same == room));
}

#[test]
fn a_second_claim_an_expired_and_an_unknown_code_get_the_same_answer() {
    let mut world = World::new();
    let (sender, receiver) = (world.connect(), world.connect());
    world.allocate(sender, &slot(1), 1);
    world.allocate(sender, &slot(2), 2);
    world.ask(receiver, claim(1));
    world.pass(TTL);
    for nameplate in [1, 2, 3] {
        assert_eq!(world.ask_one(receiver, claim(nameplate)), no_such_code(), "{nameplate}");
    }
}

#[test]
fn the_time_of_a_slot_is_over_at_its_deadline_even_when_nobody_looked() {
    let mut world = World::new();
    let (sender, receiver) = (world.connect(), world.connect());
    world.allocate(sender, &slot(1), 7);
    world.now += Duration::from_secs(TTL);
    let replies = world.ask(receiver, claim(7));
    let expired = Reply::Expired { room: slot(1) };
    assert_eq!(replies, [(sender, expired), (receiver, no_such_code())]);
}

#[test]
fn a_slot_expires_and_its_sender_is_told() {
    let mut world = World::new();
    let sender = world.connect();
    let token = world.allocate(sender, &slot(1), 7);
    assert_eq!(world.rooms.next_deadline(), Some(world.now + Duration::from_secs(TTL)));
    assert_eq!(world.pass(TTL - 1), []);
    assert_eq!(world.pass(1), [(sender, Reply::Expired { room: slot(1) })]);
    let back = world.ask_one(sender, rejoin(&slot(1), &token, 0));
    assert_eq!(back, refused(&slot(1), Refusal::NoSuchRoom));
    assert_eq!((world.rooms.count(), world.rooms.next_deadline()), (0, None));
}

#[test]
fn a_slot_waits_two_minutes_for_its_sender_to_come_back() {
    let mut world = World::new();
    let sender = world.connect();
    let token = world.allocate(sender, &slot(1), 7);
    world.disconnect(sender);
    world.pass(119);
    let sender = world.connect();
    assert_eq!(world.ask_one(sender, rejoin(&slot(1), &token, 0)), rejoined(&slot(1), 0));
    assert_eq!(world.pass(1000), []);
    world.disconnect(sender);
    world.pass(120);
    assert_eq!(world.rooms.count(), 0);
    let late = world.connect();
    assert_eq!(world.ask_one(late, claim(7)), no_such_code());
}

#[test]
fn coming_back_does_not_make_a_slot_live_longer() {
    let mut world = World::new();
    let sender = world.connect();
    let token = world.allocate(sender, &slot(1), 7);
    world.pass(TTL - 1);
    world.disconnect(sender);
    let sender = world.connect();
    world.ask(sender, rejoin(&slot(1), &token, 0));
    assert_eq!(world.pass(1), [(sender, Reply::Expired { room: slot(1) })]);
}

#[test]
fn a_sender_that_is_away_does_not_make_a_slot_live_longer() {
    let mut world = World::new();
    let sender = world.connect();
    world.allocate(sender, &slot(1), 7);
    world.pass(TTL - 10);
    world.disconnect(sender);
    world.pass(10);
    assert_eq!(world.rooms.count(), 0);
}

#[test]
fn the_end_of_a_replaced_socket_does_not_make_a_slot_look_abandoned() {
    let mut world = World::new();
    let dead = world.connect();
    let token = world.allocate(dead, &slot(1), 7);
    let sender = world.connect();
    world.ask(sender, rejoin(&slot(1), &token, 0));
    world.disconnect(dead);
    world.pass(TTL - 1);
    let receiver = world.connect();
    let replies = world.ask(receiver, claim(7));
    assert!(matches!(replies[1], (to, Reply::Paired { .. }) if to == sender));
}

#[test]
fn a_slot_can_be_claimed_while_its_sender_is_away_and_the_sender_learns_it_on_return() {
    let mut world = World::new();
    let (sender, receiver) = (world.connect(), world.connect());
    let slot_token = world.allocate(sender, &slot(1), 7);
    world.disconnect(sender);
    let replies = world.ask(receiver, claim(7));
    let [(_, Reply::Claimed { room, .. }), gone] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!(*gone, (receiver, peer(room, Presence::Gone)));
    world.ask(receiver, send(room, 1, "first"));

    let sender = world.connect();
    let replies = world.ask(sender, rejoin(&slot(1), &slot_token, 0));
    let [(_, Reply::Paired { slot: of, room: same, token, .. }), rest @ ..] = &replies[..] else {
        panic!("{replies:?}")
    };
    assert_eq!((of, same), (&slot(1), room));
    let expected = [
        (sender, message(room, 1, "first")),
        (sender, peer(room, Presence::Here)),
        (receiver, peer(room, Presence::Here)),
    ];
    assert_eq!(rest, expected);
    world.disconnect(sender);
    let sender = world.connect();
    let back = world.ask(sender, rejoin(room, token, 1));
    assert_eq!(back[0], (sender, rejoined(room, 0)));
}

#[test]
fn a_paired_that_was_lost_with_its_socket_can_be_had_again() {
    let mut world = World::new();
    let pair = world.pair();
    let sender = world.connect();
    let replies = world.ask(sender, rejoin(&slot(1), &pair.slot_token, 0));
    let [(_, Reply::Paired { room, token, .. }), (_, here)] = &replies[..] else {
        panic!("{replies:?}")
    };
    assert_eq!((room, token), (&pair.room, &pair.sender_token));
    assert_eq!(*here, peer(room, Presence::Here));
    let stranger = rejoin(&slot(1), &pair.receiver_token, 0);
    assert_eq!(world.ask_one(sender, stranger), refused(&slot(1), Refusal::NoSuchRoom));
}

#[test]
fn a_leave_that_crossed_a_claim_leaves_the_room() {
    let mut world = World::new();
    let pair = world.pair();
    let replies = world.ask(pair.sender, leave(&slot(1)));
    assert_eq!(replies, [(pair.receiver, peer(&pair.room, Presence::Left))]);
    let back = world.ask_one(pair.sender, rejoin(&slot(1), &pair.slot_token, 0));
    assert_eq!(back, refused(&slot(1), Refusal::NoSuchRoom));
}

#[test]
fn nobody_sits_at_both_ends() {
    let mut world = World::new();
    let sender = world.connect();
    world.allocate(sender, &slot(1), 7);
    let own = Reply::Refused { room: None, reason: Refusal::BadMessage };
    assert_eq!(world.ask_one(sender, claim(7)), own);
    let receiver = world.connect();
    assert!(matches!(world.ask(receiver, claim(7))[0].1, Reply::Claimed { .. }));
    world.join(Role::Sender);
    world.ask(receiver, join(Role::Receiver));
    let both = world.ask_one(receiver, join(Role::Sender));
    assert_eq!(both, refused(&meeting_point(), Refusal::BadMessage));
}

// Messages.

#[test]
fn messages_go_both_ways_at_once() {
    let mut world = World::new();
    let Pair { sender, receiver, room, .. } = world.pair();
    let there = world.ask(sender, send(&room, 1, "ping"));
    assert_eq!(there, [(receiver, message(&room, 1, "ping"))]);
    let back = world.ask(receiver, send(&room, 1, "pong"));
    assert_eq!(back, [(sender, message(&room, 1, "pong"))]);
}

#[test]
fn a_duplicate_is_ignored_and_a_gap_is_refused() {
    let mut world = World::new();
    let Pair { sender, room, .. } = world.pair();
    world.ask(sender, send(&room, 1, "one"));
    assert_eq!(world.ask(sender, send(&room, 1, "another")), []);
    assert_eq!(world.ask_one(sender, send(&room, 3, "three")), refused(&room, Refusal::Gap));
}

#[test]
fn too_much_waiting_is_refused_until_it_is_acknowledged() {
    let mut world = World::new();
    let Pair { sender, receiver, room, .. } = world.pair();
    let many = MAX_UNACKNOWLEDGED as u64;
    for number in 1..=many {
        world.ask(sender, send(&room, number, ""));
    }
    let full = refused(&room, Refusal::TooMuchWaiting);
    assert_eq!(world.ask_one(sender, send(&room, many + 1, "")), full);
    assert_eq!(world.ask(receiver, ack(&room, 1)), []);
    assert_eq!(world.ask(sender, send(&room, many + 1, "")).len(), 1);
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_is_a_bad_message() {
    let mut world = World::new();
    let Pair { sender, receiver, room, receiver_token, .. } = world.pair();
    world.ask(sender, send(&room, 1, "one"));
    let bad = refused(&room, Refusal::BadMessage);
    assert_eq!(world.ask_one(receiver, ack(&room, 2)), bad);
    assert_eq!(world.ask_one(receiver, rejoin(&room, &receiver_token, 2)), bad);
}

#[test]
fn a_stranger_can_do_nothing_in_a_room() {
    let mut world = World::new();
    let Pair { room, .. } = world.pair();
    let stranger = world.connect();
    let wrong = Token::new([0; 16]);
    let attempts = [
        send(&room, 1, ""),
        ack(&room, 0),
        leave(&room),
        rejoin(&room, &wrong, 0),
        leave(&slot(1)),
    ];
    for request in attempts {
        let named = named_room(&request).unwrap().clone();
        assert_eq!(world.ask_one(stranger, request), refused(&named, Refusal::NoSuchRoom));
    }
}

#[test]
fn a_wrong_token_and_no_room_get_the_same_answer() {
    let mut world = World::new();
    let pair = world.pair();
    world.allocate(pair.sender, &slot(2), 8);
    let stranger = world.connect();
    for room in [pair.room, slot(1), slot(2), slot(3), meeting_point()] {
        let answer = world.ask_one(stranger, rejoin(&room, &Token::new([0; 16]), 0));
        assert_eq!(answer, refused(&room, Refusal::NoSuchRoom));
    }
}

// Coming back.

#[test]
fn a_lost_socket_is_told_and_what_was_missed_is_delivered_on_return() {
    let mut world = World::new();
    let Pair { sender, receiver, room, receiver_token, .. } = world.pair();
    world.ask(receiver, send(&room, 1, "up"));
    world.ask(sender, send(&room, 1, "one"));
    world.ask(sender, send(&room, 2, "two"));
    assert_eq!(world.disconnect(receiver), [(sender, peer(&room, Presence::Gone))]);
    assert_eq!(world.ask(sender, send(&room, 3, "three")), []);
    let receiver = world.connect();
    let replies = world.ask(receiver, rejoin(&room, &receiver_token, 1));
    let expected = [
        (receiver, rejoined(&room, 1)),
        (receiver, message(&room, 2, "two")),
        (receiver, message(&room, 3, "three")),
        (receiver, peer(&room, Presence::Here)),
        (sender, peer(&room, Presence::Here)),
    ];
    assert_eq!(replies, expected);
}

#[test]
fn who_comes_back_replaces_a_socket_that_only_seems_to_live() {
    let mut world = World::new();
    let Pair { sender: dead, receiver, room, sender_token, .. } = world.pair();
    let sender = world.connect();
    let replies = world.ask(sender, rejoin(&room, &sender_token, 0));
    let here = (sender, peer(&room, Presence::Here));
    assert_eq!(replies, [(sender, rejoined(&room, 0)), here]);
    assert!(world.rooms.visitors[&dead].places.is_empty());
    assert_eq!(world.ask_one(dead, send(&room, 1, "")), refused(&room, Refusal::NoSuchRoom));
    assert_eq!(world.disconnect(dead), []);
    let up = world.ask(receiver, send(&room, 1, "up"));
    assert_eq!(up, [(sender, message(&room, 1, "up"))]);
}

#[test]
fn a_room_lives_while_one_socket_does_and_two_minutes_longer() {
    let mut world = World::new();
    let Pair { sender, receiver, room, sender_token, receiver_token, .. } = world.pair();
    world.disconnect(receiver);
    world.pass(MAX_TTL * 2);
    let receiver = world.connect();
    let replies = world.ask(receiver, rejoin(&room, &receiver_token, 0));
    assert_eq!(replies[0].1, rejoined(&room, 0));
    world.disconnect(receiver);
    world.disconnect(sender);
    world.pass(119);
    let sender = world.connect();
    let replies = world.ask(sender, rejoin(&room, &sender_token, 0));
    assert_eq!(replies[1].1, peer(&room, Presence::Gone));
    world.disconnect(sender);
    world.pass(120);
    assert_eq!(world.rooms.count(), 0);
}

#[test]
fn two_that_lost_their_sockets_find_each_other_again() {
    let mut world = World::new();
    let Pair { sender, receiver, room, sender_token, receiver_token, .. } = world.pair();
    world.disconnect(sender);
    world.disconnect(receiver);
    let (sender, receiver) = (world.connect(), world.connect());
    let alone = world.ask(sender, rejoin(&room, &sender_token, 0));
    assert_eq!(alone[1..], [(sender, peer(&room, Presence::Gone))]);
    let together = world.ask(receiver, rejoin(&room, &receiver_token, 0));
    let here = peer(&room, Presence::Here);
    assert_eq!(together[1..], [(receiver, here.clone()), (sender, here)]);
    world.pass(MAX_TTL);
    assert_eq!(world.rooms.count(), 1);
}

// Leaving.

#[test]
fn the_peer_is_told_of_a_leave_and_the_place_is_gone() {
    let mut world = World::new();
    let Pair { sender, receiver, room, sender_token, .. } = world.pair();
    let replies = world.ask(sender, leave(&room));
    assert_eq!(replies, [(receiver, peer(&room, Presence::Left))]);
    let no_room = refused(&room, Refusal::NoSuchRoom);
    assert_eq!(world.ask_one(sender, leave(&room)), no_room);
    assert_eq!(world.ask_one(sender, rejoin(&room, &sender_token, 0)), no_room);
    for number in 1..=MAX_UNACKNOWLEDGED as u64 + 1 {
        assert_eq!(world.ask(receiver, send(&room, number, "to nobody")), []);
    }
    assert_eq!(world.ask(receiver, leave(&room)), []);
    assert_eq!(world.rooms.count(), 0);
}

#[test]
fn the_last_words_of_who_left_wait_for_a_peer_that_is_away() {
    let mut world = World::new();
    let Pair { sender, receiver, room, receiver_token, .. } = world.pair();
    world.disconnect(receiver);
    world.ask(sender, send(&room, 1, "cancelled"));
    world.ask(sender, leave(&room));
    world.pass(119);
    let receiver = world.connect();
    let replies = world.ask(receiver, rejoin(&room, &receiver_token, 0));
    let told: Vec<_> = replies.into_iter().map(|(_, reply)| reply).collect();
    let left = peer(&room, Presence::Left);
    assert_eq!(told, [rejoined(&room, 0), message(&room, 1, "cancelled"), left]);
}

#[test]
fn a_room_that_was_left_does_not_wait_longer_than_the_grace_for_the_other() {
    let mut world = World::new();
    let Pair { sender, receiver, room, .. } = world.pair();
    world.disconnect(receiver);
    world.ask(sender, leave(&room));
    world.pass(120);
    assert_eq!(world.rooms.count(), 0);
}

// Rooms that exist by being joined.

#[test]
fn two_that_know_a_name_meet_and_what_the_first_said_waits() {
    let mut world = World::new();
    let room = meeting_point();
    let (sender, _) = world.join(Role::Sender);
    world.ask(sender, send(&room, 1, "early"));
    let receiver = world.connect();
    let replies = world.ask(receiver, join(Role::Receiver));
    let here = peer(&room, Presence::Here);
    assert!(matches!(replies[0], (to, Reply::Joined { .. }) if to == receiver));
    let servers = Reply::IceServers { room: room.clone(), ice_servers: Vec::new() };
    let rest = [
        (receiver, message(&room, 1, "early")),
        (receiver, servers.clone()),
        (receiver, here.clone()),
        (sender, servers),
        (sender, here),
    ];
    assert_eq!(replies[1..], rest);
}

#[test]
fn what_was_said_by_who_is_away_waits_for_the_other_to_join_and_then_the_room_lives() {
    let mut world = World::new();
    let room = meeting_point();
    let (sender, _) = world.join(Role::Sender);
    world.ask(sender, send(&room, 1, "early"));
    world.disconnect(sender);
    world.pass(119);
    let receiver = world.connect();
    let replies = world.ask(receiver, join(Role::Receiver));
    assert_eq!(replies[1..], [(receiver, message(&room, 1, "early"))]);
    world.pass(MAX_TTL);
    assert_eq!(world.rooms.count(), 1);
}

#[test]
fn a_place_with_a_living_socket_is_not_given_to_another() {
    let mut world = World::new();
    world.join(Role::Sender);
    let other = world.connect();
    let taken = refused(&meeting_point(), Refusal::PlaceTaken);
    assert_eq!(world.ask_one(other, join(Role::Sender)), taken);
}

#[test]
fn a_joined_place_is_taken_up_again_like_any_other() {
    let mut world = World::new();
    let room = meeting_point();
    let (sender, token) = world.join(Role::Sender);
    let (receiver, _) = world.join(Role::Receiver);
    world.disconnect(sender);
    world.ask(receiver, send(&room, 1, "still there?"));
    let sender = world.connect();
    let replies = world.ask(sender, rejoin(&room, &token, 0));
    assert_eq!(replies[1], (sender, message(&room, 1, "still there?")));
}

#[test]
fn who_joins_anew_ends_the_old_conversation_and_the_other_joins_again() {
    let mut world = World::new();
    let room = meeting_point();
    let (sender, old_token) = world.join(Role::Sender);
    let (receiver, _) = world.join(Role::Receiver);
    world.ask(sender, send(&room, 1, "old"));
    world.disconnect(sender);
    let sender = world.connect();
    let replies = world.ask(sender, join(Role::Sender));
    assert_eq!(replies[0], (receiver, peer(&room, Presence::Left)));
    assert!(matches!(replies[1], (to, Reply::Joined { .. }) if to == sender));
    assert_eq!(replies.len(), 2);

    let no_room = refused(&room, Refusal::NoSuchRoom);
    assert_eq!(world.ask_one(receiver, send(&room, 1, "meant for the old")), no_room);
    let old = world.connect();
    assert_eq!(world.ask_one(old, rejoin(&room, &old_token, 0)), no_room);
    world.ask(sender, send(&room, 1, "new"));
    let replies = world.ask(receiver, join(Role::Receiver));
    assert_eq!(replies[1], (receiver, message(&room, 1, "new")));
}

#[test]
fn after_a_leave_a_newcomer_does_not_meet_what_was_said_before() {
    let mut world = World::new();
    let room = meeting_point();
    let (sender, _) = world.join(Role::Sender);
    let (receiver, _) = world.join(Role::Receiver);
    world.ask(sender, send(&room, 1, "old"));
    world.ask(sender, leave(&room));
    let replies = world.ask(receiver, join(Role::Receiver));
    assert!(matches!(&replies[..], [(_, Reply::Joined { .. })]), "{replies:?}");
    let sender = world.connect();
    let replies = world.ask(sender, join(Role::Sender));
    let messages = replies.iter().filter(|(_, reply)| matches!(reply, Reply::Message { .. }));
    assert_eq!(messages.count(), 0);
    assert!(replies.contains(&(sender, peer(&room, Presence::Here))));
}

// Caps.

#[test]
fn a_source_holds_so_many_places_and_no_more() {
    let mut world = World::with(Limits { max_rooms_per_source: 2, ..Limits::default() });
    let (here, there) = (world.connect_from(1), world.connect_from(2));
    world.allocate(here, &slot(1), 1);
    world.allocate(here, &slot(2), 2);
    let many = |room: &RoomId| refused(room, Refusal::TooManyRooms);
    assert_eq!(world.ask_one(here, allocate(&slot(3), 3)), many(&slot(3)));
    assert_eq!(world.ask_one(here, join(Role::Sender)), many(&meeting_point()));
    let no_claim = Reply::Refused { room: None, reason: Refusal::TooManyRooms };
    for unknown_or_not in [1, 99] {
        let second = world.connect_from(1);
        assert_eq!(world.ask_one(second, claim(unknown_or_not)), no_claim);
    }
    world.allocate(there, &slot(4), 4);
    world.ask(here, leave(&slot(1)));
    world.allocate(here, &slot(3), 3);
}

#[test]
fn a_full_server_refuses_the_newcomer_and_keeps_who_waits() {
    let mut world = World::with(Limits { max_rooms: 2, ..Limits::default() });
    let (first, second) = (world.connect_from(1), world.connect_from(2));
    world.allocate(first, &slot(1), 1);
    world.ask(first, join(Role::Sender));
    assert_eq!(world.ask_one(second, allocate(&slot(2), 2)), refused(&slot(2), Refusal::Full));
    assert!(matches!(world.ask(second, join(Role::Receiver))[0].1, Reply::Joined { .. }));
    assert!(matches!(world.ask(second, claim(1))[0].1, Reply::Claimed { .. }));
    assert_eq!(world.rooms.count(), 2);
}
