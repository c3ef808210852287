//! One room: its two ends, who sits there, and what each has sent. Used by `rooms`, which knows
//! about connections, caps and time.

use super::ConnectionId;
use super::mail::Mail;
use crate::limits::Source;
use crate::protocol::{Presence, Role, RoomId, Token};

/// Two ends that talk to each other.
#[derive(Default)]
pub(super) struct Room {
    sender: End,
    receiver: End,
    /// The slot it was made from, when it was.
    pub(super) slot: Option<RoomId>,
}

/// One end of a room.
#[derive(Default)]
pub(super) struct End {
    pub(super) place: Place,
    /// What this end sent.
    pub(super) mail: Mail,
}

/// Whether an end belongs to somebody.
#[derive(Default)]
pub(super) enum Place {
    /// Nobody came yet.
    #[default]
    Vacant,
    /// Somebody's, whether the socket is here or not.
    Held(Seat),
    /// Given up for good.
    Left,
}

/// Somebody's place.
pub(super) struct Seat {
    pub(super) token: Token,
    /// Whom it counts for.
    pub(super) source: Source,
    /// The socket, while there is one.
    pub(super) holder: Option<ConnectionId>,
}

impl Room {
    /// A room that takes the place of a slot.
    pub(super) fn of_slot(slot: RoomId) -> Self {
        Self { slot: Some(slot), ..Self::default() }
    }

    pub(super) fn end(&self, role: Role) -> &End {
        match role {
            Role::Sender => &self.sender,
            Role::Receiver => &self.receiver,
        }
    }

    pub(super) fn end_mut(&mut self, role: Role) -> &mut End {
        match role {
            Role::Sender => &mut self.sender,
            Role::Receiver => &mut self.receiver,
        }
    }

    /// The end at which a connection sits.
    pub(super) fn role_of(&self, connection: ConnectionId) -> Option<Role> {
        [Role::Sender, Role::Receiver]
            .into_iter()
            .find(|role| self.end(*role).holder() == Some(connection))
    }

    /// The end that a token opens.
    pub(super) fn role_with(&self, token: &Token) -> Option<Role> {
        [Role::Sender, Role::Receiver]
            .into_iter()
            .find(|role| self.end(*role).seat().is_some_and(|seat| seat.token == *token))
    }
}

impl End {
    pub(super) fn seat(&self) -> Option<&Seat> {
        match &self.place {
            Place::Held(seat) => Some(seat),
            Place::Vacant | Place::Left => None,
        }
    }

    pub(super) fn seat_mut(&mut self) -> Option<&mut Seat> {
        match &mut self.place {
            Place::Held(seat) => Some(seat),
            Place::Vacant | Place::Left => None,
        }
    }

    /// The living socket at this end.
    pub(super) fn holder(&self) -> Option<ConnectionId> {
        self.seat()?.holder
    }

    /// What the other end is told of this one.
    pub(super) fn presence(&self) -> Presence {
        match (&self.place, self.holder()) {
            (Place::Left, _) => Presence::Left,
            (_, Some(_)) => Presence::Here,
            (_, None) => Presence::Gone,
        }
    }
}
