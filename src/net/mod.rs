//! Everything with a socket, and the only place that names the libraries behind them.
//!
//! * [`interfaces`]: the machine's addresses
//! * [`embedded`], [`discovery`]: a rendezvous server of our own, and how a LAN finds it
//! * [`rendezvous`]: the client of any rendezvous server
//! * [`sdp`], [`sockets`], [`zoned`], [`peer`], [`lane`]: a PeerConnection and its data channels

pub mod discovery;
pub mod embedded;
pub mod interfaces;
pub mod lane;
pub mod peer;
pub mod rendezvous;
pub mod sdp;
pub mod sockets;
pub mod zoned;
