//! The glue: where machines, lanes, disk, consent and timers meet.
//!
//! * [`meet`]: from a code to a peer that proved to know it
//! * [`signalling`], [`connect`]: from there to open, bound lanes
//! * [`send`], [`receive`]: one loop each; what is to be done is decided by the machines
//! * [`event`], [`progress`]: what the user sees of it

pub mod connect;
pub mod event;
pub mod feed;
pub mod meet;
pub mod progress;
pub mod receive;
pub mod send;
pub mod signalling;
