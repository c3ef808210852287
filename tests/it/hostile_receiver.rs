//! A receiver that knows the code and breaks every rule after that, against the real sender:
//! which says that the file is safe only when an honest receiver could have said so, and holds
//! no more of it than it should.

use std::{fs::File, ops::Range, path::PathBuf, thread};

use bytes::Bytes;
use p2pshare::proto::{
    Role,
    binding::{CONTROL, FIRST_DATA},
    digest::Hash,
    frame::{ChunkHash, Finished as End, Frame, Reason, Record, TO_THE_END, Wanted},
    manifest::{Entry, FileId, Kind},
    wire::{MAX_NUMBER, Writer},
};

use crate::{
    harness::{Finished, Running, Scene, Server, peak_memory},
    rogue::{Lie, Rogue, claim, runtime},
};

/// Two chunks, and far below the first credit of an honest receiver.
const SIZE: usize = 300_000;

/// More than any credit below allows.
const LARGE: u64 = 600_000_000;

/// Tests of a table run side by side, on few machines' few cores.
const SIDE_BY_SIDE: usize = 3;

/// What a sender may hold, in bytes.
const MOST_MEMORY: u64 = 200_000_000;

/// One thing that a rogue does.
enum Step {
    /// Say a frame on the control channel.
    Say(Frame),
    /// Say something there.
    Control(Vec<u8>),
    /// Say something on the data lane.
    Data(Vec<u8>),
    /// Accept, and want everything of the one file.
    Take,
    /// Wait for the offer.
    Offered,
    /// Wait for some bytes of the file.
    SomeData,
    /// Wait until the sender says that it has sent everything.
    Fin,
    /// Close the connection without a word.
    Close,
}

use Step::{Close, Control, Data, Fin, Offered, Say, SomeData};

const ACCEPT: Step = Say(Frame::Accept);

/// Accept, and want everything of the one file.
const TAKE: Step = Step::Take;

fn want(files: Range<u32>, chunks: Range<u32>) -> Frame {
    Frame::Want(vec![Wanted { files, chunks }])
}

fn credit(limit: u64) -> Step {
    Say(Frame::Credit { limit })
}

fn ok(files: &[u32]) -> Step {
    Say(Frame::FinOk(files.iter().map(|file| *file..*file + 1).collect()))
}

/// Does the steps, as far as the sender lets it.
async fn play(rogue: &mut Rogue, steps: Vec<Step>) {
    for step in steps {
        let goes_on = match step {
            Say(frame) => rogue.say(CONTROL, &frame.to_wire()).await,
            Step::Take => {
                rogue.say(CONTROL, &Frame::Accept.to_wire()).await
                    && rogue.say(CONTROL, &want(0..1, 0..TO_THE_END).to_wire()).await
            }
            Control(frame) => rogue.say(CONTROL, &frame).await,
            Data(frame) => rogue.say(FIRST_DATA, &frame).await,
            Offered => heard(rogue, |frame| matches!(frame, Frame::ManifestEnd { .. })).await,
            SomeData => heard(rogue, |frame| matches!(frame, Frame::Data(_))).await,
            Fin => heard(rogue, |frame| matches!(frame, Frame::Fin(_))).await,
            Close => {
                rogue.drained().await;
                return;
            }
        };
        if !goes_on {
            return;
        }
    }
    rogue.hear_the_end().await;
}

async fn heard(rogue: &mut Rogue, wanted: impl Fn(&Frame) -> bool) -> bool {
    rogue.hear_until(wanted).await.is_some()
}

/// A file that takes no room on the disk.
fn sparse(scene: &Scene, size: u64) -> PathBuf {
    let path = scene.sender().join("a.bin");
    File::create(&path).unwrap().set_len(size).unwrap();
    path
}

/// A sender of a file, and a rogue connected to it.
async fn meet(server: &Server, scene: &Scene, size: u64) -> (Running, Rogue) {
    let mut sender = scene.send(server, &sparse(scene, size)).arg("--patience").arg("1s").start();
    let code = sender.code();
    let paired = claim(server, &code).await.unwrap();
    let rogue = Rogue::connect(Role::Receiver, paired, Lie::None).await.unwrap();
    (sender, rogue)
}

fn played(server: &Server, size: u64, steps: Vec<Step>) -> Finished {
    let scene = Scene::new();
    runtime().block_on(async {
        let (sender, mut rogue) = meet(server, &scene, size).await;
        play(&mut rogue, steps).await;
        rogue.close().await;
        sender.finish()
    })
}

/// What happens, how large the file is, what the rogue does, and how the sender must end.
type Script = (&'static str, u64, Vec<Step>, i32, &'static str);

fn all_end(scripts: Vec<Script>) {
    let mut shares: Vec<Vec<_>> = (0..SIDE_BY_SIDE).map(|_| Vec::new()).collect();
    for (number, script) in scripts.into_iter().enumerate() {
        shares[number % SIDE_BY_SIDE].push(script);
    }
    thread::scope(|scope| {
        for share in shares {
            scope.spawn(move || {
                let server = Server::start();
                for (what, size, steps, exit, message) in share {
                    let finished = played(&server, size, steps);
                    assert_eq!(finished.code(), exit, "{what}: {finished:#?}");
                    let told = finished.event("error")["message"].to_string();
                    assert!(told.contains(message), "{what}: {told}");
                    assert!(!finished.has("complete"), "{what}: {finished:#?}");
                }
            });
        }
    });
}

const SMALL: u64 = SIZE as u64;
const BROKE: &str = "broke the protocol";

#[test]
fn only_the_word_of_a_receiver_that_was_told_everything_counts() {
    let refused = |what, size, steps| (what, size, steps, 1, BROKE);
    all_end(vec![
        refused("before the offer", SMALL, vec![ok(&[0])]),
        refused("after the offer", SMALL, vec![Offered, ok(&[0])]),
        refused("after its own accept", SMALL, vec![Offered, TAKE, ok(&[0])]),
        refused("without data", LARGE, vec![Offered, TAKE, credit(100), ok(&[0])]),
        refused("amid data", LARGE, vec![Offered, TAKE, credit(10_000_000), SomeData, ok(&[0])]),
        refused("of another file", SMALL, vec![Offered, TAKE, credit(SMALL), Fin, ok(&[1])]),
        refused("of no file", SMALL, vec![Offered, TAKE, credit(SMALL), Fin, ok(&[])]),
        refused("of two files", SMALL, vec![Offered, TAKE, credit(SMALL), Fin, ok(&[0, 1])]),
        refused("of an empty file, early", 0, vec![Offered, ok(&[0])]),
    ]);
}

#[test]
fn credit_that_makes_no_sense_is_refused() {
    let refused = |what, steps| (what, LARGE, steps, 1, BROKE);
    let too_much = Writer::of_type(0x8007).u64(0x8001, MAX_NUMBER + 1).finish();
    all_end(vec![
        refused("before the offer", vec![credit(1)]),
        refused("before accept", vec![Offered, credit(1)]),
        refused("that falls", vec![Offered, TAKE, credit(10_000_000), credit(9_999_999)]),
        refused("that falls to 0", vec![Offered, TAKE, credit(1), credit(0)]),
        refused(
            "that falls amid data",
            vec![Offered, TAKE, credit(10_000_000), SomeData, credit(1)],
        ),
        refused("over 2^53", vec![Offered, TAKE, Control(too_much)]),
    ]);
}

#[test]
fn what_was_not_offered_is_not_sent() {
    let asked = |what, frame| (what, LARGE, vec![Offered, ACCEPT, Say(frame)], 1, BROKE);
    let claim = |file, chunk| {
        Frame::Claim(vec![ChunkHash { file: FileId(file), chunk, hash: Hash([1; 32]) }])
    };
    let skip = Frame::Skip { files: vec![0..2], reason: Reason::Declined };
    all_end(vec![
        ("wanted before accept", LARGE, vec![Offered, Say(want(0..1, 0..1))], 1, BROKE),
        asked("another file", want(1..2, 0..TO_THE_END)),
        asked("more files", want(0..2, 0..TO_THE_END)),
        asked("all files that there can be", want(0..u32::MAX, 0..TO_THE_END)),
        asked("a chunk past the end", want(0..1, 0..1_000_000)),
        asked("a claim of another file", claim(1, 0)),
        asked("a claim past the end", claim(0, 1_000_000)),
        asked("another file not wanted", skip),
        asked("to resume what goes on", Frame::Resume { entries: 0 }),
    ]);
}

#[test]
fn frames_out_of_turn_of_the_wrong_direction_or_of_no_sense_are_refused() {
    let entry = Entry {
        kind: Kind::File,
        path: p2pshare::proto::name::RelPath::parse(["b"]).unwrap(),
        size: 1,
        modified: None,
        executable: false,
    };
    let record = Record { file: FileId(0), chunk: 0, offset: 0, bytes: Bytes::from_static(b"x") };
    let hash = ChunkHash { file: FileId(0), chunk: 0, hash: Hash([1; 32]) };
    let data = Frame::Data(vec![record]).to_wire();
    let accepted = |what, step: Step| {
        (what, LARGE, vec![Offered, TAKE, credit(1_000_000), SomeData, step], 1, BROKE)
    };
    let hello = Writer::of_type(0x8001)
        .u32(0x8001, CONTROL)
        .u32(0x8002, 0)
        .field(0x8003, &[1; 16])
        .field(0x8004, &[2; 32]);
    all_end(vec![
        ("accept before the offer", SMALL, vec![ACCEPT, ACCEPT], 1, BROKE),
        accepted("accept twice", ACCEPT),
        accepted("a manifest", Say(Frame::Manifest(vec![entry]))),
        accepted("a manifest's end", Say(Frame::ManifestEnd { entries: 1, bytes: 1 })),
        accepted(
            "fin",
            Say(Frame::Fin(vec![End { file: FileId(0), size: 1, digest: Hash([1; 32]) }])),
        ),
        accepted("data", Data(data.clone())),
        accepted("data on the control channel", Control(data)),
        accepted("hashes", Data(Frame::Hashes(vec![hash]).to_wire())),
        accepted("a second greeting", Control(hello.finish())),
        accepted("an unknown critical frame", Control(Writer::of_type(0x8042).finish())),
        accepted("an unknown critical frame, as data", Data(Writer::of_type(0x8042).finish())),
        accepted("nothing at all", Control(Vec::new())),
        accepted("half a frame", Control(vec![0x80, 7, 0x80])),
    ]);
}

#[test]
fn a_receiver_that_goes_away_has_not_received() {
    let lost = |what, size, steps| (what, size, steps, 8, "was lost");
    all_end(vec![
        // Its own first message may be lost with it, and then there never was a connection.
        ("before the offer", SMALL, vec![Close], 8, ""),
        lost("after the offer", SMALL, vec![Offered, Close]),
        lost("after accept", SMALL, vec![Offered, TAKE, Close]),
        lost("amid data", LARGE, vec![Offered, TAKE, credit(1_000_000), SomeData, Close]),
        lost("before its last word", SMALL, vec![Offered, TAKE, credit(SMALL), Fin, Close]),
    ]);
}

#[test]
fn a_receiver_that_gives_up_is_understood() {
    let reasons = [
        (Reason::Other, 1),
        (Reason::Interrupted, 8),
        (Reason::Declined, 6),
        (Reason::Disk, 8),
        (Reason::SourceChanged, 11),
        (Reason::Verification, 9),
        (Reason::UnsafeName, 12),
        (Reason::Protocol, 1),
        (Reason::TargetExists, 13),
        (Reason::NoPath, 7),
    ];
    let late = [Offered, TAKE, credit(SMALL), Fin, Say(Frame::Cancel(Reason::Verification))];
    let mut scripts = vec![("after everything", SMALL, late.into(), 9, "")];
    scripts.extend(reasons.map(|(reason, exit)| {
        ("a reason", SMALL, vec![Offered, Say(Frame::Cancel(reason))], exit, "")
    }));
    all_end(scripts);
}

/// What the scripts above end differently from.
#[test]
fn a_rogue_that_behaves_gets_the_file() {
    let unknown = || Control(Writer::of_type(0x0042).finish());
    let server = Server::start();
    for (size, limit) in [(SMALL, SMALL), (SMALL, MAX_NUMBER), (0, 0)] {
        let steps =
            vec![unknown(), Offered, TAKE, unknown(), credit(limit), credit(limit), Fin, ok(&[0])];
        let finished = played(&server, size, steps).expect(0);
        assert_eq!(finished.event("complete")["bytes"], size);
    }
}

#[test]
fn a_receiver_that_grants_everything_does_not_fill_the_senders_memory() {
    let (server, scene) = (Server::start(), Scene::new());
    let (sender, peak) = runtime().block_on(async {
        let (sender, mut rogue) = meet(&server, &scene, LARGE).await;
        assert!(heard(&mut rogue, |frame| matches!(frame, Frame::ManifestEnd { .. })).await);
        let all = want(0..1, 0..TO_THE_END);
        for frame in [Frame::Accept, Frame::Credit { limit: MAX_NUMBER }, all] {
            assert!(rogue.say(CONTROL, &frame.to_wire()).await);
        }
        for _ in 0..2_000 {
            assert!(heard(&mut rogue, |frame| matches!(frame, Frame::Data(_))).await);
        }
        let peak = peak_memory(sender.id());
        rogue.close().await;
        (sender, peak)
    });
    sender.finish().expect(8);
    assert!(peak > 0 && peak < MOST_MEMORY, "{peak} bytes");
}

#[test]
fn a_receiver_that_takes_only_tiny_messages_does_not_upset_the_sender() {
    let server = Server::start();
    for size in [1, 17, 18, 19, 100, 1000] {
        let scene = Scene::new();
        let finished = runtime().block_on(async {
            let sender = scene.send(&server, &sparse(&scene, SMALL)).arg("--patience").arg("1s");
            let mut sender = sender.start();
            let paired = claim(&server, &sender.code()).await.unwrap();
            let lie = Lie::MessageSize(size);
            if let Some(mut rogue) = Rogue::connect(Role::Receiver, paired, lie).await {
                play(&mut rogue, vec![Offered, TAKE, credit(SMALL), Fin, Close]).await;
                rogue.close().await;
            }
            sender.finish()
        });
        assert!([1, 7, 8].contains(&finished.code()), "{size}: {finished:#?}");
        assert!(finished.has("error"), "{size}: {finished:#?}");
        assert_eq!(finished.stderr, [""; 0], "{size}");
    }
}
