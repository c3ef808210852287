//! The glue: where machines, lanes, disk, consent and timers meet.
//!
//! * [`meet`]: from a code to a peer that proved to know it
//! * [`signalling`], [`connect`]: from there to open, bound lanes
//! * `lanes`: further ones; `straight`: those that are no data channels
//! * [`reunion`]: the connection, and those that follow it when it is lost
//! * [`send`], [`receive`]: one loop each; what is to be done is decided by the machines
//! * [`feed`]: from the sender's disk to the lanes; [`carrier`]: over which, and when; [`figures`]:
//!   what it tells of that
//! * `channels`, `streams`: the lanes that it has; `laden`: what each of them has to deliver; `pace`:
//!   how fast; [`signs`], [`growth`], [`kinds`]: how many there are, and of which kind
//! * [`doctor`]: what will work from here
//! * [`mod@bench`]: what the path and each stage can do
//! * [`event`], [`summary`], [`progress`]: what the user sees of it

pub mod bench;
pub mod carrier;
mod channels;
pub mod connect;
pub mod doctor;
mod establish;
pub mod event;
pub mod feed;
pub mod figures;
pub mod growth;
pub mod kinds;
mod laden;
mod lanes;
pub mod limits;
pub mod meet;
mod pace;
pub mod progress;
pub mod receive;
pub mod reunion;
pub mod send;
pub mod signalling;
pub mod signs;
mod straight;
mod streams;
pub mod summary;
