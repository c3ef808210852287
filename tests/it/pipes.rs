//! Streams and messages: from pipe to pipe, in order and whole, or with an exit code that says no.

use std::{
    fs,
    io::{Read, Write},
    process::{Child, Command, Stdio},
};

use crate::harness::{Scene, Server, bytes};

const SIZE: usize = 20_000_000;

/// `p2pshare` with all its pipes in the test's hands.
fn piped(scene: &Scene, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pshare"));
    command.current_dir(scene.receiver()).args(arguments);
    command.env("P2PSHARE_STATE_DIR", scene.sender().join("state"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// A sender of its standard input, and its code.
fn sending(scene: &Scene, server: &Server, arguments: &[&str]) -> (Child, String) {
    let url = server.url();
    let arguments = [&["-q", "--server", &url, "send", "--patience", "1s"], arguments].concat();
    let mut sender = piped(scene, &arguments);
    let (mut line, mut byte) = (Vec::new(), [0]);
    while sender.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    (sender, String::from_utf8(line).unwrap())
}

fn receiving(scene: &Scene, server: &Server, code: &str, arguments: &[&str]) -> Child {
    let url = server.url();
    let first = ["-q", "--server", &url, "receive", "-y", "--patience", "1s", code];
    piped(scene, &[&first, arguments].concat())
}

/// Has a thread write everything, as far as somebody reads.
fn feed(sender: &mut Child, content: Vec<u8>) {
    let mut input = sender.stdin.take().unwrap();
    std::thread::spawn(move || drop(input.write_all(&content)));
}

#[test]
fn a_stream_goes_from_pipe_to_pipe() {
    let (scene, server) = (Scene::new(), Server::start());
    for size in [0, 1, 1 << 20, SIZE] {
        let (mut sender, code) = sending(&scene, &server, &["-"]);
        feed(&mut sender, bytes(size));
        let receiver = receiving(&scene, &server, &code, &["-o", "-"]);
        let output = receiver.wait_with_output().unwrap();
        assert!(output.status.success() && sender.wait().unwrap().success(), "{size}");
        assert!(output.stdout == bytes(size), "{size}: other bytes");
    }
}

#[test]
fn a_stream_becomes_a_file_and_a_file_a_stream() {
    let (scene, server) = (Scene::new(), Server::start());
    let (mut sender, code) = sending(&scene, &server, &["-", "--name", "backup.tar"]);
    feed(&mut sender, bytes(SIZE));
    assert!(receiving(&scene, &server, &code, &[]).wait().unwrap().success());
    assert!(sender.wait().unwrap().success());
    let path = scene.receiver().join("backup.tar");
    assert!(fs::read(&path).unwrap() == bytes(SIZE));

    let (mut sender, code) = sending(&scene, &server, &[path.to_str().unwrap()]);
    let receiver = receiving(&scene, &server, &code, &["-o", "-"]);
    assert!(receiver.wait_with_output().unwrap().stdout == bytes(SIZE));
    assert!(sender.wait().unwrap().success());
}

#[test]
fn a_stream_that_is_cut_does_not_look_whole() {
    let (scene, server) = (Scene::new(), Server::start());
    let (mut sender, code) = sending(&scene, &server, &["-"]);
    feed(&mut sender, bytes(SIZE));
    let mut receiver = receiving(&scene, &server, &code, &["-o", "-"]);
    let mut first = vec![0; 1 << 20];
    receiver.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    sender.kill().unwrap();
    sender.wait().unwrap();
    let output = receiver.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    first.extend(output.stdout);
    assert!(bytes(SIZE).starts_with(&first), "nothing wrong was handed on");
}

#[test]
fn a_reader_that_goes_away_is_told() {
    let (scene, server) = (Scene::new(), Server::start());
    let (mut sender, code) = sending(&scene, &server, &["-"]);
    feed(&mut sender, bytes(SIZE));
    let mut receiver = receiving(&scene, &server, &code, &["-o", "-"]);
    let mut output = receiver.stdout.take().unwrap();
    output.read_exact(&mut [0; 1000]).unwrap();
    drop(output);
    assert_eq!(receiver.wait().unwrap().code(), Some(10));
    assert_eq!(sender.wait().unwrap().code(), Some(8));
}

#[test]
fn a_message_is_raw_in_a_pipe_and_escaped_on_a_terminal() {
    let (scene, server) = (Scene::new(), Server::start());
    let text = "two\nlines \u{1b}[31mred";
    let (mut sender, code) = sending(&scene, &server, &["--text", text]);
    let output = receiving(&scene, &server, &code, &[]).wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
    assert!(sender.wait().unwrap().success());

    let (mut sender, code) = sending(&scene, &server, &["--text", text]);
    let program = env!("CARGO_BIN_EXE_p2pshare");
    let command = format!("exec {program} -q --server {} receive -y {code}", server.url());
    let receiver = scene.p2pshare(&scene.receiver(), &[]);
    let shown = receiver.instead("script", &["-qec", &command, "/dev/null"]).start().finish();
    assert!(shown.expect(0).stdout.join("\n").contains("lines \\u{1b}[31mred"));
    assert!(sender.wait().unwrap().success());
    assert_eq!(scene.received(), [""; 0]);
}

#[test]
fn only_one_file_goes_to_a_pipe() {
    let (scene, server) = (Scene::new(), Server::start());
    let folder = scene.sender();
    let (mut sender, code) = sending(&scene, &server, &[folder.to_str().unwrap()]);
    let receiver = receiving(&scene, &server, &code, &["-o", "-"]);
    assert_eq!(receiver.wait_with_output().unwrap().status.code(), Some(2));
    assert_eq!(sender.wait().unwrap().code(), Some(6));
}
