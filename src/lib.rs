//! p2pshare

pub mod disk;
pub mod error;
pub mod net;
pub mod proto;
pub mod session;

pub use disk::source::digest;
pub use error::{Error, Told};
pub use net::{peer::Path, rendezvous::ServerUrl};
pub use proto::{
    code::{Code, Invitation},
    name::shown,
};
pub use session::{
    event::{Complete, Event, Front, Interrupt, Offer, Question, Shown},
    meet::Wish,
    progress::Progress,
    receive::{Consent, ReceiveOptions, receive},
    send::{SendOptions, send},
};
