//! Files of many sizes and names arrive whole, where they should.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use crate::harness::{Finished, Scene, Server, sha256, turn_on_lan};

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

#[test]
fn files_arrive_without_a_server_too() {
    let _turn = turn_on_lan();
    for size in [0, 1, CHUNK + 1, 20_000_000] {
        let scene = Scene::new();
        let source = scene.file("a.bin", size);
        let mut sender = scene.send_on_lan(&source).start();
        let code = sender.code();
        assert!(code.starts_with("lan"), "{code}");
        let receiver = scene.receive_on_lan(&code).start().finish().expect(0);
        let sender = sender.finish().expect(0);
        assert_eq!(scene.received(), ["a.bin"]);
        assert_eq!(sha256(&scene.receiver().join("a.bin")), sha256(&source));
        assert_eq!(sender.event("complete")["digest"], receiver.event("complete")["digest"]);
    }
}

/// Sends a file and receives it with further options.
fn hand_over(scene: &Scene, source: &Path, options: &[&str]) -> Finished {
    let server = Server::start();
    let mut sender = scene.send(&server, source).start();
    let code = sender.code();
    let receiver = options.iter().fold(scene.receive(&server, &code), |start, o| start.arg(o));
    let receiver = receiver.start().finish().expect(0);
    sender.finish().expect(0);
    receiver
}

#[test]
fn a_file_goes_into_the_folder_that_was_said() {
    let scene = Scene::new();
    fs::create_dir(scene.receiver().join("folder")).unwrap();
    let source = scene.file("a.bin", 1000);
    let receiver = hand_over(&scene, &source, &["-o", "folder"]);
    assert_eq!(scene.received(), ["folder"]);
    assert_eq!(sha256(&scene.receiver().join("folder/a.bin")), sha256(&source));
    assert_eq!(receiver.event("complete")["path"], "folder/a.bin");
}

#[test]
fn a_file_gets_the_name_that_was_said() {
    let scene = Scene::new();
    let source = scene.file("a.bin", 1000);
    hand_over(&scene, &source, &["--out", "b.txt"]);
    assert_eq!(scene.received(), ["b.txt"]);
    assert_eq!(sha256(&scene.receiver().join("b.txt")), sha256(&source));
}

#[test]
fn a_file_that_exists_is_kept_and_the_new_one_numbered() {
    let scene = Scene::new();
    let source = scene.file("a.txt", 1000);
    fs::write(scene.receiver().join("a.txt"), "mine").unwrap();
    let first = hand_over(&scene, &source, &[]);
    assert_eq!(first.event("complete")["path"], "a (1).txt");
    hand_over(&scene, &source, &["-o", "a.txt"]);
    assert_eq!(scene.received(), ["a (1).txt", "a (2).txt", "a.txt"]);
    assert_eq!(fs::read_to_string(scene.receiver().join("a.txt")).unwrap(), "mine");
    assert_eq!(sha256(&scene.receiver().join("a (1).txt")), sha256(&source));
    assert_eq!(sha256(&scene.receiver().join("a (2).txt")), sha256(&source));
}

#[test]
fn the_time_and_the_execute_bit_of_a_file_are_kept() {
    let modified = UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_700);
    for (mode, executable) in [(0o755, true), (0o644, false)] {
        let scene = Scene::new();
        let source = scene.file("tool", 1000);
        let file = fs::File::options().write(true).open(&source).unwrap();
        file.set_modified(modified).unwrap();
        file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        hand_over(&scene, &source, &[]);
        let received = fs::metadata(scene.receiver().join("tool")).unwrap();
        assert_eq!(received.modified().unwrap(), modified);
        assert_eq!(received.permissions().mode() & 0o100 != 0, executable);
    }
}

#[test]
fn special_mode_bits_are_not_kept() {
    let scene = Scene::new();
    let source = scene.file("tool", 1000);
    fs::set_permissions(&source, fs::Permissions::from_mode(0o6755)).unwrap();
    hand_over(&scene, &source, &[]);
    let received = fs::metadata(scene.receiver().join("tool")).unwrap();
    assert_eq!(received.permissions().mode() & 0o7000, 0);
}

#[test]
fn odd_names_are_names() {
    let (scene, server) = (Scene::new(), Server::start());
    let names = [
        " a name ",
        "$(touch oops)",
        "%2e%2e",
        "-rf",
        ".hidden",
        "it's \"naïve\".txt",
        "~",
        "日本 🦀.txt",
    ];
    for name in names {
        let source = scene.file(name, 1000);
        let mut sender = scene.send(&server, &source).start();
        let code = sender.code();
        let receiver = scene.receive(&server, &code).start().finish().expect(0);
        assert_eq!(receiver.event("complete")["name"], name);
        sender.finish().expect(0);
    }
    assert_eq!(scene.received(), names);
}

#[test]
fn a_name_that_some_systems_cannot_hold_is_told_and_kept() {
    for name in ["a:b", "a\\b", "nul.txt", "dot."] {
        let (scene, server) = (Scene::new(), Server::start());
        let source = scene.file(name, 1000);
        let mut sender = scene.send(&server, &source).start();
        assert_eq!(sender.event("unportable")["name"], name);
        let code = sender.code();
        scene.receive(&server, &code).start().finish().expect(0);
        sender.finish().expect(0);
        assert_eq!(scene.received(), [name]);
    }
}

#[test]
fn the_sender_keeps_its_file_as_it_was() {
    let scene = Scene::new();
    let source = scene.file("a.bin", CHUNK + 1);
    let before = (sha256(&source), fs::metadata(&source).unwrap().modified().unwrap());
    hand_over(&scene, &source, &[]);
    let after = (sha256(&source), fs::metadata(&source).unwrap().modified().unwrap());
    assert_eq!(before, after);
    assert_eq!(fs::read_dir(scene.sender()).unwrap().count(), 1);
}

#[test]
fn a_link_to_a_file_is_sent_as_the_file() {
    let scene = Scene::new();
    let source = scene.file("a.bin", 1000);
    let link = scene.sender().join("link");
    symlink("a.bin", &link).unwrap();
    hand_over(&scene, &link, &[]);
    assert_eq!(scene.received(), ["link"]);
    assert!(scene.receiver().join("link").symlink_metadata().unwrap().is_file());
    assert_eq!(sha256(&scene.receiver().join("link")), sha256(&source));
}

#[test]
fn the_digest_shown_is_the_one_that_hash_prints() {
    let scene = Scene::new();
    let source = scene.file("a.bin", 2 * CHUNK + 1);
    let receiver = hand_over(&scene, &source, &[]);
    let hash = scene.p2pshare(&scene.receiver(), &["hash", "a.bin"]).start().finish().expect(0);
    assert_eq!(receiver.event("complete")["digest"], hash.stdout[0]);
}
