//! A receiver's journal, which anybody who can write into the folder may have written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pshare::disk::journal;
use p2pshare_fuzz::seed;

const SEEDS: [&str; 2] = [
    "{\"item\":\"a\"}\n{\"file\":{\"number\":0,\"path\":\"a\",\"size\":9,\"modified\":[1,2],\"tree\":0}}\n{\"chunk\":[0,0]}\n",
    "{\"session\":{\"nameplate\":\"7\",\"address\":null,\"room\":\"00\",\"key\":\"11\",\"started\":5}}\n",
];

fuzz_target!(init: seed(SEEDS), |data: &[u8]| {
    let notes = journal::read(data);
    for noted in notes.files.values() {
        assert!(noted.chunks.iter().all(|chunks| !chunks.is_empty()));
        assert!(noted.chunks.is_sorted_by(|one, next| one.end < next.start));
    }
});
