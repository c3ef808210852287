//! The requests of two ends that share a room: join it, talk, come back, leave.

use super::mail::Posted;
use super::room::{Place, Room, Seat};
use super::slots::paired;
use super::{Caller, Random, Rooms};
use crate::protocol::{Body, Presence, Refusal, Reply, Role, RoomId, Token};

impl Rooms {
    /// Enters a room that exists by being joined.
    ///
    /// Whoever joins knows nothing of what was said before, so a place that was somebody's is not
    /// handed on: the old room ends, the other end is told `Left` and joins again. That way the
    /// numbers of two conversations never mix.
    pub(super) fn join(
        &mut self,
        caller: Caller,
        id: RoomId,
        role: Role,
        random: &Random,
    ) -> Result<(), Refusal> {
        if !id.is_256_bits() {
            return Err(Refusal::BadMessage);
        }
        self.place_for_another(caller.source)?;
        match self.pairs.get(&id) {
            None => self.room_for_another()?,
            Some(room) => admits(room, caller, role)?,
        }
        self.end_conversation_of(&id, role);
        let mut room = self.pairs.remove(&id).unwrap_or_default();
        let token = Token::new(random.token);
        let seat = Seat { token: token.clone(), source: caller.source, holder: Some(caller.id) };
        self.take_place(&mut room, &id, role, seat);
        self.deadlines.cancel(&id);
        self.reply(caller.id, Reply::Joined { room: id.clone(), token });
        self.deliver_kept(caller, &id, &room, role);
        if let Some(peer) = room.end(role.peer()).holder() {
            for end in [caller.id, peer] {
                self.tell_servers(end, &id);
                self.tell_presence(end, &id, Presence::Here);
            }
        }
        self.pairs.insert(id, room);
        Ok(())
    }

    /// Ends a room in which this place was somebody's.
    fn end_conversation_of(&mut self, id: &RoomId, role: Role) {
        let Some(room) = self.pairs.get(id) else { return };
        if matches!(room.end(role).place, Place::Vacant) {
            return;
        }
        if let Some(peer) = room.end(role.peer()).holder() {
            self.tell_presence(peer, id, Presence::Left);
        }
        self.drop_room(id);
    }

    /// Takes a place up again.
    pub(super) fn rejoin(
        &mut self,
        caller: Caller,
        id: &RoomId,
        token: &Token,
        received: u64,
    ) -> Result<(), Refusal> {
        if self.slots.contains_key(id) {
            return self.rejoin_slot(caller, id, token);
        }
        if self.claimed.contains_key(id) {
            return self.rejoin_claimed_slot(caller, id, token);
        }
        let room = self.pairs.get_mut(id).ok_or(Refusal::NoSuchRoom)?;
        let role = room.role_with(token).ok_or(Refusal::NoSuchRoom)?;
        nobody_at_both_ends(room, caller, role)?;
        room.end_mut(role.peer()).mail.acknowledge(received)?;
        let answer = Reply::Rejoined { room: id.clone(), received: room.end(role).mail.sent() };
        self.return_to_place(caller, id, role, answer);
        Ok(())
    }

    /// The sender comes back to its slot and finds it claimed.
    fn rejoin_claimed_slot(
        &mut self,
        caller: Caller,
        slot: &RoomId,
        token: &Token,
    ) -> Result<(), Refusal> {
        let claimed = self.claimed.get(slot).ok_or(Refusal::NoSuchRoom)?;
        if claimed.token != *token {
            return Err(Refusal::NoSuchRoom);
        }
        let id = claimed.room.clone();
        let room = self.pairs.get(&id).ok_or(Refusal::NoSuchRoom)?;
        let seat = room.end(Role::Sender).seat().ok_or(Refusal::NoSuchRoom)?;
        nobody_at_both_ends(room, caller, Role::Sender)?;
        let answer = paired(slot, &id, &seat.token);
        self.return_to_place(caller, &id, Role::Sender, answer);
        Ok(())
    }

    /// Seats a connection at a place that is its own, answers, and hands over what waits.
    fn return_to_place(&mut self, caller: Caller, id: &RoomId, role: Role, answer: Reply) {
        let Some(mut room) = self.pairs.remove(id) else { return };
        let before = room.end_mut(role).seat_mut().and_then(|seat| seat.holder.replace(caller.id));
        self.stand_up(before, id);
        self.sit_down(Some(caller.id), id);
        self.deadlines.cancel(id);
        self.reply(caller.id, answer);
        self.deliver_kept(caller, id, &room, role);
        if id.is_256_bits() && room.end(role.peer()).holder().is_some() {
            self.tell_servers(caller.id, id);
        }
        self.tell_presence(caller.id, id, room.end(role.peer()).presence());
        if let (None, Some(peer)) = (before, room.end(role.peer()).holder()) {
            self.tell_presence(peer, id, Presence::Here);
        }
        self.pairs.insert(id.clone(), room);
    }

    fn deliver_kept(&mut self, caller: Caller, id: &RoomId, room: &Room, role: Role) {
        for (number, body) in room.end(role.peer()).mail.kept() {
            let message = Reply::Message { room: id.clone(), number, body: body.clone() };
            self.reply(caller.id, message);
        }
    }

    /// Takes a message for the other end.
    pub(super) fn send(
        &mut self,
        caller: Caller,
        id: &RoomId,
        number: u64,
        body: Body,
    ) -> Result<(), Refusal> {
        let room = self.pairs.get_mut(id).ok_or(Refusal::NoSuchRoom)?;
        let role = room.role_of(caller.id).ok_or(Refusal::NoSuchRoom)?;
        let posted = room.end_mut(role).mail.post(number, &body)?;
        if room.end(role.peer()).presence() == Presence::Left {
            room.end_mut(role).mail.discard();
        }
        if let (Posted::New, Some(peer)) = (posted, room.end(role.peer()).holder()) {
            self.reply(peer, Reply::Message { room: id.clone(), number, body });
        }
        Ok(())
    }

    /// Forgets what has arrived.
    pub(super) fn acknowledge(
        &mut self,
        caller: Caller,
        id: &RoomId,
        number: u64,
    ) -> Result<(), Refusal> {
        let room = self.pairs.get_mut(id).ok_or(Refusal::NoSuchRoom)?;
        let role = room.role_of(caller.id).ok_or(Refusal::NoSuchRoom)?;
        room.end_mut(role.peer()).mail.acknowledge(number)
    }

    /// Gives a slot or a place up.
    pub(super) fn leave(&mut self, caller: Caller, id: &RoomId) -> Result<(), Refusal> {
        if self.slots.get(id).is_some_and(|slot| slot.holder == Some(caller.id)) {
            self.close_slot(id, caller.now);
            return Ok(());
        }
        // A slot may be claimed while its sender's `Leave` is on the way: then it means the room.
        let id = self.claimed.get(id).map_or(id, |claimed| &claimed.room).clone();
        let room = self.pairs.get(&id).ok_or(Refusal::NoSuchRoom)?;
        let role = room.role_of(caller.id).ok_or(Refusal::NoSuchRoom)?;
        self.leave_room(caller, &id, role);
        Ok(())
    }

    fn leave_room(&mut self, caller: Caller, id: &RoomId, role: Role) {
        let Some(mut room) = self.pairs.remove(id) else { return };
        self.clear_place(&mut room, id, role);
        room.end_mut(role.peer()).mail.discard();
        let peer = room.end(role.peer());
        match (&peer.place, peer.holder()) {
            (Place::Held(_), Some(peer)) => self.tell_presence(peer, id, Presence::Left),
            (Place::Held(_), None) => self.deadlines.set(id, caller.now + self.limits.grace),
            // Put back only to be dropped with everything that belongs to it.
            (Place::Vacant | Place::Left, _) => {
                self.pairs.insert(id.clone(), room);
                return self.drop_room(id);
            }
        }
        self.pairs.insert(id.clone(), room);
    }
}

/// Whether somebody may join a room that is there.
fn admits(room: &Room, caller: Caller, role: Role) -> Result<(), Refusal> {
    nobody_at_both_ends(room, caller, role)?;
    match room.end(role).holder() {
        Some(holder) if holder != caller.id => Err(Refusal::PlaceTaken),
        _ => Ok(()),
    }
}

fn nobody_at_both_ends(room: &Room, caller: Caller, role: Role) -> Result<(), Refusal> {
    if room.role_of(caller.id) == Some(role.peer()) {
        return Err(Refusal::BadMessage);
    }
    Ok(())
}
