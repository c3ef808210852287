//! Everything with a file: reading what is sent, writing what is received. Blocking; the session
//! runs it on threads of its own.
//!
//! * [`tree`]: the files and folders that are sent, walked while they are
//! * [`source`]: their chunks, and whether they changed meanwhile; also texts and streams; `draft`:
//!   the message that they are read into
//! * [`hashing`]: SHA-256 of chunks, two at a time
//! * [`sink`]: where files land and how they get their names; `pipe`: the same for one stream
//! * [`staging`], [`journal`], `registry`: what is there before that, and after an interruption
//! * [`writer`]: the thread that writes and hashes what arrives; `gather`: what it writes together;
//!   `writeback`: the thread that flushes early
//! * [`alone`]: what disk and hash do when nothing else is done
//! * `platform`: what each system does in its own way

pub mod alone;
mod draft;
mod gather;
pub mod hashing;
pub mod journal;
mod pipe;
mod platform;
mod registry;
pub mod sink;
pub mod source;
pub mod staging;
pub mod tree;
mod writeback;
pub mod writer;

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use cap_std::{ambient_authority, fs::Dir};

/// Bytes that this user can still write below a folder, if that is known.
#[must_use]
pub fn free_space(folder: &Path) -> Option<u64> {
    platform::free_space(&Dir::open_ambient_dir(folder, ambient_authority()).ok()?)
}

/// What a thread has spent so far, for whoever wants to know what it is busy with.
#[derive(Debug, Default)]
pub struct Spent {
    disk: AtomicU64,
    hashing: AtomicU64,
}

impl Spent {
    /// With files.
    #[must_use]
    pub fn disk(&self) -> Duration {
        Duration::from_nanos(self.disk.load(Ordering::Relaxed))
    }

    /// Hashing.
    #[must_use]
    pub fn hashing(&self) -> Duration {
        Duration::from_nanos(self.hashing.load(Ordering::Relaxed))
    }

    fn with_disk(&self, since: Instant) {
        add(&self.disk, since);
    }

    pub(crate) fn with_hashing(&self, since: Instant) {
        add(&self.hashing, since);
    }
}

fn add(to: &AtomicU64, since: Instant) {
    to.fetch_add(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}
