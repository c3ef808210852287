//! p2pshare

pub mod disk;
pub mod net;
pub mod proto;
