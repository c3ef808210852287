//! What is secret stays out of what others can see: process lists and logs.

use std::fs;

use crate::harness::{Running, Scene, Server};

/// Words that occur in nothing that a program says of itself.
const CODE: &str = "4711-xylophone-yodel-zookeeper";

fn words() -> Vec<&'static str> {
    CODE.split('-').skip(1).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_typed_code_is_in_no_process_list() {
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.large_file("a.bin");
    let mut sender = scene.send(&server, &source).slowly().start();
    let code = sender.code();
    let secret: Vec<_> = code.split('-').skip(1).collect();
    let arguments = ["--json", "--server", &server.url(), "receive"];
    let mut receiver = scene.p2pshare(&scene.receiver(), &arguments).start();
    receiver.stderr_line("Code: ");
    let hidden = |sender: &Running, receiver: &Running| {
        for line in [sender.command_line(), receiver.command_line()] {
            assert!(line.contains("--json"), "{line}");
            assert!(secret.iter().all(|word| !line.contains(word)), "{line}");
        }
    };
    hidden(&sender, &receiver);
    receiver.type_line(&code);
    receiver.event("accept?");
    hidden(&sender, &receiver);
    receiver.type_line("y");
    receiver.under_way();
    hidden(&sender, &receiver);
    receiver.finish().expect(0);
    sender.finish().expect(0);
}

/// What each program logs of a session, and the words that its users have compared.
fn session() -> ([(&'static str, String); 3], Vec<String>) {
    let (scene, server) = (Scene::new(), Server::start_with(&["--log", "trace"]));
    let source = scene.file("hippopotamus.bin", 1_000_000);
    let sender = scene.send(&server, &source).arg("--log=trace").env("P2PSHARE_CODE", CODE);
    let mut sender = sender.start();
    assert_eq!(sender.code(), CODE);
    let receiver = scene.receive(&server, CODE).arg("--log=trace").arg("--verify").start();
    sender.event("same-words?");
    sender.type_line("y");
    let receiver = receiver.finish().expect(0);
    let sender = sender.finish().expect(0);
    assert_eq!(scene.received(), ["hippopotamus.bin"]);
    let verifier = sender.event("verifier")["words"].clone();
    let verifier =
        verifier.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
    let verifier: Vec<_> = verifier.collect();
    assert_eq!(verifier.len(), 4);
    let logs = [
        ("sender", sender.stderr),
        ("receiver", receiver.stderr),
        ("server", server.end().expect(0).stderr),
    ];
    (logs.map(|(who, log)| (who, log.join("\n"))), verifier)
}

#[test]
fn no_log_holds_a_word_of_the_code_or_the_name_of_the_file() {
    let (logs, verifier) = session();
    // Words of the verifier are drawn from all of the list, which has some that any log holds, or as
    // parts of others, as "older" in "folder".
    let (others, _) = session();
    let ordinary = |word: &str| others.iter().any(|(_, log)| log.contains(word));
    let verifier = verifier.iter().map(String::as_str).filter(|word| !ordinary(word));
    let mut secret = words();
    secret.extend(["hippopotamus"]);
    secret.extend(verifier);
    for (who, log) in logs {
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "{who}: {log}");
        for word in &secret {
            assert!(!log.contains(word), "{who} logs {word}: {log}");
        }
    }
}

#[test]
fn no_log_holds_a_wrong_code_either() {
    let (scene, server) = (Scene::new(), Server::start_with(&["--log", "trace"]));
    let source = scene.file("a.bin", 1000);
    let sender = scene.send(&server, &source).arg("--log=trace").arg("--code").arg(CODE);
    let mut sender = sender.start();
    sender.code();
    let wrong = "4711-xylophone-zookeeper-yodel";
    let receiver = scene.receive(&server, wrong).arg("--log=trace").start().finish().expect(5);
    sender.event("wrong-code");
    sender.signal("INT");
    let sender = sender.ended().expect(130);
    let server = server.end().expect(0);
    for log in [sender.stderr, receiver.stderr, server.stderr] {
        let log = log.join("\n");
        assert!(words().iter().all(|word| !log.contains(word)), "{log}");
    }
}

#[test]
fn what_makes_no_sense_as_a_code_is_not_repeated() {
    let scene = Scene::new();
    let mut receiver = scene.p2pshare(&scene.receiver(), &["receive"]).start();
    receiver.type_line("4711-xylophone-yodel-qqqqqq");
    let receiver = receiver.finish().expect(2);
    let all = receiver.stderr.join("\n");
    assert!(!all.contains("qqqqqq") && !all.contains("yodel"), "{all}");
}

#[test]
fn a_part_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (scene, server) = (Scene::new(), Server::start());
    let source = scene.large_file("a.bin");
    let mut sender = scene.send(&server, &source).slowly().start();
    let mut receiver = scene.receive(&server, &sender.code()).start();
    receiver.under_way();
    receiver.signal("STOP");
    let [hidden] = &scene.received()[..] else { panic!("{:?}", scene.received()) };
    assert!(hidden.starts_with(".p2pshare-"), "{hidden}");
    let mode = fs::metadata(scene.receiver().join(hidden)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    receiver.signal("CONT");
    receiver.finish().expect(0);
    sender.finish().expect(0);
}
