//! What this machine's disk and hash can do when nothing else is done: the stages of a transfer,
//! each alone. Blocking.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    hashing::{Pairs, Unhashed},
    platform,
    writeback::WriteBack,
};

/// Bytes that are read, written or hashed at a time, as in a transfer.
const PIECE: usize = 256 * 1024;

/// How long writing goes on, and hashing.
const WRITING: Duration = Duration::from_secs(2);
const HASHING: Duration = Duration::from_millis(500);

/// The most bytes that are written.
const MOST: u64 = 1024 * 1024 * 1024;

/// Bytes a second that are hashed, on one processor.
#[must_use]
pub fn hashing() -> u64 {
    let piece = Bytes::from(vec![7; PIECE]);
    let mut pairs = Pairs::default();
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < HASHING {
        let mut chunk = Unhashed::default();
        chunk.add(piece.clone());
        std::hint::black_box(pairs.take((), chunk));
        bytes += piece.len() as u64;
    }
    per_second(bytes, start.elapsed())
}

/// A file of noise that is gone when this is dropped.
#[derive(Debug)]
pub struct Trial {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Trial {
    /// Writes a file into a folder and flushes it; gives the bytes a second.
    ///
    /// # Errors
    /// The system's, when there is no such folder, or no room in it.
    pub fn write(folder: &Path, noise: &[u8]) -> io::Result<(Self, u64)> {
        let path = folder.join(format!(".p2pshare-bench-{}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let mut trial = Self { file, path, bytes: 0 };
        let start = Instant::now();
        let mut write_back = WriteBack::start();
        while start.elapsed() < WRITING && trial.bytes < MOST {
            for piece in noise.chunks(PIECE) {
                platform::write_at(&trial.file, piece, trial.bytes)?;
                trial.bytes += piece.len() as u64;
                write_back.wrote(&trial.file, piece.len() as u64);
            }
        }
        trial.file.sync_all()?;
        let rate = per_second(trial.bytes, start.elapsed());
        Ok((trial, rate))
    }

    /// Reads it, from the disk where the system can be told to forget it; gives the bytes a second.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&self) -> io::Result<u64> {
        platform::forget(&self.file);
        let mut piece = vec![0; PIECE];
        let (start, mut position) = (Instant::now(), 0);
        while position < self.bytes && start.elapsed() < WRITING {
            let length = usize::try_from(self.bytes - position).unwrap_or(PIECE).min(PIECE);
            let part = piece.get_mut(..length).unwrap_or_default();
            platform::read_at(&self.file, part, position)?;
            position += length as u64;
        }
        Ok(per_second(position, start.elapsed()))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "trial");
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate need not be exact, and is positive"
)]
fn per_second(bytes: u64, took: Duration) -> u64 {
    (bytes as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_measured_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let noise = vec![3; PIECE + 1];
        let (trial, written) = Trial::write(folder.path(), &noise).unwrap();
        assert!(written > 0 && trial.read().unwrap() > 0);
        drop(trial);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn hashing_takes_time() {
        assert!(hashing() > 0);
    }
}
