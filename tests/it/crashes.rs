//! Whatever ends a process, at whatever moment, and whichever: nothing unfinished bears a final
//! name, the same commands again finish the transfer, and what was verified is not sent again.
//!
//! `P2PSHARE_KILLS` says how many processes are killed (20 unless told).

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::Value;

use crate::harness::{Finished, Running, Scene, Server, sha256, side_by_side};

/// Large enough to be killed in the middle, in chunks of 256 KiB.
const SIZE: usize = 150_000_000;
const CHUNK: u64 = 256 * 1024;

const ENDS: [&[End]; 3] = [&[End::Receiver], &[End::Sender], &[End::Sender, End::Receiver]];

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Sender,
    Receiver,
}

/// A folder with one large file and some small ones.
fn tree(scene: &Scene) -> PathBuf {
    let root = scene.sender().join("tree");
    fs::create_dir_all(root.join("small")).unwrap();
    fs::rename(scene.file("large.bin", SIZE), root.join("large.bin")).unwrap();
    for file in 0..50 {
        fs::write(root.join(format!("small/{file}")), vec![file; 3000]).unwrap();
    }
    root
}

fn send(scene: &Scene, server: &Server, path: &Path) -> Running {
    scene.send(server, path).arg("--patience").arg("30s").start()
}

fn receive(scene: &Scene, server: &Server, code: &str) -> Running {
    scene.receive(server, code).arg("--patience").arg("30s").start()
}

/// The hidden folder of an interrupted transfer.
fn staging(scene: &Scene) -> Option<PathBuf> {
    let mut hidden = scene.received().into_iter().filter(|name| name.starts_with(".p2pshare-"));
    hidden.next().map(|name| scene.receiver().join(name))
}

/// Bytes that the journal of an interrupted transfer says are verified.
fn verified(scene: &Scene) -> u64 {
    let journal = staging(scene).map(|folder| fs::read_to_string(folder.join("journal")).unwrap());
    let (journal, mut sizes) = (journal.unwrap_or_default(), HashMap::new());
    let bytes = journal.lines().map_while(|line| {
        // The last line may have been cut.
        let line: Value = serde_json::from_str(line).ok()?;
        if let Some(number) = line["file"]["number"].as_u64() {
            sizes.insert(number, line["file"]["size"].as_u64().unwrap());
        }
        let Some(chunk) = line["chunk"].as_array() else { return Some(0) };
        let [file, chunk] = [0, 1].map(|at| chunk[at].as_u64().unwrap());
        Some((sizes[&file] - chunk * CHUNK).min(CHUNK))
    });
    bytes.sum()
}

fn spared(finished: &Finished) -> u64 {
    finished.event("complete")["bytes_spared"].as_u64().unwrap()
}

/// Everything arrived, and nothing else is there.
fn equal(scene: &Scene, root: &Path) {
    assert_eq!(scene.received(), ["tree"]);
    let arrived = scene.receiver().join("tree");
    assert_eq!(sha256(&arrived.join("large.bin")), sha256(&root.join("large.bin")));
    for file in 0..50 {
        let path = format!("small/{file}");
        assert_eq!(fs::read(arrived.join(&path)).unwrap(), fs::read(root.join(&path)).unwrap());
    }
}

/// Waits until so many bytes have arrived; `None` when the transfer ends first.
fn arrived(receiver: &mut Running, bytes: u64) -> Option<()> {
    loop {
        let progress = receiver.event_or_end("progress")?;
        if progress["bytes"].as_u64().unwrap() >= bytes {
            return Some(());
        }
    }
}

/// Kills the ends when some bytes have arrived, starts again what died, and says how many bytes
/// were verified by then; `None` when it was over before that, and then everything is whole.
fn killed_and_started_again(ends: &[End], at: u64) -> Option<u64> {
    let (scene, server) = (Scene::new(), Server::start());
    let root = tree(&scene);
    let mut sender = send(&scene, &server, &root);
    let code = sender.code();
    let mut receiver = receive(&scene, &server, &code);
    arrived(&mut receiver, at)?;
    for end in ends {
        let killed = if *end == End::Sender { &sender } else { &receiver };
        killed.signal("KILL");
    }
    // Without its sender the receiver finds out by itself, and keeps what it has.
    drop(receiver.ended());
    if scene.received().contains(&"tree".to_owned()) {
        equal(&scene, &root);
        return None;
    }
    let before = verified(&scene);
    let (sender, code) = if ends.contains(&End::Sender) {
        drop(sender.ended());
        let mut sender = send(&scene, &server, &root);
        let code = sender.code();
        (sender, code)
    } else {
        (sender, code)
    };
    let receiver = receive(&scene, &server, &code).ended().expect(0);
    sender.ended().expect(0);
    equal(&scene, &root);
    assert!(spared(&receiver) >= before, "{} spared, {before} verified", spared(&receiver));
    Some(before)
}

#[test]
#[expect(clippy::print_stdout, reason = "how many runs there were is part of the result")]
fn whoever_is_killed_whenever_nothing_verified_is_sent_again() {
    let kills = std::env::var("P2PSHARE_KILLS").ok().and_then(|count| count.parse().ok());
    let kills: u64 = kills.unwrap_or(20);
    let [resumed, over] = [const { AtomicU64::new(0) }; 2];
    side_by_side(3, 0..kills, |run| {
        let ends = ENDS[usize::try_from(run).unwrap() % ENDS.len()];
        // Moments spread over the transfer, other ones each time.
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
        let at = (run * 7_919 + u64::from(now)) % (SIZE as u64 * 3 / 4);
        match killed_and_started_again(ends, at) {
            Some(before) => resumed.fetch_add(u64::from(before > 0), Relaxed),
            None => over.fetch_add(1, Relaxed),
        };
    });
    let [resumed, over] = [resumed, over].map(AtomicU64::into_inner);
    println!(
        "{kills} runs, {resumed} with verified chunks before the kill, {over} over too soon, 0 failures"
    );
    assert!(resumed * 2 >= kills, "too few were killed in the middle");
}

/// Every step of the receiver's disk at which something can go wrong.
const STEPS: [&str; 7] = ["staging", "part", "write", "journal", "fsync", "rename", "fsync-folder"];

fn fails_at(step: &str, how: &str) {
    let (scene, server) = (Scene::new(), Server::start());
    let file = scene.file("a.bin", 700_000);
    let mut sender = send(&scene, &server, &file);
    let code = sender.code();
    let failing =
        scene.receive(&server, &code).env("P2PSHARE_FAIL_POINT", &format!("{step}:{how}"));
    let failed = failing.start().ended();
    let named = scene.received().contains(&"a.bin".to_owned());
    // Only the very last step comes after the name is given.
    assert_eq!(named, step == "fsync-folder", "{step} {how}");
    let (sender, code) = if how == "error" {
        failed.expect(10);
        sender.ended().expect(8);
        let mut sender = send(&scene, &server, &file);
        let code = sender.code();
        (sender, code)
    } else {
        assert_ne!(failed.code(), 0, "{step} {how}");
        // Before anything was staged there is nothing to come back with.
        if staging(&scene).is_none() {
            sender.signal("INT");
            drop(sender.ended());
            let mut sender = send(&scene, &server, &file);
            let code = sender.code();
            (sender, code)
        } else {
            (sender, code)
        }
    };
    receive(&scene, &server, &code).ended().expect(0);
    sender.ended().expect(0);
    assert_eq!(scene.received(), ["a.bin"], "{step} {how}");
    assert_eq!(sha256(&scene.receiver().join("a.bin")), sha256(&file), "{step} {how}");
}

#[test]
fn a_disk_that_fails_at_any_step_loses_nothing() {
    side_by_side(3, STEPS, |step| fails_at(step, "error"));
}

#[test]
fn a_process_that_ends_at_any_step_loses_nothing() {
    side_by_side(3, STEPS, |step| fails_at(step, "abort"));
}

#[test]
fn what_is_left_is_listed_and_can_be_thrown_away() {
    let (scene, server) = (Scene::new(), Server::start());
    let file = scene.large_file("a.bin");
    let mut sender = scene.send(&server, &file).start();
    let mut receiver = scene.receive(&server, &sender.code()).start();
    // What is not verified yet, which is a few chunks, is not kept.
    while receiver.event("progress")["bytes"].as_u64() < Some(10_000_000) {}
    let listed = |arguments: &[&str]| {
        let arguments = [&["--json", "transfers"], arguments].concat();
        scene.p2pshare(&scene.receiver(), &arguments).start().finish().expect(0)
    };
    assert!(!listed(&["list"]).has("left"), "one that goes on is not listed");
    receiver.signal("INT");
    receiver.ended().expect(130);
    sender.ended().expect(8);
    let left = listed(&["list"]).event("left");
    assert_eq!(left["items"][0], "a.bin");
    assert!(left["bytes"].as_u64().is_some());
    assert!(!left.to_string().contains("key"), "secrets are not shown");
    listed(&["discard"]);
    assert_eq!(scene.received(), [""; 0]);
    assert!(!listed(&["list"]).has("left"));
}
