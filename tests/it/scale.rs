//! Much of everything: many files, long streams, small disks. Memory is printed, and bounded.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use sha2::{Digest, Sha256};

use crate::harness::{Scene, Server, peak_memory};

const MIB: u64 = 1024 * 1024;

/// Files of the tree, in folders of a thousand.
const FILES: u32 = 100_000;

/// Bytes of the stream: `P2PSHARE_STREAM` says another number.
const STREAM: u64 = 5_000_000_000;

#[test]
#[expect(clippy::print_stdout, reason = "the memory that it took is part of the result")]
fn a_hundred_thousand_files_arrive_in_little_memory() {
    let (scene, server) = (Scene::new(), Server::start());
    let root = scene.sender().join("many");
    for folder in 0..FILES / 1000 {
        let folder = root.join(format!("{folder:03}"));
        fs::create_dir_all(&folder).unwrap();
        for file in 0..1000 {
            fs::write(folder.join(format!("{file:03}")), file.to_string()).unwrap();
        }
    }
    let mut sender = scene.send(&server, &root).start();
    let mut receiver = scene.receive(&server, &sender.code()).start();
    // Both are asked while they still live: the receiver is when it flushes everything.
    receiver.event("finishing");
    let (sent, received) = (peak_memory(sender.id()), peak_memory(receiver.id()));
    let complete = receiver.ended().expect(0).event("complete");
    sender.ended().expect(0);
    println!("{FILES} files: sender {} MiB, receiver {} MiB", sent / MIB, received / MIB);
    assert_eq!(complete["delivered"], FILES + FILES / 1000 + 1);
    let last = scene.receiver().join("many/099/999");
    assert_eq!(fs::read_to_string(last).unwrap(), "999");
    assert!(sent < 200 * MIB && received < 200 * MIB, "{sent} {received}");
}

#[test]
#[expect(clippy::print_stdout, reason = "the memory that it took is part of the result")]
fn a_long_stream_takes_little_memory() {
    let length = std::env::var("P2PSHARE_STREAM").ok().and_then(|text| text.parse().ok());
    let length: u64 = length.unwrap_or(STREAM);
    let (scene, server) = (Scene::new(), Server::start());
    let binary = env!("CARGO_BIN_EXE_p2pshare");
    let url = server.url();
    let mut sender = Command::new(binary)
        .args(["-q", "--server", &url, "send", "-"])
        .current_dir(scene.sender())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = sender.stdin.take().unwrap();
    let block = crate::harness::bytes(1 << 20);
    let written = block.clone();
    let feeding = thread::spawn(move || {
        for _ in 0..length >> 20 {
            input.write_all(&written).unwrap();
        }
    });
    let code = first_line(sender.stdout.as_mut().unwrap());
    let mut receiver = Command::new(binary)
        .args(["-q", "--server", &url, "receive", "-y", "-o", "-", &code])
        .current_dir(scene.receiver())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = receiver.stdout.take().unwrap();
    let (mut hasher, mut expected) = (Sha256::new(), Sha256::new());
    let (mut buffer, mut total, mut memory) = (vec![0; 1 << 20], 0_u64, (0, 0));
    for count in 0..length >> 20 {
        output.read_exact(&mut buffer).unwrap();
        hasher.update(&buffer);
        expected.update(&block);
        total += 1 << 20;
        if count % 64 == 0 {
            memory = (peak_memory(sender.id()), peak_memory(receiver.id()));
        }
    }
    assert_eq!(output.read(&mut buffer).unwrap(), 0, "nothing follows");
    feeding.join().unwrap();
    assert!(receiver.wait().unwrap().success() && sender.wait().unwrap().success());
    assert_eq!(hasher.finalize(), expected.finalize());
    println!("{total} bytes: sender {} MiB, receiver {} MiB", memory.0 / MIB, memory.1 / MIB);
    // A release build stays below 100 MB; this one's own code takes more of it.
    assert!(memory.0 < 120_000_000 && memory.1 < 120_000_000, "{memory:?}");
}

fn first_line(output: &mut impl Read) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while output.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// A file system of its own, gone with the test; `None` where none can be mounted.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// 32 MiB of ext4 in a file, at a folder.
    fn mount(scene: &Scene, at: &'a Path) -> Option<Self> {
        let image = scene.sender().join("disk.img");
        fs::File::create(&image).unwrap().set_len(32 * MIB).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        let image = image.to_str().unwrap();
        let mounted = run("mkfs.ext4", &["-q", "-F", "-m", "0", image])
            && run("mount", &["-o", "loop", image, at.to_str().unwrap()]);
        assert!(
            mounted || std::env::var_os("CI").is_none(),
            "where CI is set, this is to be tested"
        );
        if !mounted {
            eprintln!("skipped, since loop file systems need root and e2fsprogs");
        }
        mounted.then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0).status();
        assert!(unmounted.unwrap().success() || thread::panicking());
    }
}

/// What bears a name on the small disk.
fn named(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| name != "lost+found" && !name.starts_with(".p2pshare-")).collect()
}

#[test]
fn too_little_room_is_refused_before_the_first_byte() {
    let (scene, server) = (Scene::new(), Server::start());
    let folder = scene.receiver();
    let Some(_disk) = SmallDisk::mount(&scene, &folder) else { return };
    let file = scene.file("a.bin", 40_000_000);
    let mut sender = scene.send(&server, &file).start();
    let refused = scene.receive(&server, &sender.code()).start().ended().expect(10);
    assert!(!refused.has("progress"));
    sender.ended().expect(8);
    assert!(named(&folder).is_empty());
}

#[test]
fn a_disk_that_fills_up_leaves_no_name_and_no_loss() {
    let (scene, server) = (Scene::new(), Server::start());
    let folder = scene.receiver();
    let Some(_disk) = SmallDisk::mount(&scene, &folder) else { return };
    let file = scene.file("a.bin", 5_000_000);
    // There is room when it starts, and none any more when it ends.
    let mut sender = scene.send(&server, &file).start();
    let mut receiver = scene.receive_asking(&server, &sender.code()).start();
    receiver.event("accept?");
    let filler = folder.join("filler");
    let full = fs::write(&filler, crate::harness::bytes(40_000_000));
    assert!(full.is_err(), "the disk is full");
    receiver.type_line("y");
    receiver.ended().expect(10);
    sender.ended().expect(8);
    assert_eq!(named(&folder), ["filler"]);
    fs::remove_file(filler).unwrap();
    let mut sender = scene.send(&server, &file).start();
    scene.receive(&server, &sender.code()).start().ended().expect(0);
    sender.ended().expect(0);
    assert_eq!(named(&folder), ["a.bin"]);
}
