//! Chunks and digests: how a file is cut, and what one number stands for all of it.
//!
//! A chunk is the unit of verification. Each has a SHA-256, taken while it is sent; a file's
//! digest is the Merkle tree hash of RFC 6962, section 2.1, over its chunks' hashes, so that it
//! is defined for any number of chunks, none included.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::wire::MAX_NUMBER;

/// The smallest chunk, in bytes.
const SMALLEST: u32 = 256 * 1024;

/// The largest chunk, in bytes.
pub const LARGEST: u32 = 16 * 1024 * 1024;

/// The chunks of a stream, in bytes.
const STREAM_CHUNK: u32 = 1024 * 1024;

/// A file has fewer chunks than this, unless it would need larger ones than [`LARGEST`].
const MANY: u64 = 4096;

/// A SHA-256 of a chunk, or the digest of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// How a file of a known size is cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    size: u64,
    chunk: u32,
}

impl Chunking {
    /// The cut for a file of this many bytes: the smallest power of two that gives fewer than
    /// 4,096 chunks, from 256 KiB to 16 MiB.
    #[must_use]
    pub fn of(size: u64) -> Self {
        let mut chunk = SMALLEST;
        while chunk < LARGEST && size.div_ceil(u64::from(chunk)) >= MANY {
            chunk = chunk.saturating_mul(2);
        }
        Self { size, chunk }
    }

    /// The cut of a stream, whose size nobody knows before its end: chunks of 1 MiB.
    #[must_use]
    pub fn of_stream() -> Self {
        Self { size: MAX_NUMBER, chunk: STREAM_CHUNK }
    }

    /// Bytes of every chunk but the last.
    #[must_use]
    pub fn chunk_size(self) -> u32 {
        self.chunk
    }

    /// Number of chunks; an empty file has none. Sizes on the wire stay below 2^53, which is 2^29
    /// chunks.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::try_from(self.size.div_ceil(u64::from(self.chunk))).unwrap_or(u32::MAX)
    }

    /// Where a chunk begins in the file, in bytes, and how long it is; `None` past the end.
    #[must_use]
    pub fn span(self, index: u32) -> Option<(u64, u32)> {
        let start = u64::from(index).checked_mul(u64::from(self.chunk))?;
        let left = self.size.checked_sub(start).filter(|left| *left > 0)?;
        let length = u32::try_from(left.min(u64::from(self.chunk))).ok()?;
        Some((start, length))
    }
}

/// The Merkle tree hash of RFC 6962, section 2.1, over a list of hashes.
#[must_use]
pub fn tree(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(&[]),
        [leaf] => tagged(0, &[leaf]),
        _ => {
            // The largest power of two below the number of leaves.
            let half = leaves.len().div_ceil(2).next_power_of_two();
            let (left, right) = leaves.split_at(half.min(leaves.len()));
            tagged(1, &[&tree(left), &tree(right)])
        }
    }
}

fn tagged(tag: u8, parts: &[&Hash]) -> Hash {
    let mut hasher = Sha256::new_with_prefix([tag]);
    for part in parts {
        hasher.update(part.0);
    }
    Hash(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_chunk_is_the_smallest_power_of_two_that_gives_fewer_than_4096() {
        let kib = |size| Chunking::of(size).chunk_size() / 1024;
        assert_eq!(kib(0), 256);
        assert_eq!(kib(4095 * 256 * 1024), 256);
        assert_eq!(kib(4095 * 256 * 1024 + 1), 512);
        assert_eq!(kib(64 * GIB - 1), 16 * 1024);
        assert_eq!(kib(200 * GIB), 16 * 1024);
        assert_eq!(Chunking::of(200 * GIB).count(), 12_800);
        assert_eq!(Chunking::of((1 << 53) - 1).count(), 1 << 29);
    }

    #[test]
    fn chunks_cover_a_file_without_gap_or_overlap() {
        for size in [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3 * GIB + 5] {
            let chunking = Chunking::of(size);
            let spans: Vec<_> = (0..chunking.count()).map(|i| chunking.span(i).unwrap()).collect();
            let mut end = 0;
            for (start, length) in spans {
                assert_eq!(start, end);
                end = start + u64::from(length);
            }
            assert_eq!(end, size);
            assert_eq!(chunking.span(chunking.count()), None);
        }
    }

    /// The roots that RFC 6962's reference implementation gives for its own test leaves do not
    /// apply (its leaves are not 32 bytes long), so the definition itself is written out here.
    #[test]
    fn the_tree_splits_at_the_largest_power_of_two_below_the_count() {
        let leaf = |n: u8| Hash([n; 32]);
        let leaves: Vec<_> = (1..=7).map(leaf).collect();
        let l = |n| tagged(0, &[&leaf(n)]);
        let node = |a: Hash, b: Hash| tagged(1, &[&a, &b]);
        assert_eq!(tree(&leaves[..1]), l(1));
        assert_eq!(tree(&leaves[..2]), node(l(1), l(2)));
        assert_eq!(tree(&leaves[..3]), node(node(l(1), l(2)), l(3)));
        assert_eq!(tree(&leaves[..5]), node(node(node(l(1), l(2)), node(l(3), l(4))), l(5)));
        let four = node(node(l(1), l(2)), node(l(3), l(4)));
        assert_eq!(tree(&leaves), node(four, node(node(l(5), l(6)), l(7))));
        assert_eq!(
            tree(&[]).to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
