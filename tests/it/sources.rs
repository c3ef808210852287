//! Files that change while they are sent: each is named and left out, the others arrive, and both
//! ends say so.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::Path,
};

use crate::harness::{Scene, Server};

type Change = (&'static str, fn(&Path));

const CHANGES: [Change; 5] = [
    ("grows", |path| File::options().append(true).open(path).unwrap().write_all(b"x").unwrap()),
    ("shrinks", |path| File::options().write(true).open(path).unwrap().set_len(1).unwrap()),
    ("is written to", |path| {
        let mut file = File::options().write(true).open(path).unwrap();
        file.write_all(b"x").unwrap();
    }),
    ("vanishes", |path| fs::remove_file(path).unwrap()),
    ("is swapped for a link", |path| {
        fs::remove_file(path).unwrap();
        symlink("/etc/passwd", path).unwrap();
    }),
];

#[test]
fn a_file_that_changes_is_left_out_and_the_others_arrive() {
    for (what, change) in CHANGES {
        let (scene, server) = (Scene::new(), Server::start());
        let root = scene.sender().join("d");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("first"), "first").unwrap();
        let changing = root.join("large");
        fs::rename(scene.large_file("large"), &changing).unwrap();
        fs::write(root.join("last"), "last").unwrap();
        let mut sender = scene.send(&server, &root).slowly().start();
        let receiver = scene.receive(&server, &sender.code()).start();
        sender.under_way();
        change(&changing);
        let (sender, receiver) = (sender.finish().expect(11), receiver.finish().expect(11));
        for end in [sender, receiver] {
            assert_eq!(end.event("withdrawn")["path"], "d/large", "{what}");
        }
        assert_eq!(scene.received(), ["d"], "{what}");
        let mut names: Vec<_> = fs::read_dir(scene.receiver().join("d"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["first", "last"], "{what}");
    }
}
