//! The hash pipeline: a chunk's SHA-256, a file's tree digest, and a file read into frames, hashed
//! on the way, as the sender does it.

use std::{fs, hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use p2pshare::{
    Selection,
    disk::{
        hashing::Pairs,
        source::{Chunk, ChunkReader, Frames, Source},
        tree::{Found, Tree},
    },
    proto::{
        digest::{Hash, tree},
        lanes::MAX_MESSAGE,
        manifest::{Entry, FileId, Kind},
    },
};
use tempfile::TempDir;

const CHUNK: usize = 256 * 1024;
const FILE: usize = 64 * 1024 * 1024;
const SMALL_FILES: usize = 1_000;
const SMALL_FILE: usize = 4096;

fn hashes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    let chunk = vec![7; CHUNK];
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    group.bench_function("a chunk", |bencher| bencher.iter(|| Hash::of(black_box(&chunk))));
    let leaves: Vec<_> = (0_u32..4095).map(|leaf| Hash::of(&leaf.to_be_bytes())).collect();
    group.throughput(Throughput::Elements(leaves.len() as u64));
    group.bench_function("a digest", |bencher| bencher.iter(|| tree(black_box(&leaves))));
    group.finish();
}

/// Files in a folder that is gone with it, and what a walk finds of them.
struct Files {
    source: Source,
    entries: Vec<Entry>,
    _folder: TempDir,
}

impl Files {
    fn new(count: usize, length: usize) -> Self {
        let folder = TempDir::new().expect("there is room for temporary files");
        let item = folder.path().join("files");
        fs::create_dir(&item).expect("the folder is new");
        for file in 0..count {
            fs::write(item.join(file.to_string()), vec![7; length]).expect("there is room");
        }
        let selection = Selection { paths: vec![item], ..Selection::default() };
        let tree = Tree::new(&selection).expect("the files are there");
        let mut entries = Vec::new();
        tree.walk(&mut |found| {
            entries.extend(match found {
                Found::Entry(entry) => Some(entry),
                Found::LeftOut { .. } => None,
            });
            true
        });
        Self { source: Source::of_tree(tree), entries, _folder: folder }
    }

    /// Reads everything into frames; gives their bytes.
    fn read(&self) -> usize {
        let mut total = 0;
        let (mut reader, mut pairs) = (ChunkReader::new(&self.source), Pairs::default());
        let mut frames = Frames::new(MAX_MESSAGE, |message| {
            total += message.bytes.len();
            Some(MAX_MESSAGE)
        });
        for (file, entry) in (0..).map(FileId).zip(&self.entries) {
            let chunks = if entry.kind == Kind::File { entry.chunk_count() } else { None };
            for chunk in 0..chunks.unwrap_or_default() {
                let read = reader.read(file, entry, chunk, &mut frames);
                if let Chunk::Read(unhashed) = read.expect("nobody changes the files") {
                    black_box(pairs.take((), unhashed));
                }
            }
            black_box(pairs.rest());
        }
        frames.flush();
        drop(frames);
        total
    }
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("files into frames");
    for (name, count, length) in [("one large", 1, FILE), ("many small", SMALL_FILES, SMALL_FILE)] {
        let files = Files::new(count, length);
        group.throughput(Throughput::Bytes((count * length) as u64));
        group.bench_function(name, |bencher| bencher.iter(|| files.read()));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = hashes, reading
}
criterion_main!(benches);
