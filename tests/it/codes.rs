//! A code reaches the receiver in many ways, and in the shapes in which people type it.

use std::collections::HashSet;

use crate::harness::{Running, Scene, Server, Start};

const CODE: &str = "4711-aardvark-abandoned-abbreviate";

/// A file, a server and a sender of the file that is still to be started.
struct Sending {
    scene: Scene,
    server: Server,
    start: Start,
}

fn sending(options: &[&str]) -> Sending {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1000);
    let start = options.iter().fold(scene.send(&server, &source), |start, o| start.arg(o));
    Sending { scene, server, start }
}

/// The file arrives, once the receiver has been started with what the sender's code is.
fn arrives(sending: Sending, receive: impl Fn(&Scene, &Server, &str) -> Start) -> String {
    let Sending { scene, server, start } = sending;
    let mut sender = start.start();
    let code = sender.code();
    receive(&scene, &server, &code).start().finish().expect(0);
    sender.finish().expect(0);
    assert_eq!(scene.received(), ["a.bin"]);
    code
}

#[test]
fn the_receiver_takes_its_code_from_the_environment() {
    arrives(sending(&[]), |scene, server, code| {
        let arguments = ["--json", "--server", &server.url(), "receive", "-y"];
        scene.p2pshare(&scene.receiver(), &arguments).env("P2PSHARE_CODE", code)
    });
}

#[test]
fn the_receiver_takes_its_code_from_whoever_types_it() {
    let Sending { scene, server, start } = sending(&[]);
    let mut sender = start.start();
    let code = sender.code();
    let arguments = ["--json", "--server", &server.url(), "receive", "-y"];
    let mut receiver = scene.p2pshare(&scene.receiver(), &arguments).start();
    receiver.type_line(&code);
    receiver.finish().expect(0);
    sender.finish().expect(0);
    assert_eq!(scene.received(), ["a.bin"]);
}

#[test]
fn a_code_alone_receives() {
    for options in [&["-y"][..], &["--yes", "-o", "b.bin"]] {
        let Sending { scene, server, start } = sending(&[]);
        let mut sender = start.start();
        let code = sender.code();
        let receiver =
            scene.p2pshare(&scene.receiver(), &[&code]).env("P2PSHARE_SERVER", &server.url());
        options.iter().fold(receiver, |start, o| start.arg(o)).start().finish().expect(0);
        sender.finish().expect(0);
        assert_eq!(scene.received().len(), 1);
    }
}

#[test]
fn options_may_come_before_a_code_that_stands_alone() {
    for options in [&["-y"][..], &["--yes", "-o", "b.bin"]] {
        let Sending { scene, server, start } = sending(&[]);
        let mut sender = start.start();
        let code = sender.code();
        let url = server.url();
        let arguments = [&["--server", &url], options, &[&code]].concat();
        scene.p2pshare(&scene.receiver(), &arguments).start().finish().expect(0);
        sender.finish().expect(0);
        assert_eq!(scene.received().len(), 1);
    }
}

#[test]
fn the_sender_may_choose_the_code() {
    assert_eq!(arrives(sending(&["--code", CODE]), Scene::receive), CODE);
}

#[test]
fn the_sender_takes_its_code_from_the_environment() {
    let Sending { scene, server, start } = sending(&[]);
    let sending = Sending { scene, server, start: start.env("P2PSHARE_CODE", CODE) };
    assert_eq!(arrives(sending, Scene::receive), CODE);
}

#[test]
fn a_code_is_understood_as_people_type_it() {
    for typed in [
        "4711-AARDVARK-Abandoned-abbreviate",
        " 4711 aardvark  abandoned abbreviate ",
        "4711-aardvrak-abandoned-abbreviat",
        "4711-aar-aba-abb",
    ] {
        arrives(sending(&["--code", CODE]), |scene, server, _| scene.receive(server, typed));
    }
}

#[test]
fn a_code_may_say_where_to_meet() {
    arrives(sending(&[]), |scene, server, code| {
        scene.receive_on_lan(&format!("{code}@{}", server.address()))
    });
}

#[test]
fn a_link_is_a_code() {
    arrives(sending(&[]), |scene, server, code| {
        scene.receive_on_lan(&format!("http://{}/#{code}", server.address()))
    });
}

#[test]
fn a_code_may_have_more_words() {
    let code = arrives(sending(&["--words", "5"]), Scene::receive);
    assert_eq!(code.split('-').count(), 1 + 5, "{code}");
}

#[test]
fn no_two_codes_are_alike() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1);
    let mut senders: Vec<_> = (0..3).map(|_| scene.send(&server, &source).start()).collect();
    let mut codes: Vec<_> = senders.iter_mut().map(Running::code).collect();
    let nameplates: HashSet<_> = codes.iter().map(|code| code.split('-').next().unwrap()).collect();
    assert_eq!(nameplates.len(), 3);
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 3);
}
