//! Whoever is interrupted or killed, the other end is told or finds out, nothing unfinished bears
//! a final name, and nothing is left running.

use std::{
    fs,
    io::{self, Read},
    net::TcpStream,
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use crate::harness::{PATIENCE, Running, Scene, Server, turn_on_lan};

/// What is said to take 2 s; generous, since it is there to find what hangs.
const SOON: Duration = Duration::from_secs(20);

/// How long it may take to notice that the other process is gone, as generously.
const NOTICED: Duration = Duration::from_secs(60);

const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

/// Which of the two ends something happens to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Sender,
    Receiver,
}

const ENDS: [End; 2] = [End::Sender, End::Receiver];

/// A sender and a receiver with a file under way between them.
fn under_way(scene: &Scene, server: &Server) -> (Running, Running) {
    let source = scene.large_file("a.bin");
    let mut sender = scene.send(server, &source).slowly().arg("--patience").arg("2s").start();
    let mut receiver = scene.receive(server, &sender.code()).start();
    receiver.under_way();
    (sender, receiver)
}

/// Interrupts one end: it ends with the signal's exit code and the other with 8, soon.
fn interrupt(end: End, signal: (&str, i32), sender: Running, receiver: Running) {
    let (name, exit) = signal;
    let (interrupted, other) =
        if end == End::Sender { (sender, receiver) } else { (receiver, sender) };
    let at = Instant::now();
    interrupted.signal(name);
    other.ended().expect(8);
    let other_took = at.elapsed();
    interrupted.ended().expect(exit);
    assert!(other_took < SOON && at.elapsed() < SOON, "{other_took:?}");
}

#[test]
fn whoever_is_interrupted_in_mid_transfer_the_other_end_is_told() {
    for (end, signal) in ENDS.into_iter().flat_map(|end| SIGNALS.map(|signal| (end, signal))) {
        let (scene, server) = (Scene::new(), Server::start());
        let (sender, receiver) = under_way(&scene, &server);
        interrupt(end, signal, sender, receiver);
        assert_eq!(scene.named(), [""; 0], "{end:?} {signal:?}");
    }
}

#[test]
fn whoever_is_interrupted_at_the_prompt_the_other_end_is_told() {
    for (end, signal) in ENDS.into_iter().flat_map(|end| SIGNALS.map(|signal| (end, signal))) {
        let (scene, server) = (Scene::new(), Server::start());
        let source = scene.file("a.bin", 1000);
        let mut sender = scene.send(&server, &source).start();
        let mut receiver = scene.receive_asking(&server, &sender.code()).start();
        receiver.event("accept?");
        interrupt(end, signal, sender, receiver);
        assert_eq!(scene.named(), [""; 0], "{end:?} {signal:?}");
    }
}

#[test]
fn whoever_is_interrupted_while_words_are_compared_the_other_end_is_told() {
    for end in ENDS {
        let (scene, server) = (Scene::new(), Server::start());
        let source = scene.file("a.bin", 1000);
        let mut sender = scene.send(&server, &source).arg("--verify").start();
        let mut receiver = scene.receive(&server, &sender.code()).start();
        sender.event("same-words?");
        receiver.event("verifier");
        interrupt(end, SIGNALS[0], sender, receiver);
    }
}

#[test]
fn an_interruption_is_told_without_a_server_too() {
    let _turn = turn_on_lan();
    for end in ENDS {
        let scene = Scene::new();
        let source = scene.large_file("a.bin");
        let mut sender = scene.send_on_lan(&source).slowly().start();
        let mut receiver = scene.receive_on_lan(&sender.code()).start();
        receiver.under_way();
        interrupt(end, SIGNALS[0], sender, receiver);
        assert_eq!(scene.named(), [""; 0], "{end:?}");
    }
}

#[test]
fn an_interruption_is_told_when_the_server_is_gone_too() {
    for end in ENDS {
        let (scene, server) = (Scene::new(), Server::start());
        let (sender, receiver) = under_way(&scene, &server);
        server.kill();
        interrupt(end, SIGNALS[0], sender, receiver);
        assert_eq!(scene.named(), [""; 0], "{end:?}");
    }
}

#[test]
fn a_sender_interrupted_while_it_waits_ends_and_its_code_with_it() {
    for (name, exit) in SIGNALS {
        let (scene, server) = (Scene::new(), Server::start());
        let source = scene.file("a.bin", 1000);
        let mut sender = scene.send(&server, &source).start();
        let code = sender.code();
        let at = Instant::now();
        sender.signal(name);
        sender.ended().expect(exit);
        assert!(at.elapsed() < SOON);
        // The server keeps the place of a sender whose socket went away for a while.
        let receiver = scene.receive(&server, &code).start().finish();
        assert!([4, 8].contains(&receiver.code()), "{receiver:#?}");
    }
}

#[test]
fn a_receiver_interrupted_while_it_looks_for_its_sender_ends() {
    for (name, exit) in SIGNALS {
        let scene = Scene::new();
        let code = "lan9999997-aardvark-abandoned-abbreviate";
        let mut receiver = scene.receive_on_lan(code).start();
        receiver.event("searching");
        let at = Instant::now();
        receiver.signal(name);
        receiver.ended().expect(exit);
        assert!(at.elapsed() < SOON);
    }
}

#[test]
fn a_receiver_that_is_still_asked_for_its_code_is_ended_by_a_signal() {
    let scene = Scene::new();
    let mut receiver = scene.p2pshare(&scene.receiver(), &["receive"]).start();
    receiver.stderr_line("Code: ");
    receiver.signal("TERM");
    let ended = receiver.ended();
    assert!(ended.status.signal() == Some(15) || ended.code() == 143, "{ended:#?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_sender_interrupted_while_it_waits_leaves_no_open_port() {
    let _turn = turn_on_lan();
    let scene = Scene::new();
    let source = scene.file("a.bin", 1000);
    let mut sender = scene.send_on_lan(&source).start();
    sender.code();
    let ports = listening(sender.id());
    let [(inode, port)] = ports[..] else { panic!("{ports:?}") };
    let mut guest = TcpStream::connect(("127.0.0.1", port)).unwrap();
    guest.set_read_timeout(Some(PATIENCE)).unwrap();
    sender.signal("INT");
    sender.ended().expect(130);
    // Another process may have the port by now; the socket is a matter of this one.
    assert!(listening_sockets().iter().all(|(other, _)| *other != inode));
    let end = guest.read(&mut [0]);
    let is_reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
    assert!(matches!(end, Ok(0)) || end.as_ref().is_err_and(is_reset), "{end:?}");
}

/// Inode and port of the TCP sockets on which a process listens.
#[cfg(target_os = "linux")]
fn listening(process: u32) -> Vec<(u64, u16)> {
    let links = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links = links.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let own: Vec<_> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let mut sockets = listening_sockets();
    sockets.retain(|(inode, _)| own.contains(&format!("socket:[{inode}]")));
    sockets
}

/// Inode and port of all TCP sockets that listen on this machine.
#[cfg(target_os = "linux")]
fn listening_sockets() -> Vec<(u64, u16)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let lines: Vec<_> = tables.iter().flatten().flat_map(|table| table.lines().skip(1)).collect();
    let socket = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields[1].rsplit(':').next().unwrap(), 16).unwrap();
        // 0A is LISTEN.
        (fields[3] == "0A").then(|| (fields[9].parse().unwrap(), port))
    };
    lines.iter().filter_map(socket).collect()
}

#[test]
fn a_sender_finds_out_that_its_receiver_was_killed() {
    let (scene, server) = (Scene::new(), Server::start());
    let (sender, receiver) = under_way(&scene, &server);
    let at = Instant::now();
    receiver.signal("KILL");
    sender.finish().expect(8);
    assert!(at.elapsed() < NOTICED, "{:?}", at.elapsed());
    assert_eq!(scene.named(), [""; 0]);
}

#[test]
fn a_receiver_finds_out_that_its_sender_was_killed_and_leaves_no_name() {
    let (scene, server) = (Scene::new(), Server::start());
    let (sender, receiver) = under_way(&scene, &server);
    let at = Instant::now();
    sender.signal("KILL");
    receiver.finish().expect(8);
    assert!(at.elapsed() < NOTICED, "{:?}", at.elapsed());
    assert_eq!(scene.named(), [""; 0]);
}

#[test]
fn a_receiver_finds_out_on_the_lan_that_its_sender_was_killed() {
    let _turn = turn_on_lan();
    let scene = Scene::new();
    let source = scene.large_file("a.bin");
    let mut sender = scene.send_on_lan(&source).slowly().start();
    let mut receiver = scene.receive_on_lan(&sender.code()).start();
    receiver.under_way();
    sender.signal("KILL");
    receiver.finish().expect(8);
    assert_eq!(scene.named(), [""; 0]);
}

#[test]
fn a_sender_finds_out_that_its_receiver_was_killed_at_the_prompt() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1000);
    let mut sender = scene.send(&server, &source).arg("--patience").arg("2s").start();
    let mut receiver = scene.receive_asking(&server, &sender.code()).start();
    receiver.event("accept?");
    receiver.signal("KILL");
    sender.finish().expect(8);
}

#[test]
fn an_end_that_was_stopped_for_a_moment_goes_on() {
    for end in ENDS {
        let (scene, server) = (Scene::new(), Server::start());
        let (mut sender, mut receiver) = under_way(&scene, &server);
        let (stopped, other) = match end {
            End::Sender => (&mut sender, &mut receiver),
            End::Receiver => (&mut receiver, &mut sender),
        };
        stopped.signal("STOP");
        // The other end still tells how far it is; three times are 0.2 s.
        (0..3).for_each(|_| drop(other.event("progress")));
        stopped.signal("CONT");
        receiver.finish().expect(0);
        sender.finish().expect(0);
        assert_eq!(scene.received(), ["a.bin"], "{end:?}");
    }
}
