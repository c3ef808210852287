//! What goes wrong is told on both ends, with the exit code of the table, and leaves nothing.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use futures_util::{SinkExt, StreamExt};
use p2pshare_signal::protocol::{PATH, Reply, Request};
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::harness::{Finished, Running, Scene, Server, Start, can_unshare, turn_on_lan};

const NOTHING: [&str; 0] = [];

/// A code like another but for its first word.
fn wrong(code: &str) -> String {
    let (nameplate, words) = code.split_once('-').unwrap();
    let (first, rest) = words.split_once('-').unwrap();
    let other = if first == "aardvark" { "abandoned" } else { "aardvark" };
    format!("{nameplate}-{other}-{rest}")
}

#[test]
fn a_wrong_code_is_told_on_both_ends_and_a_fresh_one_works() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1000);
    let mut sender = scene.send(&server, &source).start();
    let code = sender.code();
    let receiver = scene.receive(&server, &wrong(&code)).start().finish().expect(5);
    assert!(!receiver.has("offer") && !receiver.has("connected"));
    sender.event("wrong-code");
    let fresh = sender.code();
    assert_ne!(fresh, code);
    scene.receive(&server, &code).start().finish().expect(4);
    scene.receive(&server, &fresh).start().finish().expect(0);
    sender.finish().expect(0);
    assert_eq!(scene.received(), ["a.bin"]);
}

#[test]
fn a_wrong_code_on_the_lan_is_told_on_both_ends_and_a_fresh_one_works() {
    let _turn = turn_on_lan();
    let scene = Scene::new();
    let source = scene.file("a.bin", 1000);
    let mut sender = scene.send_on_lan(&source).start();
    let code = sender.code();
    scene.receive_on_lan(&wrong(&code)).start().finish().expect(5);
    sender.event("wrong-code");
    let fresh = sender.code();
    assert_ne!(fresh, code);
    scene.receive_on_lan(&fresh).start().finish().expect(0);
    sender.finish().expect(0);
    assert_eq!(scene.received(), ["a.bin"]);
}

#[test]
fn a_code_of_the_user_is_not_used_again_after_a_wrong_guess() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1000);
    let chosen = "4711-abandoned-abbreviate-aardvark";
    let mut sender = scene.send(&server, &source).arg("--code").arg(chosen).start();
    let code = sender.code();
    assert_eq!(code, chosen);
    scene.receive(&server, &wrong(&code)).start().finish().expect(5);
    assert_ne!(sender.code(), chosen);
}

#[test]
fn the_third_wrong_code_ends_the_sender() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1000);
    let mut sender = scene.send(&server, &source).start();
    for _ in 0..3 {
        let code = sender.code();
        scene.receive(&server, &wrong(&code)).start().finish().expect(5);
    }
    let sender = sender.finish().expect(5);
    assert_eq!(sender.events().iter().filter(|event| event["event"] == "wrong-code").count(), 3);
    assert_eq!(scene.received(), NOTHING);
}

/// Claims a code and goes away without a word.
async fn claim_and_leave(server: &Server, code: &str) {
    let (mut socket, _) = connect_async(format!("{}{PATH}", server.url())).await.unwrap();
    let nameplate = code.split('-').next().unwrap().to_owned().try_into().unwrap();
    let claim = serde_json::to_string(&Request::Claim { nameplate }).unwrap();
    socket.send(Message::text(claim)).await.unwrap();
    let reply = socket.next().await.unwrap().unwrap().into_text().unwrap();
    let reply: Reply = serde_json::from_str(&reply).unwrap();
    assert!(matches!(reply, Reply::Claimed { .. }), "{reply:?}");
}

#[tokio::test]
async fn whoever_leaves_before_proving_to_know_the_code_has_guessed_wrong() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1000);
    let mut sender = scene.send(&server, &source).start();
    let code = sender.code();
    claim_and_leave(&server, &code).await;
    sender.event("wrong-code");
    let fresh = sender.code();
    assert_ne!(fresh, code);
    scene.receive(&server, &fresh).start().finish().expect(0);
    sender.finish().expect(0);
}

#[test]
fn an_unknown_code_is_told() {
    let (scene, server) = (Scene::new(), Server::start());
    let code = "4711-aardvark-abandoned-abbreviate";
    scene.receive(&server, code).start().finish().expect(4);
    assert_eq!(scene.received(), NOTHING);
}

#[test]
fn a_code_that_nobody_on_the_lan_has_is_told_after_a_hint() {
    let scene = Scene::new();
    let code = "lan9999998-aardvark-abandoned-abbreviate";
    let receiver = scene.receive_on_lan(code).start().finish().expect(4);
    assert!(receiver.has("searching") && receiver.has("still-searching"));
}

#[test]
fn a_code_works_once() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1000);
    let mut sender = scene.send(&server, &source).start();
    let code = sender.code();
    scene.receive(&server, &code).start().finish().expect(0);
    sender.finish().expect(0);
    scene.receive(&server, &code).start().finish().expect(4);
    assert_eq!(scene.received(), ["a.bin"]);
}

#[test]
fn a_code_that_expired_is_of_no_use() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1000);
    let mut sender = scene.send(&server, &source).arg("--ttl").arg("1s").start();
    let code = sender.code();
    sender.finish().expect(4);
    scene.receive(&server, &code).start().finish().expect(4);
    assert_eq!(scene.received(), NOTHING);
}

#[test]
fn a_second_receiver_is_refused_and_does_not_disturb_the_first() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.large_file("a.bin");
    let mut sender = scene.send(&server, &source).slowly().start();
    let code = sender.code();
    let mut first = scene.receive(&server, &code).start();
    first.under_way();
    scene.receive(&server, &code).start().finish().expect(4);
    first.finish().expect(0);
    let sender = sender.finish().expect(0);
    assert!(!sender.has("wrong-code"));
    assert_eq!(scene.received(), ["a.bin"]);
}

#[test]
fn a_code_without_a_place_needs_a_server() {
    let scene = Scene::new();
    let code = "4711-aardvark-abandoned-abbreviate";
    scene.receive_on_lan(code).start().finish().expect(2);
}

/// A port where nobody listens, and nobody else can, either.
fn deaf_port() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    (socket, address)
}

#[test]
fn a_receiver_is_told_that_its_server_cannot_be_reached() {
    let scene = Scene::new();
    let (_port, address) = deaf_port();
    let code = format!("4711-aardvark-abandoned-abbreviate@{address}");
    let receiver = scene.receive_on_lan(&code).start().finish().expect(3);
    let message = receiver.event("error")["message"].to_string();
    assert!(message.contains(&address), "{message}");
}

#[test]
fn a_sender_whose_server_cannot_be_reached_says_so_and_goes_on_without_it() {
    let _turn = turn_on_lan();
    let scene = Scene::new();
    let source = scene.file("a.bin", 1000);
    let (_port, address) = deaf_port();
    let url = format!("ws://{address}");
    let mut sender = scene.send_on_lan(&source).env("P2PSHARE_SERVER", &url).start();
    assert_eq!(sender.event("server-unreachable")["server"], url);
    let code = sender.code();
    assert!(code.starts_with("lan"), "{code}");
    scene.receive_on_lan(&code).start().finish().expect(0);
    sender.finish().expect(0);
    assert_eq!(scene.received(), ["a.bin"]);
}

#[test]
fn what_is_no_server_is_told() {
    let (scene, server) = (Scene::new(), Server::start());
    let url = format!("{}/elsewhere", server.url());
    let arguments = ["--json", "--server", &url, "receive", "4711-aardvark-abandoned-abbreviate"];
    // A path is not part of a server's address, so this finds the server all the same.
    scene.p2pshare(&scene.receiver(), &arguments).start().finish().expect(4);
    let arguments = ["--server", "box", "receive", "4711-aardvark-abandoned-abbreviate"];
    scene.p2pshare(&scene.receiver(), &arguments).start().finish().expect(2);
}

#[test]
fn a_transfer_goes_on_when_its_server_is_killed() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.large_file("a.bin");
    let mut sender = scene.send(&server, &source).slowly().start();
    let mut receiver = scene.receive(&server, &sender.code()).start();
    receiver.under_way();
    server.kill();
    receiver.finish().expect(0);
    sender.finish().expect(0);
    assert_eq!(scene.received(), ["a.bin"]);
}

/// A sender that cannot even start.
fn refuses(start: Start, exit: i32) -> Finished {
    let sender = start.start().finish().expect(exit);
    assert!(!sender.has("code"), "{sender:#?}");
    sender
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let scene = Scene::new();
    refuses(scene.send_on_lan(Path::new("missing")), 11);
}

#[test]
fn what_is_no_file_is_told() {
    let scene = Scene::new();
    refuses(scene.send_on_lan(Path::new("/dev/null")), 2);
    let socket = scene.sender().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    refuses(scene.send_on_lan(&socket), 2);
}

#[test]
fn a_file_that_may_not_be_read_is_told() {
    let scene = Scene::new();
    let source = scene.file("a.bin", 1000);
    fs::set_permissions(&source, fs::Permissions::from_mode(0o000)).unwrap();
    refuses(scene.send_on_lan(&source).without_privileges(), 11);
}

#[test]
fn names_that_cannot_be_sent_are_told() {
    let scene = Scene::new();
    for name in [&b"line\nbreak"[..], b"escape\x1b[2J", b"not UTF-8 \xff"] {
        let name = std::ffi::OsStr::from_bytes(name);
        fs::write(scene.sender().join(name), "x").unwrap();
        let start = scene.p2pshare(&scene.sender(), &["--json", "send"]).os_arg(name);
        refuses(start, 2);
    }
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_not_received() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.large_file("a.bin");
    let mut sender = scene.send(&server, &source).slowly().start();
    let receiver = scene.receive(&server, &sender.code()).start();
    sender.under_way();
    File::options().append(true).open(&source).unwrap().write_all(b"more").unwrap();
    sender.finish().expect(11);
    receiver.finish().expect(11);
    assert_eq!(scene.received(), NOTHING);
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_not_received() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.large_file("a.bin");
    let mut sender = scene.send(&server, &source).slowly().start();
    let receiver = scene.receive(&server, &sender.code()).start();
    sender.under_way();
    File::options().write(true).open(&source).unwrap().set_len(1).unwrap();
    sender.finish().expect(11);
    receiver.finish().expect(11);
    assert_eq!(scene.received(), NOTHING);
}

/// A receiver that cannot write, and what its sender says.
fn cannot_write(scene: &Scene, out: &str) -> (Running, Finished) {
    let server = Server::start();
    let source = scene.file("a.bin", 1000);
    let mut sender = scene.send(&server, &source).start();
    let receiver = scene.receive(&server, &sender.code()).arg("-o").arg(out);
    (sender, receiver.without_privileges().start().finish())
}

#[test]
fn a_folder_that_is_not_there_is_told_on_both_ends() {
    let scene = Scene::new();
    let (sender, receiver) = cannot_write(&scene, "missing/a.bin");
    receiver.expect(10);
    sender.finish().expect(8);
    assert_eq!(scene.received(), NOTHING);
}

#[test]
fn a_file_in_place_of_a_folder_is_told_on_both_ends() {
    let scene = Scene::new();
    fs::write(scene.receiver().join("file"), "mine").unwrap();
    let (sender, receiver) = cannot_write(&scene, "file/a.bin");
    receiver.expect(10);
    sender.finish().expect(8);
    assert_eq!(scene.received(), ["file"]);
}

#[test]
fn a_folder_that_may_not_be_written_to_is_told_on_both_ends() {
    let scene = Scene::new();
    let folder = scene.receiver().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    let (sender, receiver) = cannot_write(&scene, "folder");
    receiver.expect(10);
    sender.finish().expect(8);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}

#[test]
fn a_target_that_cannot_be_a_file_is_told_on_both_ends() {
    let scene = Scene::new();
    let (sender, receiver) = cannot_write(&scene, "missing/");
    receiver.expect(2);
    sender.finish().expect(8);
    assert_eq!(scene.received(), NOTHING);
}

/// A receiver whose folder is a file system of its own, of so many megabytes. It goes with the
/// process; others find it through `/proc`.
fn on_small_disk(receiver: Start, scene: &Scene, megabytes: u32) -> Start {
    let folder = scene.receiver();
    let mount = format!(
        "mount -t tmpfs -o size={megabytes}m tmpfs '{0}' && cd '{0}' && exec \"$@\"",
        folder.display()
    );
    receiver.under("unshare", &["--mount", "sh", "-c", &mount, "sh"])
}

#[test]
fn a_file_larger_than_the_disk_is_told_on_both_ends_before_anything_is_sent() {
    if !can_unshare() {
        return;
    }
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.large_file("a.bin");
    let mut sender = scene.send(&server, &source).start();
    let receiver = scene.receive(&server, &sender.code());
    let receiver = on_small_disk(receiver, &scene, 100).start().finish().expect(10);
    assert!(!receiver.has("progress"));
    sender.finish().expect(8);
}

#[test]
fn a_disk_that_becomes_full_is_told_on_both_ends() {
    if !can_unshare() {
        return;
    }
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.large_file("a.bin");
    let mut sender = scene.send(&server, &source).slowly().start();
    let receiver = scene.receive(&server, &sender.code());
    let mut receiver = on_small_disk(receiver, &scene, 500).start();
    receiver.under_way();
    receiver.signal("STOP");
    let disk = format!("/proc/{}/cwd/filler", receiver.id());
    let filled = std::io::copy(&mut std::io::repeat(1), &mut File::create(disk).unwrap());
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    receiver.signal("CONT");
    let receiver = receiver.finish().expect(10);
    assert!(receiver.event("error")["message"].to_string().contains("a.bin"));
    sender.finish().expect(8);
}
