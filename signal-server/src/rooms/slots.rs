//! The requests before two ends met: a sender opens a slot, a receiver claims it.

use std::time::{Duration, Instant};

use super::room::{Room, Seat};
use super::{Caller, ConnectionId, Random, Rooms};
use crate::limits::Source;
use crate::protocol::{Body, MAX_TTL, Nameplate, Presence, Refusal, Reply, Role, RoomId, Token};

/// A sender that waits.
pub(super) struct Slot {
    pub(super) nameplate: Nameplate,
    pub(super) token: Token,
    pub(super) body: Body,
    pub(super) source: Source,
    /// The sender's socket, while there is one.
    pub(super) holder: Option<ConnectionId>,
    pub(super) expires: Instant,
}

/// What is left of a claimed slot: the way into the room for a sender whose `Paired` was lost
/// with its socket.
pub(super) struct ClaimedSlot {
    pub(super) token: Token,
    pub(super) room: RoomId,
}

/// The slot that a sender asks for.
pub(super) struct Wanted {
    pub(super) room: RoomId,
    pub(super) nameplate: Nameplate,
    pub(super) ttl: u64,
    pub(super) body: Body,
}

impl Rooms {
    pub(super) fn allocate(
        &mut self,
        caller: Caller,
        wanted: Wanted,
        random: &Random,
    ) -> Result<(), Refusal> {
        if wanted.room.is_256_bits() || wanted.ttl == 0 {
            return Err(Refusal::BadMessage);
        }
        if self.is_known(&wanted.room) {
            return Err(Refusal::PlaceTaken);
        }
        self.place_for_another(caller.source)?;
        self.room_for_another()?;
        let nameplate = wanted.nameplate;
        self.nameplates.check_free(&nameplate, caller.now)?;
        let ttl = wanted.ttl.min(MAX_TTL);
        let slot = Slot {
            nameplate,
            token: Token::new(random.token),
            body: wanted.body,
            source: caller.source,
            holder: Some(caller.id),
            expires: caller.now + Duration::from_secs(ttl),
        };
        self.open_slot(wanted.room, slot, ttl);
        Ok(())
    }

    fn is_known(&self, id: &RoomId) -> bool {
        self.slots.contains_key(id) || self.pairs.contains_key(id) || self.claimed.contains_key(id)
    }

    fn open_slot(&mut self, id: RoomId, slot: Slot, ttl: u64) {
        *self.held.entry(slot.source).or_default() += 1;
        self.sit_down(slot.holder, &id);
        self.nameplates.hang(slot.nameplate.clone(), id.clone());
        self.deadlines.set(&id, slot.expires);
        if let Some(holder) = slot.holder {
            let (room, nameplate, token) = (id.clone(), slot.nameplate.clone(), slot.token.clone());
            self.reply(holder, Reply::Allocated { room, nameplate, token, ttl });
        }
        self.slots.insert(id, slot);
    }

    pub(super) fn claim(
        &mut self,
        caller: Caller,
        nameplate: &Nameplate,
        random: &Random,
    ) -> Result<(), Refusal> {
        // Before the look-up, so that the answer does not depend on what is found.
        self.place_for_another(caller.source)?;
        let id = self.nameplates.slot(nameplate).cloned().ok_or(Refusal::NoSuchCode)?;
        if self.slots.get(&id).is_some_and(|slot| slot.holder == Some(caller.id)) {
            return Err(Refusal::BadMessage); // nobody sits at both ends
        }
        let slot = self.close_slot(&id, caller.now).ok_or(Refusal::NoSuchCode)?;
        self.pair(caller, id, slot, random);
        Ok(())
    }

    /// Makes the room for two and tells both.
    fn pair(&mut self, caller: Caller, slot_id: RoomId, slot: Slot, random: &Random) {
        let id = RoomId::from_128_bits(random.room);
        let sender =
            Seat { token: Token::new(random.token), source: slot.source, holder: slot.holder };
        let receiver = Seat {
            token: Token::new(random.other_token),
            source: caller.source,
            holder: Some(caller.id),
        };
        self.reply(
            caller.id,
            Reply::Claimed {
                nameplate: slot.nameplate,
                slot: slot_id.clone(),
                room: id.clone(),
                token: receiver.token.clone(),
                body: slot.body,
                ice_servers: Vec::new(),
            },
        );
        match slot.holder {
            Some(holder) => self.reply(holder, paired(&slot_id, &id, &sender.token)),
            None => self.tell_presence(caller.id, &id, Presence::Gone),
        }
        let mut room = Room::of_slot(slot_id.clone());
        self.take_place(&mut room, &id, Role::Sender, sender);
        self.take_place(&mut room, &id, Role::Receiver, receiver);
        self.claimed.insert(slot_id, ClaimedSlot { token: slot.token, room: id.clone() });
        self.pairs.insert(id, room);
    }

    /// The sender is back in a slot that still waits.
    pub(super) fn rejoin_slot(
        &mut self,
        caller: Caller,
        id: &RoomId,
        token: &Token,
    ) -> Result<(), Refusal> {
        let slot = self.slots.get_mut(id).ok_or(Refusal::NoSuchRoom)?;
        if slot.token != *token {
            return Err(Refusal::NoSuchRoom);
        }
        let before = slot.holder.replace(caller.id);
        self.deadlines.set(id, slot.expires);
        self.stand_up(before, id);
        self.sit_down(Some(caller.id), id);
        self.reply(caller.id, Reply::Rejoined { room: id.clone(), received: 0 });
        Ok(())
    }
}

/// What a sender is told when its slot was claimed.
pub(super) fn paired(slot: &RoomId, room: &RoomId, token: &Token) -> Reply {
    Reply::Paired {
        slot: slot.clone(),
        room: room.clone(),
        token: token.clone(),
        ice_servers: Vec::new(),
    }
}
