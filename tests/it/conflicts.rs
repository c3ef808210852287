//! Names that are taken: nothing is ever overwritten unasked, and nothing fetched that is there.

use std::{fs, path::Path};

use crate::{
    folders::passed,
    harness::{Finished, Scene, Server, bytes},
};

const SIZE: usize = 2_000_000;

/// A file of the sender, and another of that name at the receiver.
fn taken(scene: &Scene, theirs: &[u8]) {
    scene.file("a.bin", SIZE);
    fs::write(scene.receiver().join("a.bin"), theirs).unwrap();
}

fn pass(scene: &Scene, receive: &[&str]) -> [Finished; 2] {
    passed(scene, &Server::start(), &["a.bin"], receive)
}

fn spared(finished: &Finished) -> u64 {
    finished.event("complete")["bytes_spared"].as_u64().unwrap()
}

fn read(scene: &Scene, name: &str) -> Vec<u8> {
    fs::read(scene.receiver().join(name)).unwrap()
}

#[test]
fn by_default_what_arrives_gets_another_name() {
    for theirs in [&b"mine"[..], &vec![7; SIZE]] {
        let scene = Scene::new();
        taken(&scene, theirs);
        for end in pass(&scene, &["-y"]) {
            end.expect(0);
        }
        assert_eq!(scene.received(), ["a (1).bin", "a.bin"]);
        assert_eq!(read(&scene, "a (1).bin"), bytes(SIZE));
        assert_eq!(read(&scene, "a.bin"), theirs);
    }
}

#[test]
fn what_is_the_same_is_here_already_in_every_mode() {
    for mode in [&["-y"][..], &["-y", "--overwrite"], &["-y", "--rename"], &["-y", "--skip"]] {
        let scene = Scene::new();
        taken(&scene, &bytes(SIZE));
        let [receiver, sender] = pass(&scene, mode).map(|end| end.expect(0));
        assert_eq!(scene.received(), ["a.bin"], "{mode:?}");
        assert_eq!((spared(&receiver), spared(&sender)), (SIZE as u64, SIZE as u64), "{mode:?}");
    }
}

#[test]
fn an_update_fetches_only_what_differs() {
    let scene = Scene::new();
    let mut older = bytes(SIZE);
    older[700_000] ^= 1;
    older.truncate(SIZE - 5);
    taken(&scene, &older);
    let [receiver, _] = pass(&scene, &["-y", "--update"]).map(|end| end.expect(0));
    assert_eq!(scene.received(), ["a.bin"]);
    assert_eq!(read(&scene, "a.bin"), bytes(SIZE));
    // All but the chunk that differs and the one that is cut short.
    let chunk = 256 * 1024;
    assert!(spared(&receiver) >= SIZE as u64 - 2 * chunk, "{}", spared(&receiver));
}

#[test]
fn what_is_to_be_kept_is_kept() {
    for theirs in [&b"mine"[..], &vec![7; SIZE]] {
        let scene = Scene::new();
        taken(&scene, theirs);
        for end in pass(&scene, &["-y", "--skip"]) {
            end.expect(13);
        }
        assert_eq!(scene.received(), ["a.bin"]);
        assert_eq!(read(&scene, "a.bin"), theirs);
    }
}

#[test]
fn the_prompt_offers_what_can_be_done() {
    for (answer, names, content) in [
        ("", &["a (1).bin", "a.bin"][..], &b"mine"[..]),
        ("o", &["a.bin"], &bytes(SIZE)),
        ("r", &["a (1).bin", "a.bin"], b"mine"),
    ] {
        let (scene, server) = (Scene::new(), Server::start());
        taken(&scene, b"mine");
        let mut sender = scene.send(&server, Path::new("a.bin")).start();
        let mut receiver = scene.receive_asking(&server, &sender.code()).start();
        assert_eq!(receiver.event("accept?")["existing"][0], "a.bin");
        receiver.type_line(answer);
        receiver.ended().expect(0);
        sender.ended().expect(0);
        assert_eq!(scene.received(), names, "{answer:?}");
        assert_eq!(read(&scene, "a.bin"), content, "{answer:?}");
    }
}

#[test]
fn a_target_that_appears_meanwhile_is_not_touched() {
    for mode in ["--rename", "--overwrite", "--skip"] {
        let (scene, server) = (Scene::new(), Server::start());
        let file = scene.large_file("a.bin");
        let mut sender = scene.send(&server, &file).slowly().start();
        let mut receiver = scene.receive(&server, &sender.code()).arg(mode).start();
        receiver.under_way();
        fs::write(scene.receiver().join("a.bin"), "mine").unwrap();
        receiver.ended().expect(0);
        sender.ended().expect(0);
        assert_eq!(read(&scene, "a.bin"), b"mine", "{mode}");
        assert_eq!(scene.received(), ["a (1).bin", "a.bin"], "{mode}");
    }
}

/// A folder of the sender, and what is in it.
fn folder(scene: &Scene) {
    let root = scene.sender().join("d");
    fs::create_dir_all(root.join("empty")).unwrap();
    fs::write(root.join("same"), "same").unwrap();
    fs::write(root.join("other"), "new").unwrap();
}

fn pass_folder(scene: &Scene, mode: &[&str]) {
    for end in passed(scene, &Server::start(), &["d"], mode) {
        end.expect(0);
    }
}

#[test]
fn a_folder_whose_name_is_taken_is_renamed_merged_or_here_already() {
    let scene = Scene::new();
    folder(&scene);
    let theirs = scene.receiver().join("d");
    pass_folder(&scene, &["-y"]);
    pass_folder(&scene, &["-y"]);
    assert_eq!(scene.received(), ["d"], "the same folder is here already");
    fs::write(theirs.join("other"), "old").unwrap();
    fs::write(theirs.join("mine"), "mine").unwrap();
    pass_folder(&scene, &["-y"]);
    assert_eq!(scene.received(), ["d", "d (1)"]);
    assert_eq!(read(&scene, "d/other"), b"old");
    assert_eq!(read(&scene, "d (1)/other"), b"new");
    assert_eq!(read(&scene, "d (1)/same"), b"same");
    assert!(scene.receiver().join("d (1)/empty").is_dir());
    pass_folder(&scene, &["-y", "--skip"]);
    assert_eq!(read(&scene, "d/other"), b"old");
    pass_folder(&scene, &["-y", "--overwrite"]);
    assert_eq!(read(&scene, "d/other"), b"new");
    assert_eq!(read(&scene, "d/mine"), b"mine", "what is not offered stays");
}
