use super::*;
use crate::proto::digest::{Chunking, Hash, tree};

#[derive(Deserialize, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
enum Case {
    Cut { of: Kind, size: u64, chunk_size: u32, chunks: u32, last_chunk: u32 },
    Tree { chunk_hashes: Vec<Hex>, digest: Hex },
    Content { of: Kind, length: u64, chunk_hashes: Vec<Hex>, digest: Hex },
}

/// What is cut.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    File,
    Stream,
}

impl Kind {
    fn chunk_size(self, size: u64) -> u32 {
        match self {
            Self::File => Chunking::of(size).chunk_size(),
            Self::Stream => Chunking::of_stream().chunk_size(),
        }
    }

    /// Where each chunk begins, and how long it is. That of a stream ends with the stream.
    fn spans(self, size: u64) -> Vec<(u64, u32)> {
        let cut = match self {
            Self::File => Chunking::of(size),
            Self::Stream => Chunking::of_stream(),
        };
        let spans = (0..).map_while(|chunk| cut.span(chunk));
        let spans = spans.take_while(|(start, _)| *start < size);
        let ended = |(start, length): (u64, u32)| {
            (start, u64::from(length).min(size - start).try_into().unwrap())
        };
        spans.map(ended).collect()
    }

    /// The number of chunks and the length of the last one.
    fn end(self, size: u64) -> (u32, u32) {
        match self {
            Self::File => {
                let cut = Chunking::of(size);
                let last = cut.count().checked_sub(1);
                assert_eq!(cut.span(cut.count()), None);
                (cut.count(), last.map_or(0, |last| cut.span(last).unwrap().1))
            }
            Self::Stream => {
                let spans = self.spans(size);
                let last = spans.last().map_or(0, |(_, length)| *length);
                (u32::try_from(spans.len()).unwrap(), last)
            }
        }
    }
}

fn tree_of(leaves: &[Hex]) -> Hex {
    let leaves: Vec<_> = leaves.iter().map(|leaf| Hash(leaf.array())).collect();
    Hex::of(&tree(&leaves).0)
}

/// Of the bytes of this length of which the one at position i is i modulo 251.
fn chunk_hashes(of: Kind, length: u64) -> Vec<Hex> {
    let hash = |(start, length): (u64, u32)| {
        let bytes = (start..start + u64::from(length)).map(|i| u8::try_from(i % 251).unwrap());
        Hex::of(&Hash::of(&bytes.collect::<Vec<_>>()).0)
    };
    of.spans(length).into_iter().map(hash).collect()
}

#[test]
fn files_and_streams_are_cut_and_digested_as_written() {
    let mut leaves = BTreeSet::new();
    let (mut files, mut streams) = (0, 0);
    each("digest.json", |name, case: &mut Case| match case {
        Case::Cut { of, size, chunk_size, chunks, last_chunk } => {
            let (count, last) = of.end(*size);
            same(name, chunk_size, of.chunk_size(*size));
            same(name, chunks, count);
            same(name, last_chunk, last);
        }
        Case::Tree { chunk_hashes, digest } => {
            same(name, digest, tree_of(chunk_hashes));
            leaves.insert(chunk_hashes.len());
        }
        Case::Content { of, length, chunk_hashes: hashes, digest } => {
            same(name, hashes, chunk_hashes(*of, *length));
            same(name, digest, tree_of(hashes));
            match of {
                Kind::File => files += 1,
                Kind::Stream => streams += 1,
            }
        }
    });
    assert!((0..10).all(|count| leaves.contains(&count)) && files >= 3 && streams >= 2);
}
