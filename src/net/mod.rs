//! Everything with a socket, and the only place that names the libraries behind them.
//!
//! * [`interfaces`]: the machine's addresses
//! * [`embedded`], [`discovery`]: a rendezvous server of our own, and how a LAN finds it
//! * [`rendezvous`]: the client of any rendezvous server
//! * [`network`]: what of all this a session may use
//! * [`dial`]: streams to servers
//! * [`ice`], `relay`: STUN and TURN servers, and paths through the latter
//! * [`cipher`]: what the cipher under data channels can do
//! * [`probe`]: what a network lets through
//! * [`sdp`], [`sockets`], [`zoned`], `received`, `repeats`, [`peer`], [`lane`], [`packet`]: a
//!   PeerConnection and its data channels
//! * [`flight`]: how much of what is sent the line holds
//! * [`tls`], [`quic`], [`identity`], [`stream`]: lanes between two command lines alone, over TCP or on the
//!   socket that ICE uses

pub mod cipher;
pub mod dial;
pub mod discovery;
pub mod embedded;
pub mod flight;
pub mod ice;
pub mod identity;
pub mod interfaces;
pub mod lane;
pub mod network;
pub mod packet;
pub mod peer;
pub mod probe;
pub mod quic;
mod received;
mod relay;
pub mod rendezvous;
mod repeats;
pub mod sdp;
pub mod sockets;
pub mod stream;
pub mod tls;
pub mod zoned;
