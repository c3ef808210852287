//! The rendezvous messages, their version and their limits: the contract between a client and
//! this server, and the only module that clients use.
//!
//! One JSON message per WebSocket text frame, [`Request`] from a client and [`Reply`] from the
//! server; every message names the room it is about. The server reads no [`Body`]: it numbers,
//! keeps and hands over what the two ends say to each other. `PROTOCOL.md`, "Rendezvous", is the
//! specification.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The port a server listens on when nothing else is said, TCP.
pub const DEFAULT_PORT: u16 = 9477;

/// Where the WebSocket is; the version of these messages is part of it.
pub const PATH: &str = "/v1/rendezvous";

/// The longest message either side accepts, in bytes of JSON text.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// The longest [`Body`], in bytes: base64 and the rest of the message stay below
/// [`MAX_MESSAGE`].
pub const MAX_BODY: usize = 11 * 1024;

/// The most messages that one side of a room may have waiting for an acknowledgement.
pub const MAX_UNACKNOWLEDGED: usize = 64;

/// The most bytes of bodies that one side of a room may have waiting.
pub const MAX_UNACKNOWLEDGED_BYTES: usize = 64 * 1024;

/// The longest a slot may wait for its receiver, in seconds.
pub const MAX_TTL: u64 = 24 * 60 * 60;

/// What a client says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Request {
    /// A sender opens a slot and waits in it.
    Allocate {
        /// The slot's name, 128 random bits chosen by the sender.
        room: RoomId,
        /// What the receiver must type; the sender chooses it, since its first message depends
        /// on it.
        nameplate: Nameplate,
        /// How long the slot waits, in seconds, at most [`MAX_TTL`].
        ttl: u64,
        /// How many receivers may claim the slot; version 1 knows 1.
        claims: u32,
        /// The sender's first message, handed to whoever claims the slot.
        body: Body,
    },
    /// A receiver takes the slot behind a nameplate. It can be taken once.
    Claim {
        /// The public part of the code.
        nameplate: Nameplate,
    },
    /// Enters a room that exists by being joined: both ends derived its name.
    Join {
        /// The room's name, 256 secret bits.
        room: RoomId,
        /// Which end this is.
        role: Role,
    },
    /// Takes a place up again after the socket was lost.
    Rejoin {
        /// The slot or room.
        room: RoomId,
        /// What the server gave when the place was taken.
        token: Token,
        /// The number of the last message that arrived here, 0 for none.
        received: u64,
    },
    /// Something for the other end.
    Send {
        /// The room.
        room: RoomId,
        /// 1 for the first message of this end, then one more each.
        number: u64,
        /// What to hand over.
        body: Body,
    },
    /// Everything up to this number has arrived here and need not be kept.
    Ack {
        /// The room.
        room: RoomId,
        /// The number of the last message that arrived.
        number: u64,
    },
    /// Gives a slot or a place up for good.
    Leave {
        /// The slot or room.
        room: RoomId,
    },
}

/// What the server says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Reply {
    /// The slot is open.
    Allocated {
        /// The slot, as the sender named it.
        room: RoomId,
        /// What the receiver must type.
        nameplate: Nameplate,
        /// Opens the slot again after a lost socket.
        token: Token,
        /// How long the slot waits, in seconds.
        ttl: u64,
    },
    /// To the sender: a receiver took the slot, which is gone, and a room for two was made.
    Paired {
        /// The slot that was taken.
        slot: RoomId,
        /// The room for two, 128 random bits.
        room: RoomId,
        /// Opens the sender's place in it again.
        token: Token,
        /// Servers for ICE, good for this room only.
        #[serde(default)]
        ice_servers: Vec<IceServer>,
    },
    /// To the receiver: the slot is yours.
    Claimed {
        /// The nameplate that was claimed.
        nameplate: Nameplate,
        /// The slot's name, which the sender chose.
        slot: RoomId,
        /// The room for two.
        room: RoomId,
        /// Opens the receiver's place in it again.
        token: Token,
        /// The sender's first message.
        body: Body,
        /// Servers for ICE, good for this room only.
        #[serde(default)]
        ice_servers: Vec<IceServer>,
    },
    /// The place in a room that exists by being joined is taken.
    Joined {
        /// The room.
        room: RoomId,
        /// Opens the place again.
        token: Token,
    },
    /// The place is taken up again; what was not acknowledged follows.
    Rejoined {
        /// The slot or room.
        room: RoomId,
        /// The number of the last message that the server has from this end.
        received: u64,
    },
    /// Something from the other end.
    Message {
        /// The room.
        room: RoomId,
        /// 1 for the first message of the other end, then one more each.
        number: u64,
        /// What it said.
        body: Body,
    },
    /// Servers for ICE, for a room that exists by being joined: told to both when both are there.
    IceServers {
        /// The room.
        room: RoomId,
        /// Good for this room only.
        ice_servers: Vec<IceServer>,
    },
    /// Whether the other end's socket is here.
    Peer {
        /// The room.
        room: RoomId,
        /// What became of it.
        presence: Presence,
    },
    /// Nobody came: the slot is gone.
    Expired {
        /// The slot.
        room: RoomId,
    },
    /// The request was not carried out.
    Refused {
        /// The room it was about, when it named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<RoomId>,
        /// Why.
        reason: Refusal,
    },
}

/// Which end of a transfer a client is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Offers files.
    Sender,
    /// Takes files.
    Receiver,
}

impl Role {
    /// The end on the other side.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::Sender => Self::Receiver,
            Self::Receiver => Self::Sender,
        }
    }
}

/// What is known of the other end's socket.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// It is connected.
    Here,
    /// Its socket closed; it may rejoin.
    Gone,
    /// It gave its place up for good.
    Left,
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// No such nameplate: it never was, was used, or expired; nothing tells which.
    NoSuchCode,
    /// No such room, or the token does not fit.
    NoSuchRoom,
    /// Somebody waits behind that nameplate or did a short while ago.
    NameplateTaken,
    /// The place is taken by a living socket.
    PlaceTaken,
    /// The server holds as many rooms as it may.
    Full,
    /// This address holds as many rooms as it may.
    TooManyRooms,
    /// Too much is waiting for an acknowledgement.
    TooMuchWaiting,
    /// A number was left out.
    Gap,
    /// The message is not understood, too long, or asks for what this version cannot do.
    BadMessage,
}

/// One entry of `RTCConfiguration.iceServers` (W3C WebRTC, section 4.2.4).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:` addresses.
    pub urls: Vec<String>,
    /// User name, for TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password, for TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// A message's content, which the server does not read: base64 (RFC 4648, section 4) in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(Vec<u8>);

/// A body was longer than [`MAX_BODY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes is longer than {MAX_BODY}")]
pub struct BodyTooLong(pub usize);

impl Body {
    /// Wraps bytes that are to be handed over.
    ///
    /// # Errors
    /// [`BodyTooLong`] over [`MAX_BODY`] bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self, BodyTooLong> {
        if bytes.len() > MAX_BODY {
            return Err(BodyTooLong(bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(text.as_bytes()).map_err(de::Error::custom)?;
        Self::new(bytes).map_err(de::Error::custom)
    }
}

/// The name of a slot or a room: 16 or 32 bytes, in JSON lower-case hexadecimal.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId(String);

/// Not 32 or 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a room's name is 32 or 64 lower-case hexadecimal digits")]
pub struct BadRoomId;

impl RoomId {
    /// A name of 128 bits, as slots and rooms for two have.
    #[must_use]
    pub fn from_128_bits(bytes: [u8; 16]) -> Self {
        Self(HEXLOWER.encode(&bytes))
    }

    /// A name of 256 bits, as rooms that exist by being joined have.
    #[must_use]
    pub fn from_256_bits(bytes: [u8; 32]) -> Self {
        Self(HEXLOWER.encode(&bytes))
    }

    /// Whether it is as long as the names of rooms that exist by being joined.
    #[must_use]
    pub fn is_256_bits(&self) -> bool {
        self.0.len() == 64
    }

    /// The hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoomId {
    type Error = BadRoomId;

    fn try_from(text: String) -> Result<Self, BadRoomId> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits && matches!(text.len(), 32 | 64) { Ok(Self(text)) } else { Err(BadRoomId) }
    }
}

impl From<RoomId> for String {
    fn from(id: RoomId) -> Self {
        id.0
    }
}

/// The public part of a code, which says where to meet: digits, after `lan` when the sender
/// embeds its own server.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nameplate(String);

/// Not a nameplate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a nameplate is a number of at most seven digits, or `lan` and such a number")]
pub struct BadNameplate;

impl Nameplate {
    /// The nameplate that is a number of a server.
    #[must_use]
    pub fn number(number: u32) -> Self {
        Self(number.to_string())
    }

    /// The nameplate of a sender that embeds its own server.
    #[must_use]
    pub fn lan(number: u32) -> Self {
        Self(format!("lan{number}"))
    }

    /// Whether the sender embeds its own server.
    #[must_use]
    pub fn is_lan(&self) -> bool {
        self.0.starts_with("lan")
    }

    /// The text that is typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nameplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Nameplate {
    type Error = BadNameplate;

    fn try_from(text: String) -> Result<Self, BadNameplate> {
        let number = text.strip_prefix("lan").unwrap_or(&text);
        let plain = matches!(number.len(), 1..=7)
            && number.bytes().all(|b| b.is_ascii_digit())
            && !number.starts_with('0');
        if plain { Ok(Self(text)) } else { Err(BadNameplate) }
    }
}

impl From<Nameplate> for String {
    fn from(nameplate: Nameplate) -> Self {
        nameplate.0
    }
}

/// Opens a place in a room again: 128 secret bits, in JSON hexadecimal.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
pub struct Token(String);

impl Token {
    /// A token made of random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(HEXLOWER.encode(&bytes))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_flat_json_object() {
        let request = Request::Send {
            room: RoomId::from_128_bits([0xab; 16]),
            number: 3,
            body: Body::new(b"hello".to_vec()).unwrap(),
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(
            text,
            r#"{"type":"send","room":"abababababababababababababababab","number":3,"body":"aGVsbG8="}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }

    #[test]
    fn nameplates_are_numbers_with_or_without_lan() {
        for good in ["1", "42", "9999999", "lan1", "lan9999999"] {
            assert!(Nameplate::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "0", "042", "lan", "lan0", "lan042", "12345678", "wan4", "4 ", "٤", "LAN4"]
        {
            assert!(Nameplate::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn room_names_are_hexadecimal_of_two_lengths() {
        for bad in
            ["", "ab", "ABABABABABABABABABABABABABABABAB", "gggggggggggggggggggggggggggggggg"]
        {
            assert!(RoomId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(RoomId::from_256_bits([1; 32]).is_256_bits());
    }

    #[test]
    fn a_body_is_bounded_before_it_is_sent_and_when_it_arrives() {
        assert_eq!(Body::new(vec![0; MAX_BODY + 1]), Err(BodyTooLong(MAX_BODY + 1)));
        let text = format!(
            r#"{{"type":"send","room":"{}","number":1,"body":"{}"}}"#,
            RoomId::from_128_bits([0; 16]).as_str(),
            BASE64.encode(&vec![0; MAX_BODY + 1])
        );
        assert!(serde_json::from_str::<Request>(&text).is_err());
    }

    #[test]
    fn the_longest_body_fits_into_the_longest_message() {
        let reply = Reply::Claimed {
            nameplate: Nameplate::lan(9_999_999),
            slot: RoomId::from_256_bits([0; 32]),
            room: RoomId::from_256_bits([0; 32]),
            token: Token::new([0; 16]),
            body: Body::new(vec![0; MAX_BODY]).unwrap(),
            ice_servers: Vec::new(),
        };
        assert!(serde_json::to_vec(&reply).unwrap().len() <= MAX_MESSAGE);
    }

    #[test]
    fn tokens_and_bodies_do_not_show_themselves() {
        assert_eq!(format!("{:?}", Token::new([7; 16])), "Token(..)");
        assert_eq!(format!("{:?}", Body::new(b"secret".to_vec()).unwrap()), "Body(6 bytes)");
    }
}
