//! Files of many sizes arrive whole.

use crate::harness::{Scene, Server, sha256};

const CHUNK: usize = 256 * 1024;

fn arrives(size: usize) {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", size);
    let mut sender = scene.send(&server, &source).start();
    let code = sender.code();
    let receiver = scene.receive(&server, &code).start().finish().expect(0);
    let sender = sender.finish().expect(0);
    assert_eq!(scene.received(), ["a.bin"]);
    assert_eq!(sha256(&scene.receiver().join("a.bin")), sha256(&source));
    assert_eq!(sender.event("complete")["digest"], receiver.event("complete")["digest"]);
    assert_eq!(receiver.event("complete")["bytes"], size);
}

#[test]
fn an_empty_file_arrives() {
    arrives(0);
}

#[test]
fn a_file_of_one_byte_arrives() {
    arrives(1);
}

#[test]
fn files_around_the_size_of_a_chunk_arrive() {
    for size in [CHUNK - 1, CHUNK, CHUNK + 1] {
        arrives(size);
    }
}

#[test]
fn a_file_of_300_mb_arrives() {
    arrives(300_000_000);
}
