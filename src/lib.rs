//! p2pshare

pub mod proto;
