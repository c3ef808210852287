//! What travels sealed: descriptions, candidates, listeners, certificates and the wish to stop.
//!
//! A peer's SDP never reaches a library. These structures hold the few values that matter, each
//! parsed strictly; `net::sdp` makes a description from a fixed template.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::{
    frame::Reason,
    wire::{CRITICAL, Fields, Value, WireError, Writer},
};

/// The most candidates taken from a peer; more are passed over.
pub const MAX_CANDIDATES: usize = 32;

/// The most addresses of a listener that are tried; more are passed over.
pub const MAX_ADDRESSES: usize = 16;

/// The kind of lane that every peer can open: data channels of a PeerConnection.
pub const LANE_DATA_CHANNEL: u16 = 1;

/// TLS 1.3 over a TCP connection straight to the other end.
pub const LANE_TLS: u16 = 2;

/// QUIC on the path of the first PeerConnection, from the socket that ICE uses.
pub const LANE_QUIC: u16 = 3;

/// One thing said in a sealed message, which may hold several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// How to reach the peer's PeerConnection.
    Description(Description),
    /// One address that the peer may be reached at.
    Candidate(Candidate),
    /// No more candidates follow.
    EndOfCandidates,
    /// The peer gives up.
    Cancel(Reason),
    /// Where the peer listens for a lane of TLS.
    Listener(Listener),
    /// SHA-256 of the certificate that the peer shows on a lane of QUIC.
    Quic([u8; 32]),
}

const DESCRIPTION: u16 = CRITICAL | 1;
const CANDIDATE: u16 = 2;
const END_OF_CANDIDATES: u16 = 3;
const CANCEL: u16 = CRITICAL | 4;
const LISTENER: u16 = CRITICAL | 5;
const QUIC: u16 = CRITICAL | 6;

impl Signal {
    /// The bytes of several signals, in order.
    #[must_use]
    pub fn to_wire(signals: &[Self]) -> Vec<u8> {
        let add = |writer: Writer, signal: &Self| match signal {
            Self::Description(description) => writer.field(DESCRIPTION, &description.to_wire()),
            Self::Candidate(candidate) => writer.field(CANDIDATE, &candidate.to_wire()),
            Self::EndOfCandidates => writer.field(END_OF_CANDIDATES, &[]),
            Self::Cancel(reason) => writer.u16(CANCEL, reason.code()),
            Self::Listener(listener) => writer.field(LISTENER, &listener.to_wire()),
            Self::Quic(fingerprint) => writer.field(QUIC, fingerprint),
        };
        signals.iter().fold(Writer::new(), add).finish()
    }

    /// Parses the signals of one sealed message.
    ///
    /// # Errors
    /// [`WireError`] when one of them is malformed.
    pub fn from_wire(bytes: &[u8]) -> Result<Vec<Self>, WireError> {
        let mut fields = Fields::parse(bytes)?;
        let mut signals = Vec::new();
        signals.extend(fields.all(DESCRIPTION)?.into_iter().map(Self::Description));
        signals.extend(fields.all(CANDIDATE)?.into_iter().map(Self::Candidate));
        signals
            .extend(fields.optional::<[u8; 0]>(END_OF_CANDIDATES)?.map(|_| Self::EndOfCandidates));
        signals.extend(fields.optional(CANCEL)?.map(|code| Self::Cancel(Reason::of_code(code))));
        signals.extend(fields.optional(LISTENER)?.map(Self::Listener));
        signals.extend(fields.optional(QUIC)?.map(Self::Quic));
        fields.finish()?;
        Ok(signals)
    }
}

/// Who takes which part in the DTLS handshake (RFC 8842, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Either; what an offer says.
    ActPass,
    /// The client.
    Active,
    /// The server.
    Passive,
}

/// What of an SDP offer or answer matters for data channels.
#[derive(Clone, PartialEq, Eq)]
pub struct Description {
    /// ICE user name fragment (RFC 8839, section 5.4).
    pub ufrag: IceText<4>,
    /// ICE password.
    pub password: IceText<22>,
    /// SHA-256 of the peer's DTLS certificate (RFC 8122).
    pub fingerprint: [u8; 32],
    /// Its part in the DTLS handshake.
    pub setup: Setup,
    /// The longest data-channel message it takes, in bytes (RFC 8841, section 6).
    pub max_message_size: u32,
    /// Its SCTP port.
    pub sctp_port: u16,
    /// The kinds of lane it can open; unknown ones are ignored.
    pub lanes: Vec<u16>,
    /// SHA-256 of the certificate that it shows on the first lane of QUIC.
    pub quic: Option<[u8; 32]>,
}

impl fmt::Debug for Description {
    /// The ICE password stays out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Description")
            .field("setup", &self.setup)
            .field("max_message_size", &self.max_message_size)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

/// A text of ICE characters, at least `MIN` and at most 256 of them (RFC 8839, section 5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceText<const MIN: usize>(String);

impl<const MIN: usize> IceText<MIN> {
    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize> TryFrom<&str> for IceText<MIN> {
    type Error = WireError;

    fn try_from(text: &str) -> Result<Self, WireError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        if (MIN..=256).contains(&text.len()) && text.chars().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(WireError::Range("an ICE user name or password"))
        }
    }
}

impl<const MIN: usize> Value<'_> for IceText<MIN> {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        <&str>::from_wire(bytes)?.try_into()
    }
}

const UFRAG: u16 = CRITICAL | 1;
const PASSWORD: u16 = CRITICAL | 2;
const FINGERPRINT: u16 = CRITICAL | 3;
const SETUP: u16 = CRITICAL | 4;
const MAX_MESSAGE_SIZE: u16 = CRITICAL | 5;
const SCTP_PORT: u16 = CRITICAL | 6;
const LANE: u16 = 7;
const QUIC_FINGERPRINT: u16 = 8;

impl Description {
    fn to_wire(&self) -> Vec<u8> {
        let setup = match self.setup {
            Setup::ActPass => 0,
            Setup::Active => 1,
            Setup::Passive => 2,
        };
        let writer = Writer::new()
            .field(UFRAG, self.ufrag.0.as_bytes())
            .field(PASSWORD, self.password.0.as_bytes())
            .field(FINGERPRINT, &self.fingerprint)
            .u8(SETUP, setup)
            .u32(MAX_MESSAGE_SIZE, self.max_message_size)
            .u16(SCTP_PORT, self.sctp_port);
        let writer = self.lanes.iter().fold(writer, |writer, lane| writer.u16(LANE, *lane));
        self.quic.iter().fold(writer, |writer, quic| writer.field(QUIC_FINGERPRINT, quic)).finish()
    }
}

impl Value<'_> for Description {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::parse(bytes)?;
        let description = Self {
            ufrag: fields.required(UFRAG)?,
            password: fields.required(PASSWORD)?,
            fingerprint: fields.required(FINGERPRINT)?,
            setup: match fields.required::<u8>(SETUP)? {
                0 => Setup::ActPass,
                1 => Setup::Active,
                2 => Setup::Passive,
                _ => return Err(WireError::Range("a DTLS role")),
            },
            max_message_size: fields.required(MAX_MESSAGE_SIZE)?,
            sctp_port: fields.required(SCTP_PORT)?,
            lanes: fields.all(LANE)?,
            quic: fields.optional(QUIC_FINGERPRINT)?,
        };
        fields.finish()?;
        Ok(description)
    }
}

/// How a candidate was found (RFC 8445, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateKind {
    /// An address of the machine.
    Host,
    /// What a STUN server saw.
    ServerReflexive,
    /// What the peer saw.
    PeerReflexive,
    /// An address of a TURN server.
    Relay,
}

/// An address to try: a UDP candidate of RFC 8839, section 5.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Groups candidates of one kind, base and server; 1 to 32 ICE characters.
    pub foundation: IceText<1>,
    /// RFC 8445, section 5.1.2.
    pub priority: u32,
    /// Where to.
    pub host: CandidateHost,
    /// UDP port, not 0.
    pub port: u16,
    /// How it was found.
    pub kind: CandidateKind,
}

/// An address, or the name that a browser hides one behind (`<uuid>.local`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CandidateHost {
    /// Not unspecified, multicast or broadcast.
    Address(IpAddr),
    /// To be resolved by multicast DNS.
    Mdns(String),
}

impl TryFrom<&str> for CandidateHost {
    type Error = WireError;

    fn try_from(text: &str) -> Result<Self, WireError> {
        if let Ok(address) = text.parse() {
            return if is_peer_address(address) {
                Ok(Self::Address(address))
            } else {
                Err(WireError::Range("an address that no peer can have"))
            };
        }
        let name = text.strip_suffix(".local").unwrap_or_default();
        let plain = |c: char| c.is_ascii_hexdigit() || c == '-';
        if name.len() == 36 && name.chars().all(plain) {
            Ok(Self::Mdns(text.to_owned()))
        } else {
            Err(WireError::Range("a candidate's address"))
        }
    }
}

fn is_peer_address(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

impl fmt::Display for CandidateHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Mdns(name) => f.write_str(name),
        }
    }
}

impl Value<'_> for CandidateHost {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        <&str>::from_wire(bytes)?.try_into()
    }
}

const FOUNDATION: u16 = CRITICAL | 1;
const PRIORITY: u16 = CRITICAL | 2;
const HOST: u16 = CRITICAL | 3;
const PORT: u16 = CRITICAL | 4;
const KIND: u16 = CRITICAL | 5;

impl Candidate {
    fn to_wire(&self) -> Vec<u8> {
        let kind = match self.kind {
            CandidateKind::Host => 0,
            CandidateKind::ServerReflexive => 1,
            CandidateKind::PeerReflexive => 2,
            CandidateKind::Relay => 3,
        };
        Writer::new()
            .field(FOUNDATION, self.foundation.0.as_bytes())
            .u32(PRIORITY, self.priority)
            .field(HOST, self.host.to_string().as_bytes())
            .u16(PORT, self.port)
            .u8(KIND, kind)
            .finish()
    }
}

impl Value<'_> for Candidate {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::parse(bytes)?;
        let candidate = Self {
            foundation: fields.required(FOUNDATION)?,
            priority: fields.required(PRIORITY)?,
            host: fields.required(HOST)?,
            port: fields.required(PORT)?,
            kind: match fields.required::<u8>(KIND)? {
                0 => CandidateKind::Host,
                1 => CandidateKind::ServerReflexive,
                2 => CandidateKind::PeerReflexive,
                3 => CandidateKind::Relay,
                _ => return Err(WireError::Range("a kind of candidate")),
            },
        };
        fields.finish()?;
        if candidate.port == 0 || candidate.foundation.0.len() > 32 {
            return Err(WireError::Range("a candidate's port or foundation"));
        }
        Ok(candidate)
    }
}

/// Where an end listens for a lane of TLS, and who answers there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// SHA-256 of the certificate that this end shows, whoever of the two connects.
    pub fingerprint: [u8; 32],
    /// Where it listens; none when it only connects.
    pub addresses: Vec<SocketAddr>,
}

const LISTENER_FINGERPRINT: u16 = CRITICAL | 1;
const ADDRESS: u16 = CRITICAL | 2;

impl Listener {
    fn to_wire(&self) -> Vec<u8> {
        let writer = Writer::new().field(LISTENER_FINGERPRINT, &self.fingerprint);
        let addresses = self.addresses.iter();
        addresses.fold(writer, |writer, at| writer.field(ADDRESS, &address_to_wire(*at))).finish()
    }
}

impl Value<'_> for Listener {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::parse(bytes)?;
        let fingerprint = fields.required(LISTENER_FINGERPRINT)?;
        let addresses = fields.all(ADDRESS)?;
        fields.finish()?;
        Ok(Self { fingerprint, addresses })
    }
}

/// 4 or 16 bytes of address, and the port.
fn address_to_wire(at: SocketAddr) -> Vec<u8> {
    let mut wire = match at.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    wire.extend(at.port().to_be_bytes());
    wire
}

impl Value<'_> for SocketAddr {
    fn from_wire(bytes: &[u8]) -> Result<Self, WireError> {
        let out_of_range = WireError::Range("an address to connect to");
        let (address, port) = bytes.split_last_chunk().ok_or(out_of_range)?;
        let address = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
            (Ok(v4), _) => v4.into(),
            (_, Ok(v6)) => v6.into(),
            _ => return Err(out_of_range),
        };
        let at = Self::new(address, u16::from_be_bytes(*port));
        if is_peer_address(address) && at.port() != 0 { Ok(at) } else { Err(out_of_range) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            ufrag: "abcd".try_into().unwrap(),
            password: "0123456789abcdef012345".try_into().unwrap(),
            fingerprint: [9; 32],
            setup: Setup::ActPass,
            max_message_size: 65536,
            sctp_port: 5000,
            lanes: vec![LANE_DATA_CHANNEL, 77],
            quic: Some([7; 32]),
        }
    }

    fn candidate(host: &str) -> Candidate {
        Candidate {
            foundation: "1".try_into().unwrap(),
            priority: 2_130_706_431,
            host: host.try_into().unwrap(),
            port: 5000,
            kind: CandidateKind::Host,
        }
    }

    #[test]
    fn signals_come_back_as_they_were() {
        let signals = vec![
            Signal::Description(description()),
            Signal::Candidate(candidate("10.0.0.1")),
            Signal::Candidate(candidate("fe80::1")),
            Signal::Candidate(candidate("01234567-89ab-cdef-0123-456789abcdef.local")),
            Signal::EndOfCandidates,
            Signal::Cancel(Reason::Interrupted),
            Signal::Listener(Listener {
                fingerprint: [8; 32],
                addresses: vec![
                    "192.0.2.1:80".parse().unwrap(),
                    "[2001:db8::1]:443".parse().unwrap(),
                ],
            }),
            Signal::Quic([9; 32]),
        ];
        assert_eq!(Signal::from_wire(&Signal::to_wire(&signals)), Ok(signals));
    }

    #[test]
    fn texts_that_could_break_out_of_a_line_of_sdp_are_refused() {
        for bad in ["abc", "ab\r\na=x", "ab cd", "äbcd", &"x".repeat(257)] {
            assert!(IceText::<4>::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_that_no_peer_can_have_are_refused() {
        for bad in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "example.org",
            "x.local",
            "",
        ] {
            assert!(CandidateHost::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_candidate_with_port_0_is_refused() {
        let wire = Signal::to_wire(&[Signal::Candidate(Candidate { port: 0, ..candidate("::1") })]);
        assert!(Signal::from_wire(&wire).is_err());
    }

    #[test]
    fn a_listener_at_no_address_that_a_peer_can_have_is_refused() {
        for bad in ["192.0.2.1:0", "0.0.0.0:80", "[ff02::1]:80", "255.255.255.255:80"] {
            let addresses = vec![bad.parse().unwrap()];
            let listener = Listener { fingerprint: [8; 32], addresses };
            let wire = Signal::to_wire(&[Signal::Listener(listener)]);
            assert!(Signal::from_wire(&wire).is_err(), "{bad}");
        }
        assert!(SocketAddr::from_wire(&[192, 0, 2, 80]).is_err());
    }

    #[test]
    fn the_ice_password_does_not_show_itself() {
        assert!(!format!("{:?}", description()).contains("0123456789"));
    }
}
