//! The sender's machine, told anything by its peer: it reads nothing but what it offered.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use p2pshare::proto::{
    digest::Hash,
    frame::{ChunkHash, Frame},
    manifest::{Entry, FileId, Kind},
    name::RelPath,
    sender::{Action, Input, Sender},
};
use p2pshare_fuzz::{bytes, script, seed};

fuzz_target!(init: seed(bytes("frame", "bytes")), |data: &[u8]| {
    let mut sender = Sender::new(false);
    let stream = data.first().is_some_and(|byte| byte % 4 == 0);
    sender.handle(Input::Found(if stream { vec![entry(Kind::Stream, "s", 0)] } else { files() }));
    sender.handle(Input::WalkEnded);
    let mut done = false;
    for message in script(data) {
        let input = match Frame::from_wire(&Bytes::copy_from_slice(message)) {
            Ok(Some(frame)) => Input::Peer(frame),
            Ok(None) => continue,
            Err(_) if message.len() == 1 => Input::PathLost,
            Err(_) if message.len() == 2 => Input::Reconnected,
            Err(_) => Input::Malformed,
        };
        sender.handle(input);
        let mut chunks = 0;
        while let Some(action) = sender.poll() {
            assert!(!done, "{action:?}");
            done |= matches!(action, Action::Done(_));
            // A file can be wanted as often as the peer likes; here, that takes an end.
            chunks += 1;
            if chunks > 10_000 {
                return;
            }
            carry_out(&mut sender, action);
        }
    }
});

fn entry(kind: Kind, path: &str, size: u64) -> Entry {
    let path = RelPath::parse(path.split('/')).expect("a plain path");
    Entry { kind, path, size, modified: None, executable: false }
}

fn files() -> Vec<Entry> {
    vec![
        entry(Kind::File, "a", 300_000),
        entry(Kind::Directory, "d", 0),
        entry(Kind::File, "d/b", 0),
        entry(Kind::File, "d/c", 5),
    ]
}

fn carry_out(sender: &mut Sender, action: Action) {
    let hash = Hash([7; 32]);
    let input = match action {
        Action::Read(file, chunk) => {
            offered(sender, file, chunk);
            if chunk >= 40 {
                Input::StreamEnded(file, 40 << 20)
            } else {
                Input::ChunkRead(ChunkHash { file, chunk, hash })
            }
        }
        Action::Check(file, chunk) => {
            offered(sender, file, chunk);
            Input::Checked(file, chunk, Some(hash))
        }
        Action::Close(file) => Input::Unchanged(file),
        _ => return,
    };
    sender.handle(input);
}

fn offered(sender: &Sender, file: FileId, chunk: u32) {
    let entry = sender.entry(file).expect("a file that was offered");
    assert!(entry.chunk_count().is_none_or(|count| chunk < count), "{file:?} {chunk}");
    assert_ne!(entry.kind, Kind::Directory);
}
