//! One file on its way to the receiver, chunk by chunk. Nothing here is as large as the sender
//! says, only as what has arrived.

use std::{collections::BTreeMap, ops::Range};

use super::{
    digest::{Chunking, Hash, tree},
    frame::{Finished, TO_THE_END},
    manifest::{Entry, Kind},
};

/// Where a chunk that the receiver has from before is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the part file of an earlier attempt.
    Part,
    /// In the file that bears the name already.
    Base,
}

/// What the disk has of a file from before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Chunks that a part file claims to have.
    pub part: Vec<Range<u32>>,
    /// The size of a file of that name, when there is one; of a folder, 0.
    pub base: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// Its first bytes are here.
    Arriving(u32),
    /// All its bytes are here, but not what their hash must be.
    Whole,
    /// The disk is asked whether it has this hash.
    Checking(Hash),
    /// It is here from before with this hash, and the sender is asked whether that is right.
    Claimed(Origin, Hash),
    /// The file of that name has it.
    InBase(Hash),
    /// It is being copied from there.
    Copying(Hash),
    /// In the part file, and right.
    Verified(Hash),
}

/// What a hash that the sender announces means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// The chunk is to be checked.
    Check,
    /// The chunk in the part file is right.
    Right,
    /// The chunk in the file of that name is right, and to be copied if the flag says so.
    RightInBase(bool),
    /// That makes no sense.
    Nonsense,
}

/// What the disk's hash of a chunk means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is verified.
    Right,
    /// It is not what the sender read.
    Wrong,
    /// The file of that name changed while it was copied from.
    Lost,
    /// Nobody asked.
    Nothing,
}

/// How far a file is that may be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is not.
    Open,
    /// The part file has everything.
    Complete(Hash),
    /// The file of that name is the same.
    Here(Hash),
    /// The digest is not that of what arrived.
    Wrong,
}

/// A record's place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// In the file, in bytes.
    pub(super) position: u64,
    /// The chunk begins with it.
    pub(super) first: bool,
    /// The chunk ends with it.
    pub(super) last: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Incoming {
    chunking: Chunking,
    count: Option<u32>,
    chunks: BTreeMap<u32, Chunk>,
    verified: u32,
    in_base: u32,
    /// Whether it is known not to be the same as the file of that name.
    differs: bool,
    fin: Option<Finished>,
    /// Verified chunks at the start; kept for streams only.
    prefix: u32,
    stream: bool,
}

impl Incoming {
    pub(super) fn new(entry: &Entry, found: &Found) -> Self {
        let differs = found.base != Some(entry.size) || !found.part.is_empty();
        Self {
            chunking: entry.chunking(),
            count: entry.chunk_count(),
            chunks: BTreeMap::new(),
            verified: 0,
            in_base: 0,
            differs,
            fin: None,
            prefix: 0,
            stream: entry.kind == Kind::Stream,
        }
    }

    /// Whether bytes can be within a chunk of the file.
    pub(super) fn holds(&self, chunk: u32, offset: u32, length: u32) -> bool {
        let span = self.chunking.span(chunk);
        let fits = span.is_some_and(|(_, whole)| offset.checked_add(length) <= Some(whole));
        fits && offset.checked_add(length).is_some() && self.count.is_none_or(|n| chunk < n)
    }

    /// Where a record belongs; `None` when it makes no sense.
    pub(super) fn place(&mut self, chunk: u32, offset: u32, length: u32) -> Option<Placed> {
        let (start, whole) = self.chunking.span(chunk)?;
        let end = offset.checked_add(length).filter(|end| *end <= whole)?;
        let (due, first) = match self.chunks.get(&chunk) {
            None | Some(Chunk::Claimed(..)) => (0, true),
            Some(Chunk::Arriving(due)) => (*due, false),
            Some(_) => return None,
        };
        if offset != due || self.count.is_some_and(|count| chunk >= count) {
            return None;
        }
        let last = end == whole;
        self.chunks.insert(chunk, if last { Chunk::Whole } else { Chunk::Arriving(end) });
        Some(Placed { position: start.checked_add(u64::from(offset))?, first, last })
    }

    /// Where a chunk is that the sender was asked about.
    pub(super) fn claim_of(&self, chunk: u32) -> Option<Origin> {
        match self.chunks.get(&chunk) {
            Some(Chunk::Claimed(origin, _)) => Some(*origin),
            _ => None,
        }
    }

    /// How many chunks the sender was asked about.
    pub(super) fn claimed(&self) -> usize {
        self.chunks.values().filter(|chunk| matches!(chunk, Chunk::Claimed(..))).count()
    }

    /// How many chunks are here in part.
    pub(super) fn arriving(&self) -> usize {
        self.chunks.values().filter(|chunk| matches!(chunk, Chunk::Arriving(_))).count()
    }

    /// It is not the same as the file of that name: what is right there is to be copied.
    pub(super) fn differ(&mut self) -> Vec<u32> {
        self.differs = true;
        let mut copied = Vec::new();
        for (chunk, state) in &mut self.chunks {
            if let Chunk::InBase(hash) = *state {
                *state = Chunk::Copying(hash);
                copied.push(*chunk);
            }
        }
        self.in_base = 0;
        copied
    }

    /// The sender says what a chunk's hash is. Also whether the chunk was still arriving, which
    /// ends a stream's last one.
    pub(super) fn announced(&mut self, chunk: u32, hash: Hash) -> (Announced, bool) {
        let Some(state) = self.chunks.get_mut(&chunk) else { return (Announced::Nonsense, false) };
        match *state {
            Chunk::Arriving(_) if self.stream => {
                *state = Chunk::Checking(hash);
                (Announced::Check, true)
            }
            Chunk::Whole => {
                *state = Chunk::Checking(hash);
                (Announced::Check, false)
            }
            Chunk::Claimed(Origin::Part, claimed) if claimed == hash => {
                *state = Chunk::Verified(hash);
                self.verified += 1;
                (Announced::Right, false)
            }
            Chunk::Claimed(Origin::Base, claimed) if claimed == hash => {
                if self.differs {
                    *state = Chunk::Copying(hash);
                } else {
                    *state = Chunk::InBase(hash);
                    self.in_base += 1;
                }
                (Announced::RightInBase(self.differs), false)
            }
            _ => (Announced::Nonsense, false),
        }
    }

    /// The disk says what a chunk's hash is that it wrote or copied.
    pub(super) fn stored(&mut self, chunk: u32, hash: Hash) -> Stored {
        let Some(state) = self.chunks.get_mut(&chunk) else { return Stored::Nothing };
        match *state {
            Chunk::Checking(wanted) | Chunk::Copying(wanted) if wanted == hash => {
                *state = Chunk::Verified(hash);
                self.verified += 1;
                Stored::Right
            }
            Chunk::Checking(_) => Stored::Wrong,
            Chunk::Copying(_) => {
                self.chunks.remove(&chunk);
                Stored::Lost
            }
            _ => Stored::Nothing,
        }
    }

    /// The disk says what the hash of a chunk is that is here from before. Whether it is to be
    /// claimed: the sender may have sent it meanwhile.
    pub(super) fn claim(&mut self, chunk: u32, origin: Origin, hash: Hash) -> bool {
        let new = !self.chunks.contains_key(&chunk);
        if new {
            self.chunks.insert(chunk, Chunk::Claimed(origin, hash));
        }
        new
    }

    /// The file's end, as the sender says; `false` when it said so before, or cannot be right.
    pub(super) fn finished(&mut self, finished: Finished, offered: u64) -> bool {
        if self.stream {
            let count = finished.size.div_ceil(u64::from(self.chunking.chunk_size()));
            self.count = u32::try_from(count).ok();
        } else if finished.size != offered {
            return false;
        }
        self.fin.replace(finished).is_none_or(|before| before == finished)
    }

    /// Whether the sender says that it has sent everything.
    pub(super) fn is_finished(&self) -> bool {
        self.fin.is_some()
    }

    /// Whether the file is complete.
    pub(super) fn end(&self) -> End {
        let (Some(fin), Some(count)) = (self.fin, self.count) else { return End::Open };
        let here = self.in_base == count && !self.differs;
        if self.verified != count && !here {
            return End::Open;
        }
        let hashes: Vec<_> = self.chunks.values().filter_map(|chunk| chunk.hash()).collect();
        match tree(&hashes) == fin.digest {
            true if here => End::Here(fin.digest),
            true => End::Complete(fin.digest),
            false => End::Wrong,
        }
    }

    /// How many chunks of a stream are verified without a gap, when that has grown.
    pub(super) fn prefix(&mut self) -> Option<u32> {
        let before = self.prefix;
        while let Some(Chunk::Verified(_)) = self.chunks.get(&self.prefix) {
            self.prefix += 1;
        }
        (self.stream && self.prefix > before).then_some(self.prefix)
    }

    /// What the sender of a stream need not keep.
    pub(super) fn kept(&self) -> Option<u32> {
        (self.stream && self.prefix > 0).then_some(self.prefix)
    }

    /// A lost connection: what was under way is void. Gives the claims that want an answer.
    pub(super) fn interrupted(&mut self) -> Vec<(u32, Hash)> {
        self.fin = None;
        self.chunks.retain(|_, chunk| !matches!(chunk, Chunk::Arriving(_) | Chunk::Whole));
        let claims = self.chunks.iter().filter_map(|(chunk, state)| match state {
            Chunk::Claimed(_, hash) => Some((*chunk, *hash)),
            _ => None,
        });
        claims.collect()
    }

    /// The chunks that are neither here nor in these ranges.
    pub(super) fn missing(&self, except: &[Range<u32>]) -> Vec<Range<u32>> {
        let here = self.chunks.keys().map(|chunk| *chunk..chunk.saturating_add(1));
        gaps(here.chain(except.iter().cloned()).collect(), self.count.unwrap_or(TO_THE_END))
    }

    /// The chunks that a file of this size has wholly, without those in these ranges.
    pub(super) fn covered(&self, base: u64, except: &[Range<u32>]) -> Vec<Range<u32>> {
        let Some(count) = self.count else { return Vec::new() };
        let reaches = |chunk: u32| {
            let span = self.chunking.span(chunk);
            span.is_some_and(|(start, length)| start.saturating_add(u64::from(length)) <= base)
        };
        let whole = base / u64::from(self.chunking.chunk_size());
        let mut within = u32::try_from(whole).unwrap_or(u32::MAX).min(count);
        within += u32::from(reaches(within));
        gaps(except.to_vec(), within)
    }
}

/// What lies between ranges, up to an end.
fn gaps(mut ranges: Vec<Range<u32>>, end: u32) -> Vec<Range<u32>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut gaps = Vec::new();
    let mut next = 0;
    for range in ranges {
        if next < range.start.min(end) {
            gaps.push(next..range.start.min(end));
        }
        next = next.max(range.end);
    }
    if next < end {
        gaps.push(next..end);
    }
    gaps
}

impl Chunk {
    fn hash(self) -> Option<Hash> {
        match self {
            Self::Verified(hash) | Self::InBase(hash) => Some(hash),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::manifest::tests::file;

    const CHUNK: u64 = 256 * 1024;

    fn incoming(chunks: u64) -> Incoming {
        Incoming::new(&file(chunks * CHUNK), &Found::default())
    }

    #[test]
    fn what_is_missing_is_what_is_neither_here_nor_excepted() {
        let mut file = incoming(10);
        assert_eq!(file.missing(&[]), [0..10]);
        for chunk in [0, 1, 5] {
            assert!(file.claim(chunk, Origin::Part, Hash([0; 32])));
        }
        assert_eq!(file.missing(&[]), [2..5, 6..10]);
        assert_eq!(file.missing(&[3..4, 6..8]), [2..3, 4..5, 8..10]);
        assert_eq!(file.missing(&[0..10]), []);
        assert_eq!(incoming(0).missing(&[]), []);
    }

    #[test]
    fn a_base_covers_the_chunks_that_lie_within_it() {
        let file = incoming(4);
        assert_eq!(file.covered(4 * CHUNK, &[]), [0..4]);
        assert_eq!(file.covered(4 * CHUNK - 1, &[]), [0..3]);
        assert_eq!(file.covered(9 * CHUNK, &[1..2]), [0..1, 2..4]);
        assert_eq!(file.covered(CHUNK - 1, &[]), []);
    }
}
