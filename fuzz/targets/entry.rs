//! An entry of the manifest: what is offered, under which name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pshare::proto::{
    digest::LARGEST,
    frame::Frame,
    manifest::Entry,
    name::{MAX_COMPONENT, MAX_DEPTH, MAX_PATH},
    wire::MAX_NUMBER,
};
use p2pshare_fuzz::{bytes, comes_back, seed};

fuzz_target!(init: seed(seeds()), |data: &[u8]| {
    let Ok(entry) = Entry::from_wire(data) else { return };
    assert!(entry.size <= MAX_NUMBER);
    let lengths: Vec<_> = entry.path.components().map(str::len).collect();
    assert!((1..=MAX_DEPTH).contains(&lengths.len()));
    assert!(lengths.iter().all(|length| (1..=MAX_COMPONENT).contains(length)));
    assert!(lengths.iter().map(|length| length + 1).sum::<usize>() <= MAX_PATH);
    if let Some(modified) = entry.modified {
        assert!(modified.seconds <= MAX_NUMBER && modified.nanoseconds < 1_000_000_000);
    }
    is_cut_without_gaps(&entry);
    let wire = entry.to_wire();
    comes_back(&entry, Entry::from_wire(&wire));
});

/// Chunks cover the file to its last byte and no further.
fn is_cut_without_gaps(entry: &Entry) {
    let chunking = entry.chunking();
    // Nobody knows where a stream ends.
    let Some(count) = entry.chunk_count() else { return };
    assert!(chunking.chunk_size() <= LARGEST);
    assert_eq!(chunking.span(count), None);
    let end = count.checked_sub(1).and_then(|last| chunking.span(last));
    assert_eq!(end.map_or(0, |(start, length)| start + u64::from(length)), entry.size);
}

/// The entries of the vectors' manifests.
fn seeds() -> Vec<Vec<u8>> {
    let frames = bytes("frame", "bytes").into_iter();
    let frames = frames.filter_map(|bytes| Frame::from_wire(&bytes.into()).ok().flatten());
    frames
        .flat_map(|frame| match frame {
            Frame::Manifest(entries) => entries.iter().map(Entry::to_wire).collect(),
            _ => Vec::new(),
        })
        .collect()
}
