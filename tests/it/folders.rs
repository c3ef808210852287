//! Folders and several items: what arrives is what was there, and what cannot be sent is said.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::SystemTime,
};

use serde_json::{Value, json};

use crate::harness::{Finished, Scene, Server, sha256, side_by_side};

/// What matters of a file: its bytes, whether it can be executed, when it was changed.
type Kept = (Vec<u8>, bool, SystemTime);

/// Everything beneath a folder; folders have no bytes.
fn tree(root: &Path) -> BTreeMap<String, Kept> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let data = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let bytes = if data.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let executable = data.is_file() && data.permissions().mode() & 0o100 != 0;
            found.insert(name, (bytes, executable, data.modified().unwrap()));
            if data.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// A folder with a bit of everything.
fn photos(scene: &Scene) -> std::path::PathBuf {
    let root = scene.sender().join("photos");
    fs::create_dir_all(root.join("empty")).unwrap();
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::rename(scene.file("a", 700_000), root.join("a.jpg")).unwrap();
    fs::rename(scene.file("b", 5), root.join("deep/er/b")).unwrap();
    fs::write(root.join("nothing"), "").unwrap();
    fs::write(root.join(".hidden"), "h").unwrap();
    fs::write(root.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["Case", "case", "na\u{ef}ve", "nai\u{308}ve"] {
        fs::write(root.join(name), name).unwrap();
    }
    root
}

/// Sends with some arguments, receives with others; how the receiver and the sender ended.
pub(crate) fn passed(
    scene: &Scene,
    server: &Server,
    send: &[&str],
    receive: &[&str],
) -> [Finished; 2] {
    let url = server.url();
    let send = [&["--json", "--server", &url, "send"], send].concat();
    let mut sender = scene.p2pshare(&scene.sender(), &send).start();
    let code = sender.code();
    let receive = [&["--json", "--server", &url, "receive", &code], receive].concat();
    let receiver = scene.p2pshare(&scene.receiver(), &receive).start().finish();
    [receiver, sender.finish()]
}

fn passes(scene: &Scene, send: &[&str], receive: &[&str]) -> [Finished; 2] {
    passed(scene, &Server::start(), send, receive).map(|end| end.expect(0))
}

#[test]
fn a_folder_arrives_as_it_is() {
    let scene = Scene::new();
    let root = photos(&scene);
    let [receiver, _] = passes(&scene, &["photos"], &["-y"]);
    assert_eq!(scene.received(), ["photos"]);
    assert_eq!(tree(&scene.receiver().join("photos")), tree(&root));
    let offer = receiver.event("offer");
    assert_eq!(offer["hidden"]["paths"], Value::from(vec!["photos/.hidden"]));
    assert_eq!(offer["executable"]["paths"], Value::from(vec!["photos/run.sh"]));
    assert!(offer["free"].as_u64().is_some());
}

/// What must carry in the end, when it does not depend on how soon something else is there.
fn carries(send: &str, receive: &str) -> Option<Value> {
    match (send, receive) {
        ("tls", "tls" | "auto") => Some(json!(["tls"])),
        ("quic", "quic" | "auto") => Some(json!(["quic"])),
        ("auto", "data-channel") => Some(json!(["data-channel"])),
        ("auto", _) => None,
        _ => Some(json!(["data-channel"])),
    }
}

#[test]
fn every_kind_of_lane_carries_every_kind_of_file_whatever_the_two_ends_want() {
    const KINDS: [&str; 4] = ["auto", "data-channel", "tls", "quic"];
    let wishes = KINDS.into_iter().flat_map(|send| KINDS.map(|receive| (send, receive)));
    side_by_side(3, wishes, |(send, receive)| {
        let scene = Scene::new();
        let sent = photos(&scene);
        let large = scene.file("large", 20_000_000);
        let ends = [&["photos", "large", "--lanes", send][..], &["-y", "--lanes", receive]];
        let [_, sender] = passes(&scene, ends[0], ends[1]);
        assert_eq!(tree(&scene.receiver().join("photos")), tree(&sent), "{send}, {receive}");
        assert_eq!(sha256(&scene.receiver().join("large")), sha256(&large), "{send}, {receive}");
        let events = sender.events();
        let over = events.iter().rev().find_map(|event| event["over"].as_array());
        if let Some(kinds) = carries(send, receive) {
            assert_eq!(over, kinds.as_array(), "{send}, {receive}");
        }
    });
}

#[test]
fn several_items_arrive_each_under_its_name_and_one_may_be_named() {
    let scene = Scene::new();
    let root = photos(&scene);
    scene.file("one.bin", 1000);
    fs::write(scene.sender().join("two.txt"), "two").unwrap();
    passes(&scene, &["one.bin", "photos", "two.txt"], &["-y"]);
    assert_eq!(scene.received(), ["one.bin", "photos", "two.txt"]);
    passes(&scene, &["photos"], &["-y", "-o", "pictures"]);
    assert_eq!(tree(&scene.receiver().join("pictures")), tree(&root));
    passes(&scene, &["one.bin", "two.txt"], &["-y", "-o", "new folder"]);
    assert!(scene.receiver().join("new folder/two.txt").exists());
}

#[test]
fn what_cannot_be_sent_is_left_out_and_said() {
    let scene = Scene::new();
    let root = photos(&scene);
    symlink("/etc/passwd", root.join("link")).unwrap();
    symlink(&root, root.join("deep/loop")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("pipe")).status().unwrap().success());
    let [_, sender] = passes(&scene, &["photos"], &["-y"]);
    let events = sender.events();
    let left: Vec<_> = events.iter().filter(|event| event["event"] == "left-out").collect();
    assert_eq!(left.len(), 3, "{left:?}");
    for name in ["link", "deep/loop", "pipe"] {
        assert!(!scene.receiver().join("photos").join(name).exists(), "{name}");
    }
}

#[test]
fn what_is_excluded_or_ignored_by_git_is_not_sent() {
    let scene = Scene::new();
    let root = photos(&scene);
    fs::write(root.join("x.tmp"), "x").unwrap();
    fs::write(root.join(".gitignore"), "deep/\n").unwrap();
    let arguments = ["--git", "--exclude", "*.tmp", "--exclude", "photos/a.jpg", "photos"];
    passes(&scene, &arguments, &["-y"]);
    let arrived = tree(&scene.receiver().join("photos"));
    for gone in ["x.tmp", "a.jpg", "deep"] {
        assert!(!arrived.contains_key(gone), "{gone}");
    }
    assert!(arrived.contains_key("run.sh") && arrived.contains_key(".gitignore"));
}

#[test]
fn only_what_is_wanted_is_taken() {
    let scene = Scene::new();
    photos(&scene);
    let [receiver, _] = passes(&scene, &["photos"], &["-y", "--only", "*.jpg", "--only", "er"]);
    let arrived = tree(&scene.receiver().join("photos"));
    let names: Vec<_> = arrived.keys().map(String::as_str).collect();
    assert_eq!(names, ["a.jpg", "deep", "deep/er", "deep/er/b"]);
    assert!(receiver.event("complete")["declined"].as_u64().unwrap() > 5);
}

#[test]
fn a_dry_run_shows_everything_and_takes_nothing() {
    let scene = Scene::new();
    let root = photos(&scene);
    let [receiver, sender] = passed(&scene, &Server::start(), &["photos"], &["--dry-run"]);
    let listing = receiver.expect(0).event("listing");
    assert_eq!(listing["entries"].as_array().unwrap().len(), tree(&root).len() + 1);
    sender.expect(6);
    assert_eq!(scene.received(), [""; 0]);
}

#[test]
fn two_items_of_one_name_are_a_usage_error() {
    let scene = Scene::new();
    let root = photos(&scene);
    fs::write(scene.sender().join("a.jpg"), "another").unwrap();
    let path = root.join("a.jpg");
    let arguments = ["--json", "send", "a.jpg", path.to_str().unwrap()];
    scene.p2pshare(&scene.sender(), &arguments).start().finish().expect(2);
}
