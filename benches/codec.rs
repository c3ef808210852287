//! Frames to bytes and back: what every payload byte, and every hash, passes through.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use p2pshare::proto::{
    digest::Hash,
    frame::{ChunkHash, Frame, MAX_PAYLOAD, Record},
    manifest::FileId,
};

/// The most records of 4 KiB files that one frame holds.
const SMALL_RECORDS: u32 = 15;

fn data(records: u32, length: usize) -> Frame {
    let record = |file| Record {
        file: FileId(file),
        chunk: 0,
        offset: 0,
        bytes: Bytes::from(vec![7; length]),
    };
    Frame::Data((0..records).map(record).collect())
}

fn hashes() -> Frame {
    let hash =
        |chunk: u32| ChunkHash { file: FileId(1), chunk, hash: Hash::of(&chunk.to_be_bytes()) };
    Frame::Hashes((0..1_000).map(hash).collect())
}

fn codec(criterion: &mut Criterion) {
    let frames = [
        ("data, one record", data(1, MAX_PAYLOAD)),
        ("data, small files", data(SMALL_RECORDS, 4096)),
        ("hashes", hashes()),
    ];
    let mut group = criterion.benchmark_group("codec");
    for (name, frame) in frames {
        let bytes = Bytes::from(frame.to_wire());
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("{name}, to bytes"), |bencher| {
            bencher.iter(|| black_box(&frame).to_wire());
        });
        group.bench_function(format!("{name}, from bytes"), |bencher| {
            bencher.iter(|| Frame::from_wire(black_box(&bytes)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = codec
}
criterion_main!(benches);
