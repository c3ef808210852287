//! Many clients that do anything at any time, over sockets that break at any time: what must hold
//! whatever happens.

use std::collections::HashMap;

use super::*;

const CLIENTS: usize = 12;
const STEPS: usize = 4_000;

/// A client that never forgets: what it sent, what it got, and how it comes back.
#[derive(Default)]
struct Client {
    socket: Option<ConnectionId>,
    /// What the server said and the client has not read; lost with the socket.
    unread: VecDeque<Reply>,
    asked: bool,
    slot: Option<(RoomId, Token)>,
    place: Option<Seated>,
}

struct Seated {
    room: RoomId,
    token: Token,
    role: Role,
    /// How many of its messages the server took.
    sent: u64,
    received: u64,
    peer_left: bool,
}

struct Fair {
    world: World,
    clients: Vec<Client>,
    /// Sockets that are dead and that the server still takes for living.
    dead: Vec<ConnectionId>,
    claims: HashMap<RoomId, u32>,
    met: usize,
    delivered: u64,
}

fn limits() -> Limits {
    Limits { max_rooms: 5, max_rooms_per_source: 3, ..Limits::default() }
}

/// What an end says under a number: wrong room, wrong end or wrong order would show.
fn text(room: &RoomId, role: Role, number: u64) -> String {
    format!("{} {role:?} {number}", room.as_str())
}

impl Fair {
    fn new(seed: u64) -> Self {
        let mut world = World::with(limits());
        world.seed = seed;
        let clients = (0..CLIENTS).map(|_| Client::default()).collect();
        Self { world, clients, dead: Vec::new(), claims: HashMap::new(), met: 0, delivered: 0 }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.world.draw().is_multiple_of(one_in)
    }

    fn step(&mut self) {
        let who = usize::try_from(self.world.draw()).unwrap() % CLIENTS;
        if self.clients[who].socket.is_none() {
            self.come_back(who);
        } else {
            match self.world.draw() % 16 {
                0 => self.break_socket(who),
                1..=5 => self.read(who),
                6 if self.chance(8) => self.leave(who),
                7 => self.acknowledge(who),
                _ if self.clients[who].place.is_some() => self.send(who),
                _ => self.begin(who),
            }
        }
        if self.chance(40) {
            let seconds = self.world.draw() % 90;
            let told = self.world.pass(seconds);
            self.hand_out(told);
        }
        self.check();
    }

    fn come_back(&mut self, who: usize) {
        // Which socket comes from where does not matter; that the places count, does.
        let source = u8::try_from(who % 4).unwrap();
        let socket = self.world.connect_from(source);
        let client = &mut self.clients[who];
        client.socket = Some(socket);
        let request = match (&client.place, &client.slot) {
            (Some(seat), _) => Some(rejoin(&seat.room, &seat.token, seat.received)),
            (None, Some((slot, token))) => Some(rejoin(slot, token, 0)),
            (None, None) => None,
        };
        if let Some(request) = request {
            self.ask(who, request);
        }
    }

    fn break_socket(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.unread.clear();
        client.asked = false;
        self.dead.extend(client.socket.take());
        if self.chance(2) {
            self.notice_dead_sockets();
        }
    }

    fn notice_dead_sockets(&mut self) {
        while let Some(socket) = self.dead.pop() {
            let told = self.world.disconnect(socket);
            self.hand_out(told);
        }
    }

    /// Opens or claims a slot, unless there is one or an answer is on its way.
    fn begin(&mut self, who: usize) {
        let client = &mut self.clients[who];
        if client.asked || client.slot.is_some() {
            return;
        }
        client.asked = true;
        let nameplate = 1 + u32::try_from(self.world.draw() % 200).unwrap();
        let waiting = self.clients.iter().filter(|client| client.slot.is_some()).count();
        if waiting < 2 {
            let slot = RoomId::from_128_bits(self.world.bytes());
            self.ask(who, allocate(&slot, nameplate));
        } else {
            let live: Vec<_> =
                self.world.rooms.slots.values().map(|s| s.nameplate.clone()).collect();
            let nameplate = live.into_iter().min().unwrap_or(Nameplate::number(nameplate));
            self.ask(who, Request::Claim { nameplate });
        }
    }

    fn send(&mut self, who: usize) {
        let Some(seat) = &self.clients[who].place else { return };
        let number = seat.sent + 1;
        let request = send(&seat.room, number, &text(&seat.room, seat.role, number));
        let before = self.clients[who].unread.len();
        self.ask(who, request);
        // The test sees at once what a client learns when it comes back.
        let refused = self.clients[who]
            .unread
            .range(before..)
            .any(|reply| matches!(reply, Reply::Refused { .. }));
        if let (false, Some(seat)) = (refused, &mut self.clients[who].place) {
            seat.sent = number;
        }
    }

    fn acknowledge(&mut self, who: usize) {
        if let Some(seat) = &self.clients[who].place {
            let request = ack(&seat.room, seat.received);
            self.ask(who, request);
        }
    }

    fn leave(&mut self, who: usize) {
        let client = &mut self.clients[who];
        let room = client.place.take().map(|seat| seat.room);
        if let Some(room) = room.or(client.slot.take().map(|(slot, _)| slot)) {
            client.slot = None;
            self.ask(who, leave(&room));
        }
    }

    fn ask(&mut self, who: usize, request: Request) {
        let Some(socket) = self.clients[who].socket else { return };
        let told = self.world.ask(socket, request);
        self.hand_out(told);
    }

    fn hand_out(&mut self, told: Vec<(ConnectionId, Reply)>) {
        for (to, reply) in told {
            if let Reply::Claimed { slot, .. } = &reply {
                *self.claims.entry(slot.clone()).or_default() += 1;
            }
            let client = self.clients.iter_mut().find(|client| client.socket == Some(to));
            match client {
                Some(client) => client.unread.push_back(reply),
                None => assert!(self.dead.contains(&to), "a reply to a socket that was closed"),
            }
        }
    }

    /// Reads everything that came.
    fn read(&mut self, who: usize) {
        while let Some(reply) = self.clients[who].unread.pop_front() {
            let client = &mut self.clients[who];
            match reply {
                Reply::Allocated { room, token, .. } => {
                    client.slot = Some((room, token));
                    client.asked = false;
                }
                Reply::Claimed { room, token, .. } => {
                    client.sit(room, token, Role::Receiver);
                    self.met += 1;
                }
                Reply::Paired { slot, room, token, .. } => {
                    if client.slot.as_ref().is_some_and(|(own, _)| *own == slot) {
                        client.sit(room, token, Role::Sender);
                    }
                }
                Reply::Rejoined { room, received } => client.returned(&room, received),
                Reply::Message { room, number, body } => {
                    self.delivered += u64::from(client.got(&room, number, &body));
                }
                Reply::Peer { room, presence: Presence::Left } => client.peer_left(&room),
                Reply::Expired { .. } => client.slot = None,
                Reply::Refused { reason, .. } => client.refused(reason),
                Reply::Peer { .. } => {}
                Reply::Joined { .. } | Reply::IceServers { .. } => panic!("nobody joined"),
            }
        }
        if self.clients[who].place.as_ref().is_some_and(|seat| seat.peer_left) {
            self.leave(who);
        }
    }

    fn check(&self) {
        let rooms = &self.world.rooms;
        assert!(rooms.count() <= limits().max_rooms);
        assert!(rooms.held.values().all(|held| (1..=limits().max_rooms_per_source).contains(held)));
        let seats = rooms.pairs.values().map(|room| {
            let ends = [Role::Sender, Role::Receiver];
            ends.iter().filter(|role| room.end(**role).seat().is_some()).count()
        });
        let places = rooms.slots.len() + seats.sum::<usize>();
        assert_eq!(rooms.held.values().sum::<usize>(), places);
        assert!(rooms.claimed.len() <= rooms.pairs.len());
        assert!(self.claims.values().all(|claims| *claims == 1));
        self.check_who_sits_where();
    }

    /// What a visitor is said to hold and who is said to hold it are the same.
    fn check_who_sits_where(&self) {
        let rooms = &self.world.rooms;
        let mut sitting = 0;
        for (connection, visitor) in &rooms.visitors {
            sitting += visitor.places.len();
            for id in &visitor.places {
                let waits = rooms.slots.get(id).is_some_and(|s| s.holder == Some(*connection));
                let talks = rooms.pairs.get(id).is_some_and(|r| r.role_of(*connection).is_some());
                assert!(waits || talks);
            }
        }
        let waiting = rooms.slots.values().filter(|slot| slot.holder.is_some()).count();
        let talking = rooms.pairs.values().map(|room| {
            let ends = [Role::Sender, Role::Receiver];
            ends.iter().filter(|role| room.end(**role).holder().is_some()).count()
        });
        assert_eq!(sitting, waiting + talking.sum::<usize>());
    }

    /// Everybody goes home: nothing may stay behind.
    fn end(&mut self) {
        for who in 0..CLIENTS {
            self.break_socket(who);
        }
        self.notice_dead_sockets();
        self.world.pass(120);
        let rooms = &self.world.rooms;
        assert_eq!((rooms.count(), rooms.claimed.len(), rooms.next_deadline()), (0, 0, None));
        assert!(rooms.held.is_empty() && rooms.visitors.is_empty() && rooms.replies.is_empty());
    }
}

impl Client {
    fn sit(&mut self, room: RoomId, token: Token, role: Role) {
        self.slot = None;
        self.asked = false;
        let (sent, received, peer_left) = (0, 0, false);
        self.place = Some(Seated { room, token, role, sent, received, peer_left });
    }

    fn returned(&self, room: &RoomId, received: u64) {
        if let Some(seat) = self.place.as_ref().filter(|seat| seat.room == *room) {
            assert!(received <= seat.sent, "the server has what was never sent");
        }
    }

    fn got(&mut self, room: &RoomId, number: u64, body: &Body) -> bool {
        let Some(seat) = self.place.as_mut().filter(|seat| seat.room == *room) else {
            return false; // it left; this was on the way
        };
        assert_eq!(number, seat.received + 1, "in order, and once");
        let expected = text(room, seat.role.peer(), number);
        assert_eq!(body.as_bytes(), expected.as_bytes());
        seat.received = number;
        true
    }

    fn peer_left(&mut self, room: &RoomId) {
        if let Some(seat) = self.place.as_mut().filter(|seat| seat.room == *room) {
            seat.peer_left = true;
        }
    }

    fn refused(&mut self, reason: Refusal) {
        match reason {
            Refusal::NoSuchRoom => {
                self.place = None;
                self.slot = None;
            }
            Refusal::Gap | Refusal::BadMessage | Refusal::PlaceTaken => panic!("{reason:?}"),
            _ => {}
        }
        self.asked = false;
    }
}

#[test]
fn whatever_clients_do_caps_hold_and_messages_arrive_once_and_in_order() {
    let (mut met, mut delivered) = (0, 0);
    for seed in 1..=20 {
        let mut fair = Fair::new(seed);
        for _ in 0..STEPS {
            fair.step();
        }
        fair.end();
        met += fair.met;
        delivered += fair.delivered;
    }
    // Otherwise the test would have tested nothing.
    assert!(met > 200 && delivered > 5_000, "{met} pairs, {delivered} messages");
}
