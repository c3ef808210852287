//! Everything with a file: reading what is sent, writing what is received. Blocking; the session
//! runs it on threads of its own.
//!
//! * [`tree`]: the files and folders that are sent, walked while they are
//! * [`source`]: their chunks, and whether they changed meanwhile; also texts and streams
//! * [`sink`]: where files land and how they get their names; `pipe`: the same for one stream
//! * [`staging`], [`journal`], `registry`: what is there before that, and after an interruption
//! * [`writer`]: the thread that writes and hashes what arrives
//! * `platform`: what each system does in its own way

pub mod journal;
mod pipe;
mod platform;
mod registry;
pub mod sink;
pub mod source;
pub mod staging;
pub mod tree;
pub mod writer;

use std::path::Path;

use cap_std::{ambient_authority, fs::Dir};

/// Bytes that this user can still write below a folder, if that is known.
#[must_use]
pub fn free_space(folder: &Path) -> Option<u64> {
    platform::free_space(&Dir::open_ambient_dir(folder, ambient_authority()).ok()?)
}
