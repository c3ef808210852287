//! Nothing is received without consent, and nothing is sent before words that were to be compared
//! are the same.

use crate::harness::{Running, Scene, Server, Start};

/// A sender and a receiver that asks, where it does.
fn asked(scene: &Scene, server: &Server) -> (Running, Running) {
    let source = scene.file("a.bin", 1000);
    let mut sender = scene.send(server, &source).start();
    let mut receiver = scene.receive_asking(server, &sender.code()).start();
    let question = receiver.event("accept?");
    assert_eq!((&question["name"], &question["bytes"]), (&"a.bin".into(), &1000.into()));
    assert_eq!(scene.received(), [""; 0]);
    (sender, receiver)
}

#[test]
fn whoever_says_yes_or_just_presses_enter_gets_the_file() {
    for answer in ["y", "YES", ""] {
        let (scene, server) = (Scene::new(), Server::start());
        let (sender, mut receiver) = asked(&scene, &server);
        receiver.type_line(answer);
        receiver.ended().expect(0);
        sender.finish().expect(0);
        assert_eq!(scene.received(), ["a.bin"]);
    }
}

#[test]
fn whoever_says_no_gets_nothing_and_the_sender_is_told() {
    for answer in ["n", "what?"] {
        let (scene, server) = (Scene::new(), Server::start());
        let (sender, mut receiver) = asked(&scene, &server);
        receiver.type_line(answer);
        receiver.ended().expect(6);
        sender.finish().expect(6);
        assert_eq!(scene.received(), [""; 0]);
    }
}

#[test]
fn nobody_to_ask_means_no() {
    let (scene, server) = (Scene::new(), Server::start());
    let (sender, receiver) = asked(&scene, &server);
    // Closes its standard input.
    receiver.finish().expect(6);
    sender.finish().expect(6);
    assert_eq!(scene.received(), [""; 0]);
}

/// Two ends that show words, where the sender's user is asked about them.
fn comparing(scene: &Scene, server: &Server, ends: [&str; 2]) -> (Running, Running) {
    let [on_sender, on_receiver] = ends;
    let with =
        |start: Start, option: &str| if option.is_empty() { start } else { start.arg(option) };
    let source = scene.file("a.bin", 1000);
    let mut sender = with(scene.send(server, &source), on_sender).start();
    let code = sender.code();
    let mut receiver = with(scene.receive(server, &code), on_receiver).start();
    let words = sender.event("verifier")["words"].clone();
    assert_eq!(words, receiver.event("verifier")["words"]);
    assert_eq!(words.as_array().unwrap().len(), 4);
    sender.event("same-words?");
    (sender, receiver)
}

const ENDS: [[&str; 2]; 3] = [["--verify", ""], ["", "--verify"], ["--verify", "--verify"]];

#[test]
fn whichever_end_wants_it_both_show_the_same_words_and_a_yes_sends_the_file() {
    for ends in ENDS {
        let (scene, server) = (Scene::new(), Server::start());
        let (mut sender, receiver) = comparing(&scene, &server, ends);
        sender.type_line("y");
        receiver.finish().expect(0);
        sender.finish().expect(0);
        assert_eq!(scene.received(), ["a.bin"]);
    }
}

#[test]
fn words_that_differ_send_nothing_not_even_a_name() {
    for (ends, answer) in ENDS.into_iter().zip(["n", "", "what?"]) {
        let (scene, server) = (Scene::new(), Server::start());
        let (mut sender, receiver) = comparing(&scene, &server, ends);
        sender.type_line(answer);
        sender.ended().expect(9);
        let receiver = receiver.finish().expect(9);
        assert!(!receiver.has("offer"));
        assert_eq!(scene.received(), [""; 0]);
    }
}

#[test]
fn each_session_has_words_of_its_own() {
    let (scene, server) = (Scene::new(), Server::start());
    let words = |_| {
        let (mut sender, _receiver) = comparing(&scene, &server, ENDS[0]);
        sender.type_line("n");
        sender.ended().expect(9).event("verifier")["words"].clone()
    };
    let [one, two] = [0, 1].map(words);
    assert_ne!(one, two);
}
