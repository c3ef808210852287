//! What the server knows: waiting slots, rooms for two, and who may do what in them.
//!
//! Pure: a request, the time and random bytes come in, replies are drained with
//! [`Rooms::poll_reply`]. No socket, no clock, no randomness of its own; `hub` brings those. This
//! file has the entrance, the bookkeeping and the end of things; `slots` the requests before two
//! ends met, `meeting` the ones in a room.
//!
//! The rules that the rest follows from:
//! - A slot is claimed once. Never-was, used and expired are the same to whoever asks.
//! - A place belongs to a token, not to a socket. A room lives while one of its sockets does and
//!   for a grace after the last one.
//! - A message is kept until the other end says that it arrived.
//! - Nothing that waits is dropped for a newcomer; the newcomer is refused.

mod deadlines;
mod mail;
mod meeting;
mod nameplates;
mod room;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use self::deadlines::Deadlines;
use self::nameplates::Nameplates;
use self::room::{Place, Room, Seat};
use self::slots::{ClaimedSlot, Slot};
use crate::limits::{Limits, Source};
use crate::protocol::{Presence, Refusal, Reply, Request, Role, RoomId};

/// One socket, from when it is accepted until it is closed. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Random bytes for one request: as many as any request needs.
pub(crate) struct Random {
    /// The name of a new room.
    pub(crate) room: [u8; 16],
    /// The token of whoever asks, or of the sender.
    pub(crate) token: [u8; 16],
    /// The token of the receiver.
    pub(crate) other_token: [u8; 16],
}

/// Every slot and room of a server.
pub(crate) struct Rooms {
    limits: Limits,
    slots: HashMap<RoomId, Slot>,
    /// Rooms for two, by whichever way they came about.
    pairs: HashMap<RoomId, Room>,
    /// Slots that were claimed, as long as their room lives: one entry for a room at the most.
    claimed: HashMap<RoomId, ClaimedSlot>,
    nameplates: Nameplates,
    deadlines: Deadlines,
    visitors: HashMap<ConnectionId, Visitor>,
    /// How many places each source holds.
    held: HashMap<Source, usize>,
    /// Emptied by the caller after each call.
    replies: VecDeque<(ConnectionId, Reply)>,
}

/// A living socket.
struct Visitor {
    source: Source,
    /// The slots and rooms in which it sits.
    places: BTreeSet<RoomId>,
}

/// Who asks, and when.
#[derive(Clone, Copy)]
struct Caller {
    id: ConnectionId,
    source: Source,
    now: Instant,
}

impl Rooms {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: HashMap::new(),
            pairs: HashMap::new(),
            claimed: HashMap::new(),
            nameplates: Nameplates::new(limits.quarantine),
            deadlines: Deadlines::default(),
            visitors: HashMap::new(),
            held: HashMap::new(),
            replies: VecDeque::new(),
        }
    }

    /// A socket opened.
    pub(crate) fn connect(&mut self, connection: ConnectionId, source: Source) {
        self.visitors.insert(connection, Visitor { source, places: BTreeSet::new() });
    }

    /// A socket closed: its places wait for it to come back.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId, now: Instant) {
        let Some(visitor) = self.visitors.remove(&connection) else { return };
        for place in &visitor.places {
            self.close_socket(connection, place, now);
        }
    }

    /// Carries a request out or refuses it.
    pub(crate) fn handle(
        &mut self,
        connection: ConnectionId,
        request: Request,
        now: Instant,
        random: &Random,
    ) {
        self.expire(now);
        let Some(visitor) = self.visitors.get(&connection) else { return };
        let caller = Caller { id: connection, source: visitor.source, now };
        let room = named_room(&request).cloned();
        if let Err(reason) = self.carry_out(caller, request, random) {
            self.reply(connection, Reply::Refused { room, reason });
        }
    }

    fn carry_out(
        &mut self,
        caller: Caller,
        request: Request,
        random: &Random,
    ) -> Result<(), Refusal> {
        match request {
            Request::Allocate { claims, .. } if claims != 1 => Err(Refusal::BadMessage),
            Request::Allocate { room, nameplate, ttl, body, claims: _ } => {
                self.allocate(caller, slots::Wanted { room, nameplate, ttl, body }, random)
            }
            Request::Claim { nameplate } => self.claim(caller, &nameplate, random),
            Request::Join { room, role } => self.join(caller, room, role, random),
            Request::Rejoin { room, token, received } => {
                self.rejoin(caller, &room, &token, received)
            }
            Request::Send { room, number, body } => self.send(caller, &room, number, body),
            Request::Ack { room, number } => self.acknowledge(caller, &room, number),
            Request::Leave { room } => self.leave(caller, &room),
        }
    }

    /// The next reply, in the order in which they were made.
    pub(crate) fn poll_reply(&mut self) -> Option<(ConnectionId, Reply)> {
        self.replies.pop_front()
    }

    /// When [`Rooms::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Ends the slots and rooms whose time has come.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(id) = self.deadlines.pop_due(now) {
            if let Some(holder) = self.slots.get(&id).and_then(|slot| slot.holder) {
                self.reply(holder, Reply::Expired { room: id.clone() });
            }
            self.close_slot(&id, now);
            self.drop_room(&id);
        }
    }

    /// How many slots and rooms there are.
    pub(crate) fn count(&self) -> usize {
        self.slots.len() + self.pairs.len()
    }

    fn reply(&mut self, to: ConnectionId, reply: Reply) {
        self.replies.push_back((to, reply));
    }

    fn tell_presence(&mut self, to: ConnectionId, room: &RoomId, presence: Presence) {
        self.reply(to, Reply::Peer { room: room.clone(), presence });
    }

    /// The hub adds the servers.
    fn tell_servers(&mut self, to: ConnectionId, room: &RoomId) {
        self.reply(to, Reply::IceServers { room: room.clone(), ice_servers: Vec::new() });
    }

    fn close_socket(&mut self, connection: ConnectionId, id: &RoomId, now: Instant) {
        let closing = now + self.limits.grace;
        if let Some(slot) = self.slots.get_mut(id) {
            slot.holder = None;
            self.deadlines.set(id, closing.min(slot.expires));
        }
        let Some(room) = self.pairs.get_mut(id) else { return };
        let Some(role) = room.role_of(connection) else { return };
        if let Some(seat) = room.end_mut(role).seat_mut() {
            seat.holder = None;
        }
        match room.end(role.peer()).holder() {
            Some(peer) => self.tell_presence(peer, id, Presence::Gone),
            None => self.deadlines.set(id, closing),
        }
    }

    /// Takes a slot away; its nameplate rests.
    fn close_slot(&mut self, id: &RoomId, now: Instant) -> Option<Slot> {
        let slot = self.slots.remove(id)?;
        self.nameplates.retire(&slot.nameplate, now);
        self.deadlines.cancel(id);
        self.release(slot.source);
        self.stand_up(slot.holder, id);
        Some(slot)
    }

    fn drop_room(&mut self, id: &RoomId) {
        let Some(mut room) = self.pairs.remove(id) else { return };
        self.deadlines.cancel(id);
        if let Some(slot) = &room.slot {
            self.claimed.remove(slot);
        }
        for role in [Role::Sender, Role::Receiver] {
            self.clear_place(&mut room, id, role);
        }
    }

    /// Takes somebody's place away for good.
    fn clear_place(&mut self, room: &mut Room, id: &RoomId, role: Role) {
        let place = std::mem::replace(&mut room.end_mut(role).place, Place::Left);
        if let Place::Held(seat) = place {
            self.release(seat.source);
            self.stand_up(seat.holder, id);
        }
    }

    /// Gives an end of a room to somebody.
    fn take_place(&mut self, room: &mut Room, id: &RoomId, role: Role, seat: Seat) {
        *self.held.entry(seat.source).or_default() += 1;
        self.sit_down(seat.holder, id);
        room.end_mut(role).place = Place::Held(seat);
    }

    fn sit_down(&mut self, connection: Option<ConnectionId>, id: &RoomId) {
        if let Some(visitor) = connection.and_then(|id| self.visitors.get_mut(&id)) {
            visitor.places.insert(id.clone());
        }
    }

    fn stand_up(&mut self, connection: Option<ConnectionId>, id: &RoomId) {
        if let Some(visitor) = connection.and_then(|id| self.visitors.get_mut(&id)) {
            visitor.places.remove(id);
        }
    }

    fn room_for_another(&self) -> Result<(), Refusal> {
        if self.count() < self.limits.max_rooms { Ok(()) } else { Err(Refusal::Full) }
    }

    fn place_for_another(&self, source: Source) -> Result<(), Refusal> {
        let held = self.held.get(&source).copied().unwrap_or(0);
        if held < self.limits.max_rooms_per_source { Ok(()) } else { Err(Refusal::TooManyRooms) }
    }

    fn release(&mut self, source: Source) {
        if let Some(held) = self.held.get_mut(&source) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&source);
            }
        }
    }
}

fn named_room(request: &Request) -> Option<&RoomId> {
    match request {
        Request::Claim { .. } => None,
        Request::Allocate { room, .. }
        | Request::Join { room, .. }
        | Request::Rejoin { room, .. }
        | Request::Send { room, .. }
        | Request::Ack { room, .. }
        | Request::Leave { room } => Some(room),
    }
}
