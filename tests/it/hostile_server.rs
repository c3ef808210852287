//! A rendezvous server that reads, changes, drops, repeats and invents messages, between real
//! programs at both ends: it learns nothing, and not a byte of the file leaves the sender.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use p2pshare::{
    net::interfaces,
    proto::{Role, pairing::Message as Pairing, seal::STEP},
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    harness::{Finished, Running, Scene, Server, peak_memory, sha256, side_by_side},
    middle::{Becomes, Middle, Way, body, text, with_body},
    rogue::{Lie, Rogue, RogueSlot, claim, code, runtime},
};

const SIZE: usize = 300_000;

/// Tricks that are played at a time: each ends with an end that gives up waiting.
const SIDE_BY_SIDE: usize = 8;

/// Words that no other text is likely to hold.
const WORDS: [&str; 3] = ["albatross", "ambulance", "asparagus"];

/// A name that no other text is likely to hold.
const NAME: &str = "quarterly-figures-confidential.ods";

fn sender(scene: &Scene, url: &str, file: &Path) -> Running {
    let arguments = ["--json", "--server", url, "send", file.to_str().unwrap()];
    scene.p2pshare(&scene.sender(), &arguments).start()
}

fn receiver(scene: &Scene, url: &str, code: &str) -> Running {
    let arguments = ["--json", "--server", url, "receive", "-y", code];
    scene.p2pshare(&scene.receiver(), &arguments).start()
}

/// How a run through the middle ended.
struct Ended {
    sender: Finished,
    receiver: Finished,
}

/// A transfer through the middle, to its end; a sender that waits with a fresh code after a
/// wrong one is interrupted.
fn run(middle: &Middle) -> (Scene, Ended) {
    let scene = Scene::new();
    let file = scene.file(NAME, SIZE);
    let mut sender = sender(&scene, &middle.url(), &file);
    let code = sender.code();
    let receiver = receiver(&scene, &middle.url(), &code).finish();
    if sender.event_or_end("wrong-code").is_some() && sender.event_or_end("code").is_some() {
        sender.signal("INT");
    }
    (scene, Ended { sender: sender.finish(), receiver })
}

/// Nothing of the file has left the sender, and both ends say clearly why.
fn told_nothing(what: &str, scene: &Scene, ended: &Ended) {
    let Ended { sender, receiver } = ended;
    for event in ["offer", "progress", "finishing", "complete"] {
        assert!(!sender.has(event), "{what}: {sender:#?}");
        assert!(!receiver.has(event), "{what}: {receiver:#?}");
    }
    assert!(!receiver.has("accept?"), "{what}: {receiver:#?}");
    assert_eq!(scene.received(), [""; 0], "{what}");
    let interrupted = sender.has("wrong-code") && sender.code() == 130;
    assert!(interrupted || is_documented(sender), "{what}: {sender:#?}");
    assert!(is_documented(receiver), "{what}: {receiver:#?}");
}

/// An exit code that fits a server or peer that interferes, and a sentence. A changed version
/// number is another version, for all that an end can know.
fn is_documented(finished: &Finished) -> bool {
    let told = finished.event("error");
    let sentence = told["message"].as_str().unwrap_or_default();
    let version = finished.code() == 1 && sentence.contains("another version");
    sentence.len() > 20 && (version || [3, 4, 5, 7, 8, 9].contains(&finished.code()))
}

fn arrived(scene: &Scene, ended: Ended) -> Ended {
    let Ended { sender, receiver } = ended;
    let ended = Ended { receiver: receiver.expect(0), sender: sender.expect(0) };
    let (sent, received) = (scene.sender().join(NAME), scene.receiver().join(NAME));
    assert_eq!(sha256(&sent), sha256(&received));
    ended
}

#[test]
fn the_server_of_an_honest_run_learns_nothing() {
    let server = Server::start();
    let middle = Middle::honest(&server);
    let scene = Scene::new();
    let file = scene.file(NAME, SIZE);
    let code = format!("7-{}", WORDS.join("-"));
    let mut sender = {
        let arguments =
            ["--json", "--server", &middle.url(), "send", file.to_str().unwrap(), "--code", &code];
        scene.p2pshare(&scene.sender(), &arguments).start()
    };
    assert_eq!(sender.code(), code);
    let receiver = receiver(&scene, &middle.url(), &code).finish();
    arrived(&scene, Ended { sender: sender.finish(), receiver });

    let record = middle.record();
    let is = |kind: &str| record.iter().filter(|(_, value)| value["type"] == kind).count();
    assert!(is("allocate") == 1 && is("claimed") == 1 && is("paired") == 1, "{record:#?}");
    let mut sealed = [0, 0];
    for (way, value) in &record {
        let mut said = value.clone();
        // That is what the server itself says, of itself.
        said.as_object_mut().unwrap().remove("ice_servers");
        holds_no_secret(said.to_string().as_bytes());
        let Some(body) = body(value) else { continue };
        holds_no_secret(&body);
        if let Ok(Pairing::Sealed(bytes)) = Pairing::from_wire(&body) {
            assert_eq!(bytes.len() % STEP, 16, "{way:?}");
            sealed[usize::from(matches!(way, Way::From(Role::Sender)))] += 1;
        }
    }
    assert!(sealed[0] >= 2 && sealed[1] >= 2, "{record:#?}");
}

fn holds_no_secret(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let addresses = interfaces::gather().into_iter().map(|address| address.ip().to_string());
    let others = ["candidate:", "a=fingerprint", "127.0.0.1", "quarterly", ".ods"];
    let secrets = WORDS.iter().chain(&others).map(ToString::to_string).chain(addresses);
    for secret in secrets {
        assert!(!text.contains(&secret), "{secret} in {text}");
    }
}

/// The message that a trick is played on: `number` counts what an end says in the room, from 1;
/// the sender's 0 is the body of its slot.
///
/// | number | sender | receiver |
/// | --- | --- | --- |
/// | 0 | Share | |
/// | 1 | Confirmation | Reply |
/// | 2 | sealed offer | sealed answer |
/// | 3 | sealed candidates | sealed candidates |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    author: Role,
    number: u64,
}

const TARGETS: [Target; 7] = [
    Target { author: Role::Sender, number: 0 },
    Target { author: Role::Sender, number: 1 },
    Target { author: Role::Sender, number: 2 },
    Target { author: Role::Sender, number: 3 },
    Target { author: Role::Receiver, number: 1 },
    Target { author: Role::Receiver, number: 2 },
    Target { author: Role::Receiver, number: 3 },
];

/// What was said so far, by the label of who said it and the number.
type Seen = HashMap<(&'static str, u64), Vec<u8>>;

/// Makes of an author's bodies, one after the other, what the other end gets.
type Trick = Box<dyn FnMut(u64, Vec<u8>, &Seen) -> Vec<Vec<u8>> + Send>;

/// A server that plays a trick on a message, and sees to it that the ends cannot connect before
/// that: what the other end says meanwhile is held back.
struct Trickster {
    target: Target,
    trick: Trick,
    /// How many messages after its target the trick is over.
    more: u64,
    delivered: u64,
    seen: Seen,
    held: Vec<(Way, Message)>,
    played: Arc<AtomicBool>,
}

impl Trickster {
    fn new(
        target: Target,
        trick: impl FnMut(u64, Vec<u8>, &Seen) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        Self {
            target,
            trick: Box::new(trick),
            more: 0,
            delivered: 0,
            seen: HashMap::new(),
            held: Vec::new(),
            played: Arc::default(),
        }
    }

    /// Changes the target's body and no other.
    fn changes(
        target: Target,
        change: impl Fn(Vec<u8>, &Seen) -> Vec<u8> + Send + 'static,
    ) -> Self {
        Self::new(target, move |number, body, seen| {
            vec![if number == target.number { change(body, seen) } else { body }]
        })
    }

    fn meddle(&mut self, way: Way, value: &Value) -> Option<Becomes> {
        let kind = value["type"].as_str().unwrap_or_default();
        let number = value["number"].as_u64().unwrap_or_default();
        if let (Way::To(role), Some(body)) = (way, body(value)) {
            self.seen.insert((role.peer().label(), number), body);
        }
        match (way, kind) {
            // Numbers may differ from now on; the server keeps what is not acknowledged.
            (Way::From(_), "ack") => Some(Vec::new()),
            (Way::To(Role::Receiver), "claimed") if self.target.author == Role::Sender => {
                let bodies = (self.trick)(0, body(value).unwrap(), &self.seen);
                self.passed(0);
                let body = bodies.first().expect("a claim is answered with a body");
                Some(vec![(way, text(&with_body(value, body)))])
            }
            (Way::To(role), "message") if role == self.target.author.peer() => {
                Some(self.deliver(way, number, value))
            }
            (Way::To(_), "message") if self.makes_a_path(number) => {
                self.held.push((way, text(value)));
                Some(Vec::new())
            }
            _ => None,
        }
    }

    /// Whether a message to the target's author could lead to a path before the trick is over.
    fn makes_a_path(&self, number: u64) -> bool {
        let harmless = if self.target.author == Role::Sender { 1 } else { 2 };
        self.target.number >= 2 && number > harmless && !self.played.load(Relaxed)
    }

    fn deliver(&mut self, way: Way, number: u64, value: &Value) -> Becomes {
        let mut becomes = Vec::new();
        for body in (self.trick)(number, body(value).unwrap(), &self.seen) {
            self.delivered += 1;
            let mut value = with_body(value, &body);
            value["number"] = self.delivered.into();
            becomes.push((way, text(&value)));
        }
        if self.passed(number) {
            becomes.append(&mut self.held);
        }
        becomes
    }

    fn passed(&mut self, number: u64) -> bool {
        let over = number >= self.target.number + self.more;
        self.played.fetch_or(over, Relaxed);
        over
    }
}

/// Runs each trick with a server of its own. None may lead to a transfer.
fn none_gets_through(tricks: Vec<(String, Trickster)>) {
    side_by_side(SIDE_BY_SIDE, tricks, |(what, trick)| fails(&what, trick));
}

fn fails(what: &str, mut trickster: Trickster) {
    let played = trickster.played.clone();
    let server = Server::start();
    let middle = Middle::start(&server, move |way, value| trickster.meddle(way, value));
    let (scene, ended) = run(&middle);
    assert!(played.load(Relaxed), "{what} was never played");
    told_nothing(what, &scene, &ended);
}

fn named(what: &str, target: Target, trickster: Trickster) -> (String, Trickster) {
    (format!("{what}: {target:?}"), trickster)
}

#[test]
fn a_trickster_that_plays_no_trick_is_not_noticed() {
    for target in TARGETS {
        let mut trickster = Trickster::changes(target, |body, _| body);
        let server = Server::start();
        let middle = Middle::start(&server, move |way, value| trickster.meddle(way, value));
        let (scene, ended) = run(&middle);
        arrived(&scene, ended);
    }
}

#[test]
fn no_flipped_bit_gets_through() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 32).unwrap()
    };
    let flips = TARGETS.iter().cycle().take(30).map(|target| {
        let place = random();
        let flip = move |mut body: Vec<u8>, _: &Seen| {
            let bit = place % (body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
            body
        };
        named(&format!("bit {place}"), *target, Trickster::changes(*target, flip))
    });
    none_gets_through(flips.collect());
}

#[test]
fn no_body_that_is_cut_off_or_goes_on_gets_through() {
    let mut tricks = Vec::new();
    for target in TARGETS {
        let shorter = |mut body: Vec<u8>, _: &Seen| {
            body.pop();
            body
        };
        let longer = |body: Vec<u8>, _: &Seen| [&body[..], &[0]].concat();
        tricks.push(named("a byte less", target, Trickster::changes(target, shorter)));
        tricks.push(named("a byte more", target, Trickster::changes(target, longer)));
        let nothing = Trickster::changes(target, |_, _| Vec::new());
        tricks.push(named("nothing", target, nothing));
    }
    none_gets_through(tricks);
}

#[test]
fn no_message_that_is_repeated_or_left_out_gets_through() {
    let mut tricks = Vec::new();
    for target in TARGETS.into_iter().filter(|target| target.number > 0) {
        let repeat = move |number, body: Vec<u8>, _: &Seen| {
            if number == target.number { vec![body.clone(), body] } else { vec![body] }
        };
        tricks.push(named("twice", target, Trickster::new(target, repeat)));
    }
    // That the last message is missing nobody can know before another comes; and a transfer
    // that works without it is as good.
    for target in TARGETS.into_iter().filter(|target| [1, 2].contains(&target.number)) {
        let drop = move |number, body, _: &Seen| {
            if number == target.number { Vec::new() } else { vec![body] }
        };
        tricks.push(named("left out", target, Trickster::new(target, drop)));
    }
    none_gets_through(tricks);
}

#[test]
fn no_messages_in_another_order_get_through() {
    let firsts = [(Role::Sender, 1), (Role::Sender, 2), (Role::Receiver, 2)];
    let tricks = firsts.into_iter().map(|(author, number)| {
        let target = Target { author, number };
        let mut kept = None;
        let swap = move |at, body, _: &Seen| {
            if at == number {
                kept = Some(body);
                return Vec::new();
            }
            [Some(body), kept.take()].into_iter().flatten().collect()
        };
        named(
            "swapped with the next",
            target,
            Trickster { more: 1, ..Trickster::new(target, swap) },
        )
    });
    none_gets_through(tricks.collect());
}

#[test]
fn no_message_sent_back_to_its_author_gets_through() {
    let reflections = [
        (Role::Receiver, 1, ("sender", 0)),
        (Role::Sender, 1, ("receiver", 1)),
        (Role::Receiver, 2, ("sender", 2)),
        (Role::Receiver, 3, ("sender", 2)),
    ];
    let tricks = reflections.into_iter().map(|(author, number, own)| {
        let target = Target { author, number };
        let reflect = move |_, seen: &Seen| seen[&own].clone();
        named("sent back", target, Trickster::changes(target, reflect))
    });
    none_gets_through(tricks.collect());
}

/// Every body of an honest run with another code.
fn another_run() -> Seen {
    let server = Server::start();
    let middle = Middle::honest(&server);
    let (scene, ended) = run(&middle);
    arrived(&scene, ended);
    let mut seen = Seen::new();
    for (way, value) in middle.record() {
        if let (Way::To(role), Some(body)) = (way, body(&value)) {
            seen.insert((role.peer().label(), value["number"].as_u64().unwrap_or_default()), body);
        }
    }
    seen
}

#[test]
fn no_message_of_another_run_gets_through() {
    let other = Arc::new(another_run());
    let tricks = TARGETS.into_iter().map(|target| {
        let other = other.clone();
        let splice = move |_, _: &Seen| other[&(target.author.label(), target.number)].clone();
        named("of another run", target, Trickster::changes(target, splice))
    });
    none_gets_through(tricks.collect());
}

/// What the server may do without harm: the ends pass it over.
#[test]
fn what_means_nothing_changes_nothing() {
    let server = Server::start();
    let middle = Middle::start(&server, |way, value| {
        let Way::To(_) = way else { return None };
        let mut other = value.clone();
        other["room"] = "ab".repeat(16).into();
        let mut foreign = json!({ "type": "message", "room": "cd".repeat(16), "number": 1 });
        foreign["body"] = "AAAA".into();
        let left = json!({ "type": "peer", "room": "cd".repeat(16), "presence": "left" });
        let around = |messages: &[&Value]| messages.iter().map(|m| (way, text(m))).collect();
        match value["type"].as_str()? {
            "paired" => Some(around(&[&foreign, value, value, &left])),
            "claimed" => Some(around(&[value, value, &foreign, &left])),
            "message" => Some(around(&[&other, value, value, &foreign, &left])),
            _ => None,
        }
    });
    let (scene, ended) = run(&middle);
    arrived(&scene, ended);
}

/// Says something to an end right before or after the first message to it in the room.
fn interjects(role: Role, interjection: Value) -> Ended {
    let server = Server::start();
    let mut said = false;
    let middle = Middle::start(&server, move |way, value| {
        if way != Way::To(role) || value["type"] != "message" || said {
            return None;
        }
        said = true;
        let mut interjection = interjection.clone();
        interjection["room"] = value["room"].clone();
        Some(vec![(way, text(&interjection)), (way, text(value))])
    });
    let (scene, ended) = run(&middle);
    told_nothing(&format!("{role:?}"), &scene, &ended);
    ended
}

#[test]
fn an_end_that_is_told_the_other_has_gone_gives_up_before_it_says_anything() {
    for presence in ["gone", "left"] {
        let said = json!({ "type": "peer", "presence": presence });
        let Ended { sender, .. } = interjects(Role::Sender, said.clone());
        assert!(sender.has("wrong-code"), "{sender:#?}");
        let Ended { receiver, .. } = interjects(Role::Receiver, said);
        assert!([5, 8].contains(&receiver.code()), "{receiver:#?}");
    }
}

#[test]
fn an_end_that_is_refused_amid_pairing_gives_up() {
    let said = json!({ "type": "refused", "reason": "no-such-room" });
    let Ended { sender, .. } = interjects(Role::Sender, said.clone());
    assert!(sender.has("wrong-code"), "{sender:#?}");
    let Ended { receiver, .. } = interjects(Role::Receiver, said);
    assert!([3, 8].contains(&receiver.code()), "{receiver:#?}");
}

#[test]
fn a_message_with_a_number_that_is_not_due_is_not_taken() {
    let said = json!({ "type": "message", "number": 7, "body": "AAAA" });
    let Ended { sender, .. } = interjects(Role::Sender, said.clone());
    assert!(sender.has("wrong-code"), "{sender:#?}");
    let Ended { receiver, .. } = interjects(Role::Receiver, said);
    assert!([3, 8].contains(&receiver.code()), "{receiver:#?}");
}

/// Answers that are none.
fn nonsense() -> Vec<Message> {
    let mut answers: Vec<_> = [
        "",
        "nonsense",
        "null",
        "[]",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"unheard-of"}"#,
        r#"{"type":"allocated"}"#,
        r#"{"type":"claimed","room":"x"}"#,
        r#"{"type":"refused","reason":"because"}"#,
        r#"{"type":"expired","room":"00000000000000000000000000000000"}"#,
    ]
    .map(Message::text)
    .into();
    answers.push(Message::text("[".repeat(10_000)));
    answers.push(Message::binary(vec![0; 100]));
    answers.push(Message::text("x".repeat(20_000_000)));
    answers.push(Message::Close(None));
    answers
}

#[test]
fn a_nonsense_answer_ends_either_end_and_says_so() {
    for answer in nonsense() {
        let server = Server::start();
        let shown = format!("{:.60}", answer.to_string());
        let middle = {
            let answer = answer.clone();
            Middle::start(&server, move |way, value| {
                (value["type"] == "allocated").then(|| vec![(way, answer.clone())])
            })
        };
        let scene = Scene::new();
        let file = scene.file(NAME, SIZE);
        let finished = sender(&scene, &middle.url(), &file).finish();
        assert!([3, 4].contains(&finished.code()), "{shown}: {finished:#?}");
        assert!(is_documented(&finished), "{shown}: {finished:#?}");

        let middle = Middle::start(&server, move |way, value| {
            (value["type"] == "claimed").then(|| vec![(way, answer.clone())])
        });
        let (scene, ended) = run(&middle);
        told_nothing(&shown, &scene, &ended);
        assert_eq!(ended.receiver.code(), 3, "{shown}: {:#?}", ended.receiver);
    }
}

/// Drops everything from the message on that a test picks.
fn falls_silent(from: impl Fn(Way, &Value) -> bool + Send + 'static) -> (Scene, Ended) {
    let server = Server::start();
    let mut silent = false;
    let middle = Middle::start(&server, move |way, value| {
        silent = silent || from(way, value);
        silent.then(Vec::new)
    });
    let ended = run(&middle);
    drop(middle);
    ended
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let server = Server::start();
    let middle = Middle::start(&server, |way, _| matches!(way, Way::To(_)).then(Vec::new));
    let scene = Scene::new();
    let file = scene.file(NAME, SIZE);
    let sender = sender(&scene, &middle.url(), &file);
    let receiver = receiver(&scene, &middle.url(), &code(7));
    receiver.finish().expect(3);
    sender.finish().expect(3);
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let reply = |way, value: &Value| way == Way::To(Role::Sender) && value["type"] == "message";
    let confirmation =
        |way, value: &Value| way == Way::To(Role::Receiver) && value["type"] == "message";
    let answer = |way, value: &Value| way == Way::To(Role::Sender) && value["number"] == 2;
    thread::scope(|scope| {
        scope.spawn(|| {
            let (scene, ended) = falls_silent(reply);
            told_nothing("before the reply", &scene, &ended);
        });
        scope.spawn(|| {
            let (scene, ended) = falls_silent(confirmation);
            told_nothing("before the confirmation", &scene, &ended);
        });
        scope.spawn(|| {
            let (scene, ended) = falls_silent(answer);
            told_nothing("before the answer", &scene, &ended);
        });
    });
}

/// What a program may hold, in bytes.
const MOST_MEMORY: u64 = 200_000_000;

#[test]
fn messages_that_are_too_long_cost_a_waiting_sender_neither_memory_nor_its_place() {
    let server = Server::start();
    let mut left = 3;
    let middle = Middle::start(&server, move |way, value| {
        let waits = ["allocated", "rejoined"].contains(&value["type"].as_str()?);
        if way != Way::To(Role::Sender) || !waits || left == 0 {
            return None;
        }
        left -= 1;
        Some(vec![(way, text(value)), (way, Message::text("x".repeat(30_000_000)))])
    });
    let scene = Scene::new();
    let file = scene.file(NAME, SIZE);
    let mut sender = sender(&scene, &middle.url(), &file);
    let code = sender.code();
    middle.wait_for(|record| {
        record.iter().filter(|(_, value)| value["type"] == "rejoined").count() == 3
    });
    let receiver = receiver(&scene, &middle.url(), &code).finish();
    let peak = peak_memory(sender.id());
    arrived(&scene, Ended { sender: sender.finish(), receiver });
    assert!(peak < MOST_MEMORY, "{peak} bytes");
}

#[test]
fn three_guesses_end_the_sender_and_tell_nothing() {
    let (server, scene, runtime) = (Server::start(), Scene::new(), runtime());
    let file = scene.file(NAME, SIZE);
    let mut sender = sender(&scene, &server.url(), &file);
    for _ in 0..3 {
        let shown = sender.code();
        let number = shown.split('-').next().unwrap().parse().unwrap();
        assert_ne!(shown, code(number));
        assert!(runtime.block_on(claim(&server, &code(number))).is_none());
        sender.event("wrong-code");
    }
    let sender = sender.finish().expect(5);
    for event in ["connecting", "offer", "progress"] {
        assert!(!sender.has(event), "{sender:#?}");
    }
}

const LIES: [Lie; 7] = [
    Lie::Fingerprint,
    Lie::OtherCertificates,
    Lie::OtherKeys,
    Lie::Reflection,
    Lie::OtherLane,
    Lie::OtherGeneration,
    Lie::NoHello,
];

/// A peer that knows the code, but is not who holds the keys: what a server would be that could
/// open sealed messages.
#[test]
fn a_sender_tells_nothing_to_a_peer_that_does_not_prove_itself() {
    let (server, runtime) = (Server::start(), runtime());
    for lie in LIES {
        let scene = Scene::new();
        let file = scene.file(NAME, SIZE);
        let mut sender = sender(&scene, &server.url(), &file);
        let code = sender.code();
        let connected = runtime.block_on(async {
            let paired = claim(&server, &code).await.unwrap();
            Rogue::connect(Role::Receiver, paired, lie).await.is_some()
        });
        unproven(lie, connected, &sender.finish());
    }
}

#[test]
fn a_receiver_takes_nothing_from_a_peer_that_does_not_prove_itself() {
    let (server, runtime) = (Server::start(), runtime());
    for (number, lie) in (1..).zip(LIES) {
        let scene = Scene::new();
        let code = code(number);
        let slot = runtime.block_on(RogueSlot::open(&server, &code));
        let receiver = receiver(&scene, &server.url(), &code);
        let connected = runtime.block_on(async {
            Rogue::connect(Role::Sender, slot.paired().await, lie).await.is_some()
        });
        unproven(lie, connected, &receiver.finish());
        assert_eq!(scene.received(), [""; 0], "{lie:?}");
    }
}

fn unproven(lie: Lie, connected: bool, finished: &Finished) {
    assert!(!connected, "{lie:?}");
    assert!([7, 9].contains(&finished.code()), "{lie:?}: {finished:#?}");
    assert!(is_documented(finished), "{lie:?}: {finished:#?}");
    for event in ["connected", "offer", "progress", "complete"] {
        assert!(!finished.has(event), "{lie:?}: {finished:#?}");
    }
}
