//! What is printed, where, and in which form.

use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Finished, Running, Scene, Server};

/// A transfer of a file of a name by two ends with arguments before the command, and how both
/// ended.
fn transfer(name: &str, arguments: &[&str]) -> [Finished; 2] {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file(name, 1_000_000);
    let url = server.url();
    let start = |folder: PathBuf, command: &[&str]| {
        scene.p2pshare(&folder, &[arguments, &["--server", &url], command].concat()).start()
    };
    let mut sender = start(scene.sender(), &["send", source.to_str().unwrap()]);
    let receiver = start(scene.receiver(), &["receive", "-y", &shown_code(&mut sender)]);
    [sender, receiver].map(|end| end.finish().expect(0))
}

/// The code as a sender shows it, in whatever form.
fn shown_code(sender: &mut Running) -> String {
    sender.any_line(|line| line.split(['"', ' ']).find_map(code_in))
}

fn code_in(text: &str) -> Option<String> {
    let is_code = text.parse::<p2pshare::Code>().is_ok();
    is_code.then(|| text.to_owned())
}

#[test]
fn a_quiet_sender_prints_the_code_and_nothing_else() {
    let [sender, receiver] = transfer("a.bin", &["-q"]);
    assert_eq!(sender.stdout.len(), 1);
    assert!(code_in(&sender.stdout[0]).is_some(), "{sender:?}");
    assert_eq!(sender.stderr, [""; 0]);
    assert_eq!((receiver.stdout, receiver.stderr), (Vec::new(), Vec::new()));
}

#[test]
fn quiet_ends_still_say_why_they_fail() {
    let scene = Scene::new();
    let ended = scene.p2pshare(&scene.sender(), &["-q", "send", "missing"]).start().finish();
    let ended = ended.expect(11);
    assert_eq!(ended.stdout, [""; 0]);
    assert!(ended.stderr[0].starts_with("Cannot read missing"), "{ended:?}");
}

#[test]
fn where_there_is_no_terminal_lines_are_plain() {
    let [sender, receiver] = transfer("a.bin", &[]);
    for end in [&sender, &receiver] {
        assert_eq!(end.stdout, [""; 0]);
        let all = end.stderr.join("\n");
        assert!(!all.contains(|c: char| c.is_control() && c != '\n'), "{all:?}");
        assert!(all.contains("a.bin") && all.contains("Tree digest: "), "{all}");
    }
    assert!(sender.stderr[0].starts_with("Code is: "), "{sender:?}");
    // The last two lines.
    let [on_sender, on_receiver] =
        [&sender, &receiver].map(|end| &end.stderr[end.stderr.len() - 2..]);
    assert!(on_sender[0].starts_with("Sent a.bin (976.56 KiB in "), "{on_sender:?}");
    assert!(on_receiver[0].starts_with("Received a.bin (976.56 KiB in "), "{on_receiver:?}");
    assert_eq!(on_sender[1], on_receiver[1]);
}

#[test]
fn the_command_that_a_sender_shows_is_one_that_receives() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1000);
    let arguments = ["--server", &server.url(), "send", source.to_str().unwrap()];
    let mut sender = scene.p2pshare(&scene.sender(), &arguments).start();
    let command = sender.stderr_line(" receive ");
    let words: Vec<_> = command.split_whitespace().collect();
    assert_eq!(words[0], env!("CARGO_BIN_EXE_p2pshare"));
    let arguments = [&words[1..], &["-y"]].concat();
    scene.p2pshare(&scene.receiver(), &arguments).start().finish().expect(0);
    sender.finish().expect(0);
    assert_eq!(scene.received(), ["a.bin"]);
}

#[test]
fn json_is_an_object_a_line_from_the_code_to_the_end() {
    let [sender, receiver] = transfer("a.bin", &["--json"]);
    for end in [&sender, &receiver] {
        assert_eq!(end.stderr, [""; 0]);
        for event in end.events() {
            assert_eq!(event["v"], 1);
            assert!(event["event"].is_string(), "{event}");
        }
    }
    let names = |end: &Finished| -> Vec<Value> {
        let mut names: Vec<_> = end.events().iter().map(|event| event["event"].clone()).collect();
        names.retain(|name| name != "progress");
        names
    };
    let expected = ["code", "connecting", "connected", "offer", "finishing", "complete"];
    assert_eq!(names(&sender), expected);
    assert_eq!(names(&receiver), expected[1..]);
    let progress = receiver.event("progress");
    assert_eq!((&progress["bytes"], &progress["total"]), (&1_000_000.into(), &1_000_000.into()));
}

#[test]
fn a_failure_in_json_is_an_error_with_the_exit_code() {
    let (scene, server) = (Scene::new(), Server::start());
    let code = "4711-aardvark-abandoned-abbreviate";
    let receiver = scene.receive(&server, code).start().finish().expect(4);
    let sender = scene.send_on_lan("missing".as_ref()).start().finish().expect(11);
    let nonsense = scene.receive_on_lan(&format!("{code}@example.org:0")).start().finish();
    for (end, exit) in [(receiver, 4), (sender, 11)] {
        let error = end.events().pop().unwrap();
        assert_eq!((&error["event"], &error["exit"]), (&"error".into(), &exit.into()));
        assert!(error["message"].as_str().unwrap().ends_with('.'), "{error}");
        assert_eq!(end.stderr, [""; 0]);
    }
    // What is said before there is any event is said by the parser of arguments.
    assert!(nonsense.expect(2).stdout.is_empty());
}

#[test]
fn a_failure_is_a_sentence_and_a_hint() {
    let (scene, server) = (Scene::new(), Server::start());
    let url = server.url();
    let code = "4711-aardvark-abandoned-abbreviate";
    for (arguments, exit) in [
        (&["send", "/dev/null"][..], 2),
        (&["receive", code], 2),
        (&["--server", &url, "receive", code], 4),
        (&["receive", "-y", "4711-aardvark-abandoned-abbreviate@127.0.0.1:1"], 3),
    ] {
        let ended = scene.p2pshare(&scene.sender(), arguments).start().finish().expect(exit);
        assert_eq!(ended.stdout, [""; 0]);
        let [sentence, hint] = &ended.stderr[..] else { panic!("{ended:?}") };
        assert!(sentence.ends_with('.') && !sentence.contains(". "), "{sentence}");
        assert!(hint.strip_prefix("hint: ").is_some_and(|hint| !hint.is_empty()), "{hint}");
    }
}

#[test]
fn names_that_would_deceive_a_terminal_are_escaped_on_both_ends() {
    let deceiving = ["\u{202e}", "\u{200b}", "\u{2066}", "\u{feff}"];
    for character in deceiving {
        let name = format!("photo{character}gpj.exe");
        let [sender, receiver] = transfer(&name, &[]);
        for end in [sender, receiver] {
            let all = end.stderr.join("\n");
            assert!(!all.contains(character), "{all:?}");
            let escaped = character.chars().next().unwrap().escape_unicode().to_string();
            assert!(all.contains(&format!("photo{escaped}gpj.exe")), "{all}");
        }
    }
}

#[test]
fn a_deceiving_name_is_escaped_in_the_question_too() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a\u{202e}b", 1000);
    let mut sender = scene.send(&server, &source).start();
    let code = sender.code();
    let arguments = ["--server", &server.url(), "receive", &code];
    let mut receiver = scene.p2pshare(&scene.receiver(), &arguments).start();
    let question = receiver.stderr_line("[Y/n]");
    assert_eq!(question, "Receive a\\u{202e}b (1000 B)? [Y/n] ");
    receiver.type_line("");
    receiver.ended().expect(0);
    sender.finish().expect(0);
}

#[test]
fn a_deceiving_name_is_escaped_in_errors_too() {
    let scene = Scene::new();
    let ended = scene.p2pshare(&scene.sender(), &["send", "a\u{202e}b"]).start().finish();
    let all = ended.expect(11).stderr.join("\n");
    assert!(all.contains("a\\u{202e}b") && !all.contains('\u{202e}'), "{all:?}");
}

/// Runs a command whose reader goes away after a line, and says how the command ended.
const IMPATIENT: &str = r#"{ "$@"; echo "ended with $?" >&2; } | head -n 1"#;

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.file("a.bin", 1_000_000);
    let impatient = ["-c", IMPATIENT, "sh"];
    let mut sender = scene.send(&server, &source).arg("--ttl=120s").under("sh", &impatient).start();
    let code = sender.code();
    let receiver = scene.receive(&server, &code).under("sh", &impatient).start().finish();
    let sender = sender.finish();
    for end in [sender, receiver] {
        assert_eq!(end.stderr, ["ended with 0"], "{end:?}");
        assert_eq!(end.stdout.len(), 1);
    }
    assert_eq!(scene.received(), ["a.bin"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_shows_a_bar_with_the_rate_and_then_one_line() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.large_file("a.bin");
    let mut sender = scene.send(&server, &source).start();
    let code = sender.code();
    let command = format!(
        "stty cols 100 rows 30; exec {} --server {} receive -y {code}",
        env!("CARGO_BIN_EXE_p2pshare"),
        server.url()
    );
    let receiver = scene.p2pshare(&scene.receiver(), &[]);
    let receiver = receiver.instead("script", &["-qec", &command, "/dev/null"]).start().finish();
    let all = receiver.expect(0).stdout.join("\n");
    sender.finish().expect(0);
    assert!(all.contains('\r') && all.contains('█') && all.contains(" % "), "{all:?}");
    assert!(all.contains("iB/s, ") && all.contains(" left"), "{all:?}");
    let lines: Vec<_> = all.trim_end().rsplit(['\n', '\r']).filter(|l| !l.is_empty()).collect();
    assert!(lines[0].starts_with("Tree digest: "), "{all:?}");
    assert!(lines[1].contains("Received a.bin (381.47 MiB in "), "{all:?}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let scene = Scene::new();
    let run = |argument| scene.p2pshare(&scene.sender(), &[argument]).start().finish().expect(0);
    let (version, help) = (run("--version"), run("--help"));
    assert_eq!(version.stdout, [format!("p2pshare {}", env!("CARGO_PKG_VERSION"))]);
    let text = help.stdout.join("\n");
    for part in ["p2pshare send", "receive", "--server", "Exit codes:"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!((version.stderr, help.stderr), (Vec::new(), Vec::new()));
}

#[test]
fn options_that_make_no_sense_are_a_usage_error() {
    let scene = Scene::new();
    for arguments in [
        &[][..],
        &["send"],
        &["nonsense"],
        &["-q", "--json", "send", "a"],
        &["receive", "no code"],
        &["send", "a", "--ttl", "0s"],
        &["receive", "-o", "-"],
    ] {
        let ended = scene.p2pshare(&scene.sender(), arguments).start().finish().expect(2);
        assert_eq!(ended.stdout, [""; 0]);
        assert!(!ended.stderr.is_empty());
    }
}
