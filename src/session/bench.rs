//! Measuring: the path between two ends without files, and what each stage does alone.
//!
//! What goes over the path is a stream of noise that ends after a while, and which the receiver
//! throws away when it is verified; so everything but the disk is what a transfer does.

use std::{
    io::{self, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use rand_core::Rng;

use super::{meet::random, send::What};
use crate::{
    disk::alone::{self, Trial},
    error::Error,
    net::cipher,
    proto::name::Name,
};

/// The name of the stream. No receiver throws away what has another one.
pub(super) const NAME: &str = "p2pshare-bench";

/// Bytes of noise, which come again and again: nothing on the way compresses them.
const NOISE: usize = 1024 * 1024;

/// What one stage does alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which, in one word.
    pub name: &'static str,
    /// What it does, for people.
    pub what: &'static str,
    /// Bytes a second.
    pub rate: u64,
}

/// Measures each stage of a transfer alone, files in this folder; tells each as soon as it is known.
///
/// # Errors
/// [`Error::Trial`] when the folder cannot be written to.
///
/// # Panics
/// Never.
pub fn stages(folder: &Path, mut tell: impl FnMut(&Stage)) -> Result<(), Error> {
    let mut tell = |name, what, rate| tell(&Stage { name, what, rate });
    let noise = noise();
    let (trial, written) = Trial::write(folder, &noise).map_err(Error::Trial)?;
    tell("write", "writing to this folder's disk, flushed", written);
    tell("read", "reading from it", trial.read().map_err(Error::Trial)?);
    tell("hash", "SHA-256, on one processor", alone::hashing());
    tell("cipher", "AES-128-GCM as in DTLS, on one processor", cipher::sealing());
    Ok(())
}

/// Noise to send for so long, counted from when it is first asked for.
///
/// # Panics
/// Never: the name is a plain one.
#[must_use]
pub fn stream(time: Duration) -> What {
    let name = Name::try_from(NAME).expect("a plain name");
    What::Stream(name, Box::new(Noise { bytes: noise(), time, start: None }))
}

/// Where a stream goes that nobody keeps.
#[must_use]
pub fn nowhere() -> Box<dyn Write + Send> {
    Box::new(io::sink())
}

fn noise() -> Vec<u8> {
    let mut noise = vec![0; NOISE];
    random().fill_bytes(&mut noise);
    noise
}

struct Noise {
    bytes: Vec<u8>,
    time: Duration,
    start: Option<Instant>,
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = *self.start.get_or_insert_with(Instant::now);
        if start.elapsed() >= self.time {
            return Ok(0);
        }
        self.bytes.as_slice().read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_ends_when_its_time_is_over() {
        let mut noise = Noise { bytes: noise(), time: Duration::from_secs(3_600), start: None };
        let mut buffer = [0; 100];
        assert_eq!(noise.read(&mut buffer).unwrap(), 100);
        assert_ne!(buffer, [0; 100]);
        noise.time = Duration::ZERO;
        assert_eq!(noise.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn every_stage_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        stages(folder.path(), |stage| {
            assert!(stage.rate > 0, "{stage:?}");
            names.push(stage.name);
        })
        .unwrap();
        assert_eq!(names, ["write", "read", "hash", "cipher"]);
    }
}
