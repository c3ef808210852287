//! Everything with a file: reading what is sent, writing what is received. Blocking; the session
//! runs it on threads of its own.
//!
//! * [`source`]: the file that is sent, and whether it changed meanwhile
//! * [`sink`]: the part file, its place and its final name
//! * [`writer`]: the thread that writes and hashes what arrives
//! * `platform`: what each system does in its own way

mod platform;
pub mod sink;
pub mod source;
pub mod writer;
