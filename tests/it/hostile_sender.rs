//! A sender that knows the code and breaks every rule after that, against the real receiver:
//! nothing of it ever gets a final name that was not offered, asked for, whole and verified.

use std::{collections::BTreeMap, fs, path::Path, thread};

use bytes::Bytes;
use p2pshare::proto::{
    Role,
    binding::{CONTROL, FIRST_DATA},
    digest::{Hash, tree},
    frame::{ChunkHash, Finished as End, Frame, Reason, Record},
    manifest::FileId,
    wire::Writer,
};

use crate::{
    harness::{Finished, Running, Scene, Server, bytes, peak_memory},
    rogue::{Lie, Rogue, RogueSlot, code, patient, runtime},
};

const CHUNK: usize = 256 * 1024;

/// The offer of most scripts: one whole chunk and a part of another.
const SIZE: usize = 300_000;

/// Tests of a table run side by side, on few machines' few cores.
const SIDE_BY_SIDE: usize = 3;

/// One thing that a rogue does.
enum Step {
    Control(Vec<u8>),
    Data(Vec<u8>),
    /// Wait until the receiver wants it.
    Accepted,
    /// Close the connection without a word.
    Close,
}

use Step::{Accepted, Close, Control, Data};

/// An entry as bytes, so that it can hold what the library's types refuse.
fn entry(kind: u8, components: &[&[u8]], size: u64) -> Vec<u8> {
    let writer = Writer::new().u8(0x8001, kind);
    let writer = components.iter().fold(writer, |writer, name| writer.field(0x8002, name));
    writer.u64(0x8003, size).finish()
}

fn manifest(entries: &[Vec<u8>]) -> Step {
    let writer = Writer::of_type(0x8004);
    let add = |writer: Writer, entry: &Vec<u8>| writer.field(0x8001, entry);
    Control(entries.iter().fold(writer, add).finish())
}

fn manifest_end(entries: u32, bytes: u64) -> Step {
    Control(Writer::of_type(0x8005).u32(0x8001, entries).u64(0x8002, bytes).finish())
}

/// The offer of one entry.
fn offer(kind: u8, components: &[&[u8]], size: u64) -> Vec<Step> {
    vec![manifest(&[entry(kind, components, size)]), manifest_end(1, size)]
}

/// An honest offer of a file, accepted, and then something else.
fn after_accept(size: u64, then: impl IntoIterator<Item = Step>) -> Vec<Step> {
    offer(1, &[b"a.bin"], size).into_iter().chain([Accepted]).chain(then).collect()
}

fn record(file: u32, chunk: u32, offset: u32, bytes: &[u8]) -> Step {
    let bytes = Bytes::copy_from_slice(bytes);
    Data(Frame::Data(vec![Record { file: FileId(file), chunk, offset, bytes }]).to_wire())
}

fn hash(chunk: u32, hash: Hash) -> Step {
    Data(Frame::Hashes(vec![ChunkHash { file: FileId(0), chunk, hash }]).to_wire())
}

/// The end of a file of [`SIZE`] bytes.
fn fin(digest: Hash) -> Step {
    fin_of(u64::try_from(SIZE).unwrap(), digest)
}

fn fin_of(size: u64, digest: Hash) -> Step {
    Control(Frame::Fin(vec![End { file: FileId(0), size, digest }]).to_wire())
}

fn chunks(content: &[u8]) -> Vec<&[u8]> {
    content.chunks(CHUNK).collect()
}

fn digest(content: &[u8]) -> Hash {
    tree(&chunks(content).into_iter().map(Hash::of).collect::<Vec<_>>())
}

/// All bytes of a chunk, without its hash.
fn chunk(index: u32, content: &[u8]) -> Vec<Step> {
    let bytes = chunks(content)[usize::try_from(index).unwrap()];
    let parts = (0_u32..).step_by(60_000).zip(bytes.chunks(60_000));
    parts.map(|(offset, part)| record(0, index, offset, part)).collect()
}

/// A chunk as an honest sender sends it.
fn whole_chunk(index: u32, content: &[u8]) -> Vec<Step> {
    let of = Hash::of(chunks(content)[usize::try_from(index).unwrap()]);
    chunk(index, content).into_iter().chain([hash(index, of)]).collect()
}

/// A file of two chunks as an honest sender sends it.
fn whole_file(content: &[u8]) -> Vec<Step> {
    let all = [whole_chunk(0, content), whole_chunk(1, content), vec![fin(digest(content))]];
    all.into_iter().flatten().collect()
}

/// A receiver process that meets a rogue.
struct Stage {
    scene: Scene,
    before: BTreeMap<String, Vec<u8>>,
    receiver: Running,
}

impl Stage {
    /// Starts a receiver that takes everything, and connects a rogue to it.
    async fn set(server: &Server, number: usize) -> (Self, Rogue) {
        let scene = Scene::new();
        fs::write(scene.receiver().join("kept.txt"), "kept").unwrap();
        let outside = root(&scene).join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("canary"), "sings").unwrap();
        let before = tree_of(root(&scene));
        let code = code(number);
        let slot = RogueSlot::open(server, &code).await;
        let receiver = scene.receive(server, &code).arg("--patience").arg("1s").start();
        let rogue = Rogue::connect(Role::Sender, slot.paired().await, Lie::None).await.unwrap();
        (Self { scene, before, receiver }, rogue)
    }

    /// Waits until the receiver has ended; nothing may have changed anywhere.
    fn unchanged(self) -> Finished {
        let finished = self.receiver.finish();
        let mut after = tree_of(root(&self.scene));
        if finished.code() == 8 {
            // What was verified stays for a later attempt, hidden.
            after.retain(|path, _| !path.contains("/receiver/.p2pshare-"));
        }
        assert_eq!(after, self.before, "{finished:#?}");
        finished
    }
}

fn root(scene: &Scene) -> std::path::PathBuf {
    scene.receiver().parent().unwrap().to_owned()
}

/// Every file and folder beneath a folder, hidden ones too, with the files' content.
fn tree_of(root: impl AsRef<Path>) -> BTreeMap<String, Vec<u8>> {
    let mut tree = BTreeMap::new();
    let mut folders = vec![root.as_ref().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            // Where interrupted transfers are noted.
            if path == root.as_ref().join("state") {
                continue;
            }
            let content = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
            tree.insert(path.to_string_lossy().into_owned(), content);
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    tree
}

/// Does the steps, as far as the receiver lets it.
async fn play(rogue: &mut Rogue, steps: Vec<Step>) {
    for step in steps {
        if let Close = step {
            return rogue.drained().await;
        }
        if !take(rogue, step).await {
            return;
        }
    }
    rogue.hear_the_end().await;
}

/// Does a step; whether the receiver lets it go on.
async fn take(rogue: &mut Rogue, step: Step) -> bool {
    match step {
        Control(frame) => rogue.say(CONTROL, &frame).await,
        Data(frame) => rogue.say(FIRST_DATA, &frame).await,
        Accepted => rogue.hear_until(is_want).await.is_some(),
        Close => false,
    }
}

/// A script, and how the receiver must end.
struct Script {
    what: String,
    steps: Vec<Step>,
    exit: i32,
    message: &'static str,
}

fn script(what: &str, exit: i32, message: &'static str, steps: Vec<Step>) -> Script {
    Script { what: what.to_owned(), steps, exit, message }
}

/// Plays each script to a receiver of its own. Nothing may change on the receiver's disk.
fn all_refused(scripts: Vec<Script>) {
    let mut shares: Vec<Vec<_>> = (0..SIDE_BY_SIDE).map(|_| Vec::new()).collect();
    for (number, script) in scripts.into_iter().enumerate() {
        shares[number % SIDE_BY_SIDE].push((number + 1, script));
    }
    thread::scope(|scope| {
        for share in shares {
            scope.spawn(move || {
                let server = Server::start();
                for (number, script) in share {
                    refused(&server, number, script);
                }
            });
        }
    });
}

fn refused(server: &Server, number: usize, script: Script) {
    let Script { what, steps, exit, message } = script;
    let runtime = runtime();
    let stage = runtime.block_on(async {
        let (stage, mut rogue) = Stage::set(server, number).await;
        play(&mut rogue, steps).await;
        rogue.close().await;
        stage
    });
    let finished = stage.unchanged();
    assert_eq!(finished.code(), exit, "{what}: {finished:#?}");
    let told = finished.event("error")["message"].to_string();
    assert!(told.contains(message), "{what}: {told}");
    assert!(!finished.has("complete"), "{what}: {finished:#?}");
}

/// A path that is given away as components.
type Components = Vec<Vec<u8>>;

fn hostile_paths() -> Vec<Components> {
    let one = [
        "",
        ".",
        "..",
        "/",
        "//",
        "./x",
        "../x",
        "../../x",
        "..//x",
        "/..",
        "/.",
        "../",
        "./",
        "a/b",
        "a/",
        "/a",
        "a//b",
        "a/b/c/d",
        "a/../b",
        "a/../../outside/canary",
        "../outside/canary",
        "../outside/new",
        "../receiver/kept.txt",
        "../sender/x",
        "../config/config.toml",
        "/etc/passwd",
        "/dev/null",
        "/proc/self/mem",
        "/tmp/p2pshare-must-not-write-this",
        "~/../x",
        "C:/x",
        "\0",
        "a\0b",
        "..\0",
        "a.bin\0.txt",
        "\n",
        "a\nb",
        "\r",
        "a\rb",
        "\t",
        "\u{1}",
        "\u{8}\u{8}",
        "\u{1b}[2J",
        "\u{1b}]0;title\u{7}",
        "\u{1b}[31mred",
        "\u{7f}",
        "\u{80}",
        "\u{85}",
        "\u{9b}31m",
        "\u{9f}",
    ];
    let mut paths: Vec<Components> =
        one.iter().map(|name| vec![name.as_bytes().to_vec()]).collect();
    paths.push(vec![vec![b'x'; 256]]);
    paths.push(vec!["ä".repeat(128).into_bytes()]);
    paths.push(vec![vec![b'x'; 40_000]]);
    paths.push(Vec::new());
    paths.push(vec![b"a".to_vec(); 65]);
    paths.push(vec![vec![b'x'; 200]; 30]);
    for many in
        [["a", ".."], ["..", "x"], ["", "x"], ["a", ""], [".", "x"], ["a", "/b"], ["/", "b"]]
    {
        paths.push(many.iter().map(|name| name.as_bytes().to_vec()).collect());
    }
    paths.push(["..", "outside", "canary"].map(|name| name.as_bytes().to_vec()).to_vec());
    paths
}

/// Paths that are no text, or that this version does not take.
fn senseless_paths() -> Vec<Components> {
    let not_text: [&[u8]; 7] = [
        b"\xff",
        b"a\x80",
        b"..\xff",
        b"\xc0\xae\xc0\xae",
        b"\xc0\xae\xc0\xae\xc0\xafx",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
    ];
    let mut paths: Vec<Components> = not_text.iter().map(|name| vec![name.to_vec()]).collect();
    paths.push(["a", "b"].map(|name| name.as_bytes().to_vec()).to_vec());
    paths.push(["outside", "canary"].map(|name| name.as_bytes().to_vec()).to_vec());
    paths.push(vec![b"a".to_vec(); 64]);
    paths
}

/// A sender that offers a path and, should that be taken, writes a file there.
fn offering(path: &Components, exit: i32, message: &'static str) -> Script {
    let components: Vec<_> = path.iter().map(Vec::as_slice).collect();
    let content = bytes(SIZE);
    let mut steps = offer(1, &components, u64::try_from(SIZE).unwrap());
    steps.push(Accepted);
    steps.extend(whole_file(&content));
    let shown: Vec<_> = path.iter().map(|name| name.escape_ascii().to_string()).collect();
    script(&format!("{shown:.60?}"), exit, message, steps)
}

#[test]
fn no_hostile_name_gets_past_the_receiver() {
    let hostile = hostile_paths();
    let senseless = senseless_paths();
    assert!(hostile.len() + senseless.len() >= 60);
    let hostile = hostile.iter().map(|path| offering(path, 12, "nothing was received"));
    let senseless = senseless.iter().map(|path| offering(path, 1, "broke the protocol"));
    all_refused(hostile.chain(senseless).collect());
    assert!(!Path::new("/tmp/p2pshare-must-not-write-this").exists());
}

#[test]
fn only_regular_files_are_taken() {
    // A text, which is 3, is not a file, but is taken, too.
    let kinds = (0..=6).chain([255]).filter(|kind| ![1, 3].contains(kind));
    all_refused(
        kinds
            .map(|kind| {
                let steps = offer(kind, &[b"a.bin"], 3).into_iter().chain([Accepted]).collect();
                script(&format!("kind {kind}"), 1, "broke the protocol", steps)
            })
            .collect(),
    );
}

#[test]
fn senseless_offers_are_refused() {
    let good = || entry(1, &[b"a.bin"], 3);
    let field = |tag: u16, value: &[u8]| {
        let mut bytes = good();
        bytes.extend(Writer::new().field(tag, value).finish());
        bytes
    };
    let without_size = Writer::new().u8(0x8001, 1).field(0x8002, b"a.bin").finish();
    let end = || manifest_end(1, 3);
    let offers = [
        ("two entries", vec![manifest(&[good(), good()]), manifest_end(2, 6)]),
        ("no entry", vec![manifest(&[]), manifest_end(0, 0)]),
        ("no manifest", vec![end()]),
        ("two manifests", vec![manifest(&[good()]), manifest(&[good()]), end()]),
        ("too many entries told", vec![manifest(&[good()]), manifest_end(2, 3)]),
        ("too many bytes told", vec![manifest(&[good()]), manifest_end(1, 4)]),
        ("too few bytes told", vec![manifest(&[good()]), manifest_end(1, 2)]),
        ("without a size", vec![manifest(&[without_size]), end()]),
        ("two sizes", vec![manifest(&[field(0x8003, &3_u64.to_be_bytes())]), end()]),
        ("two kinds", vec![manifest(&[field(0x8001, &[1])]), end()]),
        ("an unknown critical field", vec![manifest(&[field(0x8077, b"")]), end()]),
        ("a cut off field", vec![manifest(&[[good(), vec![0x80]].concat()]), end()]),
        ("2^53 bytes", offer(1, &[b"a.bin"], 1 << 53)),
        ("2^64 - 1 bytes", offer(1, &[b"a.bin"], u64::MAX)),
    ];
    let scripts = offers.into_iter().map(|(what, mut steps)| {
        steps.push(Accepted);
        script(what, 1, "broke the protocol", steps)
    });
    all_refused(scripts.collect());
}

#[test]
fn an_offer_of_more_than_there_is_room_for_is_refused_before_anything_is_written() {
    let steps = after_accept((1 << 53) - 1, [record(0, 0, 0, b"x")]);
    all_refused(vec![script("2^53 - 1 bytes", 10, "are free", steps)]);
}

#[test]
fn bytes_and_hashes_in_the_wrong_place_are_refused() {
    let content = bytes(SIZE);
    let size = u64::try_from(SIZE).unwrap();
    let good = Hash::of(chunks(&content)[0]);
    let more = "more than it offered";
    let order = "out of order";
    let then =
        |what: &str, message, steps: Vec<Step>| script(what, 1, message, after_accept(size, steps));
    let twice = |mut steps: Vec<Step>, again: Step| {
        steps.push(again);
        steps
    };
    let opening = (0..65).map(|chunk| record(0, chunk, 0, b"x")).collect::<Vec<_>>();
    let large = u64::try_from(70 * CHUNK).unwrap();
    all_refused(vec![
        then("a chunk past the end", more, vec![record(0, 2, 0, b"x")]),
        then("the last chunk that there can be", more, vec![record(0, u32::MAX, 0, b"x")]),
        then("bytes past the end of the file", more, vec![record(0, 1, 0, &content[..60_000])]),
        then("bytes past the end of a chunk", more, vec![record(0, 0, 262_144, b"x")]),
        then("an offset that overflows", more, vec![record(0, 0, u32::MAX, b"xy")]),
        then("another file", more, vec![record(1, 0, 0, b"x")]),
        then("a later part first", order, vec![record(0, 0, 100, b"x")]),
        then("a gap", order, vec![record(0, 0, 0, b"x"), record(0, 0, 2, b"x")]),
        then("an overlap", order, vec![record(0, 0, 0, b"xyz"), record(0, 0, 1, b"xyz")]),
        then("a part twice", order, vec![record(0, 0, 0, b"xyz"), record(0, 0, 0, b"xyz")]),
        then("a whole chunk twice", order, twice(chunk(0, &content), record(0, 0, 0, b"x"))),
        then(
            "a verified chunk again",
            order,
            twice(whole_chunk(0, &content), record(0, 0, 0, b"x")),
        ),
        then("a hash before its bytes", order, vec![hash(0, good)]),
        then("a hash in the midst of its bytes", order, vec![record(0, 0, 0, b"x"), hash(0, good)]),
        then("a hash twice", order, twice(whole_chunk(0, &content), hash(0, good))),
        then("a hash past the end", order, vec![hash(7, good)]),
        then(
            "a record without bytes",
            "makes no sense",
            vec![Data([&[0x80, 2][..], &[0; 16]].concat())],
        ),
        script("too many chunks at once", 1, order, after_accept(large, opening)),
        script("bytes of an empty file", 1, more, after_accept(0, [record(0, 0, 0, b"x")])),
    ]);
}

#[test]
fn what_is_not_what_was_announced_is_thrown_away() {
    let content = bytes(SIZE);
    let size = u64::try_from(SIZE).unwrap();
    let lie = Hash([7; 32]);
    let all_but_fin = || [whole_chunk(0, &content), whole_chunk(1, &content)].concat_steps();
    let hash_lie = [chunk(0, &content), vec![hash(0, lie)]].concat_steps();
    let digest_lie = [all_but_fin(), vec![fin(lie)]].concat_steps();
    let of_a_prefix = [all_but_fin(), vec![fin(digest(&content[..CHUNK]))]].concat_steps();
    let early_lie = [vec![fin(lie)], all_but_fin()].concat_steps();
    let nothing = "thrown away";
    all_refused(vec![
        script("another hash", 9, nothing, after_accept(size, hash_lie)),
        script("another digest", 9, nothing, after_accept(size, digest_lie)),
        script("the digest of less", 9, nothing, after_accept(size, of_a_prefix)),
        script("another digest, first", 9, nothing, after_accept(size, early_lie)),
        script("an empty file's digest", 9, nothing, after_accept(0, [fin_of(0, lie)])),
    ]);
}

/// The receiver waits 30 s for what is said to be under way.
#[test]
fn a_sender_that_says_it_is_done_before_it_is_does_not_pass() {
    let content = bytes(SIZE);
    let size = u64::try_from(SIZE).unwrap();
    let done = || fin(digest(&content));
    let half = [whole_chunk(0, &content), vec![done()]].concat_steps();
    let without_hash = [whole_chunk(0, &content), chunk(1, &content), vec![done()]].concat_steps();
    all_refused(vec![
        script("half of it", 9, "thrown away", after_accept(size, half)),
        script("all but a hash", 9, "thrown away", after_accept(size, without_hash)),
        script("nothing", 9, "thrown away", after_accept(size, [done()])),
    ]);
}

#[test]
fn frames_out_of_turn_or_on_the_wrong_lane_are_refused() {
    let content = bytes(SIZE);
    let size = u64::try_from(SIZE).unwrap();
    let frame = |frame: Frame| Control(frame.to_wire());
    let digest = digest(&content);
    let swap = |step: Step| match step {
        Data(frame) => Control(frame),
        Control(frame) => Data(frame),
        step => step,
    };
    let then = |what: &str, steps: Vec<Step>| {
        script(what, 1, "broke the protocol", after_accept(size, steps))
    };
    let first = |what: &str, step: Step| script(what, 1, "broke the protocol", vec![step]);
    let offered = |step: Step| {
        let mut steps = vec![manifest(&[entry(1, &[b"a.bin"], size)])];
        steps.push(step);
        script("between manifest and end", 1, "broke the protocol", steps)
    };
    let wrong_file = Frame::Fin(vec![End { file: FileId(1), size, digest }]);
    all_refused(vec![
        first("data before the offer", record(0, 0, 0, b"x")),
        first("a hash before the offer", hash(0, digest)),
        first("fin before the offer", fin(digest)),
        first("a receiver's accept", frame(Frame::Accept)),
        offered(record(0, 0, 0, b"x")),
        offered(fin(digest)),
        then("an accept", vec![frame(Frame::Accept)]),
        then("credit", vec![frame(Frame::Credit { limit: 1 })]),
        then("an ok", vec![frame(Frame::FinOk(vec![0..1]))]),
        then("another offer", offer(1, &[b"b.bin"], 3)),
        then("fin in two ways", vec![fin(digest), fin(Hash([8; 32]))]),
        then("fin of another size", vec![fin_of(size - 1, digest)]),
        then("a receiver's wishes", vec![frame(Frame::Want(Vec::new()))]),
        then("a file taken back that was not offered", {
            vec![frame(Frame::Withdraw(vec![1..2]))]
        }),
        then("fin of another file", vec![frame(wrong_file)]),
        then("data on the control channel", vec![swap(record(0, 0, 0, b"x"))]),
        then(
            "a hash on the control channel",
            [chunk(0, &content), vec![swap(hash(0, digest))]].concat_steps(),
        ),
        then("fin on the data lane", vec![swap(fin(digest))]),
        then("cancel on the data lane", vec![swap(frame(Frame::Cancel(Reason::Other)))]),
    ]);
}

#[test]
fn bytes_that_are_no_frames_are_refused() {
    let size = u64::try_from(SIZE).unwrap();
    let whole = Frame::ManifestEnd { entries: 1, bytes: 1 }.to_wire();
    let Data(part) = record(0, 0, 0, &[1; 100]) else { unreachable!() };
    let mut messages = vec![
        ("nothing at all", Control(Vec::new())),
        ("nothing at all, as data", Data(Vec::new())),
        ("half a type", Control(vec![0x80])),
        ("an unknown critical frame", Control(Writer::of_type(0x8042).finish())),
        ("an unknown critical frame, as data", Data(Writer::of_type(0x8042).finish())),
        ("a record that is cut off", Data(part[..part.len() - 1].to_vec())),
        ("a record that goes on", Data([&part[..], &[0]].concat())),
        ("a record of 4 GB", Data([&part[..14], &[0xff; 4], &part[18..]].concat())),
    ];
    for cut in [3, 5, 9, whole.len() - 1] {
        messages.push(("a frame that is cut off", Control(whole[..cut].to_vec())));
    }
    let scripts = messages
        .into_iter()
        .map(|(what, step)| script(what, 1, "makes no sense", after_accept(size, [step])));
    all_refused(scripts.collect());
}

/// The library takes no longer message than this end's description allows, and closes.
#[test]
fn messages_that_are_too_long_end_the_session() {
    let size = u64::try_from(SIZE).unwrap();
    let messages = [
        ("70,000 bytes", Data(record_of_70_000_bytes())),
        ("70,000 bytes of an unknown frame", Control([vec![0, 0x42], vec![0; 70_000]].concat())),
        ("a million bytes", Control(vec![0; 1_000_000])),
    ];
    let scripts = messages
        .into_iter()
        .map(|(what, step)| script(what, 8, "was lost", after_accept(size, [step])));
    all_refused(scripts.collect());
}

/// A data frame that is well formed but for its length.
fn record_of_70_000_bytes() -> Vec<u8> {
    let mut frame = vec![0x80, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    frame.extend(70_000_u32.to_be_bytes());
    frame.extend(bytes(70_000));
    frame
}

#[test]
fn a_sender_that_goes_away_leaves_nothing() {
    let content = bytes(SIZE);
    let size = u64::try_from(SIZE).unwrap();
    let lost = "was lost";
    let part = [vec![record(0, 0, 0, &content[..60_000])], vec![Close]].concat_steps();
    let half = [whole_chunk(0, &content), vec![Close]].concat_steps();
    let all = [whole_chunk(0, &content), whole_chunk(1, &content), vec![Close]].concat_steps();
    all_refused(vec![
        // The receiver may still be connecting, which it says in other words.
        script("before the offer", 8, "other end", vec![Close]),
        script("after the offer", 8, lost, after_accept(size, [Close])),
        script("in a chunk", 8, lost, after_accept(size, part)),
        script("after half", 8, lost, after_accept(size, half)),
        script("before fin", 8, lost, after_accept(size, all)),
    ]);
}

#[test]
fn a_sender_that_gives_up_is_understood() {
    let size = u64::try_from(SIZE).unwrap();
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
    let scripts = reasons.into_iter().map(|(reason, exit)| {
        let steps = vec![record(0, 0, 0, b"x"), Control(Frame::Cancel(reason).to_wire())];
        script(&format!("{reason:?}"), exit, "", after_accept(size, steps))
    });
    all_refused(scripts.collect());
}

/// Joins lists of steps.
trait ConcatSteps {
    fn concat_steps(self) -> Vec<Step>;
}

impl<const N: usize> ConcatSteps for [Vec<Step>; N] {
    fn concat_steps(self) -> Vec<Step> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn nothing_is_taken_before_the_user_has_said_yes() {
    let (server, runtime) = (Server::start(), runtime());
    let scene = Scene::new();
    let (code, content) = (code(1), bytes(SIZE));
    let finished = runtime.block_on(async {
        let slot = RogueSlot::open(&server, &code).await;
        let arguments = ["--json", "--server", &server.url(), "receive", &code];
        let mut receiver = scene.p2pshare(&scene.receiver(), &arguments).start();
        let mut rogue = Rogue::connect(Role::Sender, slot.paired().await, Lie::None).await.unwrap();
        let size = u64::try_from(SIZE).unwrap();
        for step in offer(1, &[b"a.bin"], size) {
            let Control(frame) = step else { unreachable!() };
            assert!(rogue.say(CONTROL, &frame).await);
        }
        receiver.event("accept?");
        play(&mut rogue, whole_file(&content)).await;
        rogue.close().await;
        receiver.finish()
    });
    let finished = finished.expect(1);
    assert!(finished.event("error")["message"].to_string().contains("broke the protocol"));
    assert_eq!(scene.received(), [""; 0]);
}

/// Frames of a later version that may be passed over.
fn passed_over() -> [Step; 3] {
    let frame = || Writer::of_type(0x0042).field(0x8001, &vec![7; 60_000]).finish();
    [Control(frame()), Data(frame()), Data(vec![0x00, 0x43])]
}

/// How a receiver ended that met a rogue, and the most memory that it was seen to hold.
struct Ended {
    scene: Scene,
    finished: Finished,
    peak: u64,
}

/// Does the steps, all the way to `FinOk` if the receiver lets it.
fn carry_through(steps: Vec<Step>) -> Ended {
    let (server, runtime) = (Server::start(), runtime());
    let (stage, peak) = runtime.block_on(async {
        let (stage, mut rogue) = Stage::set(&server, 1).await;
        let mut peak = 0;
        for (count, step) in steps.into_iter().enumerate() {
            let goes_on = take(&mut rogue, step).await;
            if count % 16 == 0 {
                peak = peak.max(peak_memory(stage.receiver.id()));
            }
            if !goes_on {
                break;
            }
        }
        // After FinOk the receiver waits for the connection's end, so it can be looked at.
        rogue.hear_until(is_fin_ok).await;
        peak = peak.max(peak_memory(stage.receiver.id()));
        rogue.close().await;
        (stage, peak)
    });
    Ended { scene: stage.scene, finished: stage.receiver.finish(), peak }
}

impl Ended {
    fn arrived(self, content: &[u8]) -> Self {
        let finished = self.finished.expect(0);
        assert_eq!(self.scene.received(), ["a.bin", "kept.txt"]);
        let received = fs::read(self.scene.receiver().join("a.bin")).unwrap();
        assert!(received == content, "other bytes");
        Self { finished, ..self }
    }
}

fn is_want(frame: &Frame) -> bool {
    matches!(frame, Frame::Want(_))
}

fn is_fin_ok(frame: &Frame) -> bool {
    matches!(frame, Frame::FinOk(_))
}

#[test]
fn a_rogue_that_behaves_gets_its_file_through() {
    let content = bytes(SIZE);
    let size = u64::try_from(SIZE).unwrap();
    carry_through(after_accept(size, whole_file(&content))).arrived(&content);
}

#[test]
fn a_sender_that_leaves_its_room_has_parted_even_if_its_connection_stands() {
    let (server, runtime) = (Server::start(), runtime());
    let (content, size) = (bytes(SIZE), u64::try_from(SIZE).unwrap());
    let stage = runtime.block_on(async {
        let (stage, mut rogue) = Stage::set(&server, 1).await;
        for step in after_accept(size, whole_file(&content)) {
            assert!(take(&mut rogue, step).await);
        }
        rogue.hear_until(is_fin_ok).await.expect("the file is safe");
        assert!(rogue.leave().await, "the receiver waits for more");
        stage
    });
    stage.receiver.finish().expect(0);
}

#[test]
fn frames_of_a_later_version_that_may_be_passed_over_are() {
    let content = bytes(SIZE);
    let size = u64::try_from(SIZE).unwrap();
    let steps = [
        passed_over().into(),
        vec![manifest(&[entry(1, &[b"a.bin"], size)])],
        passed_over().into(),
        vec![manifest_end(1, size)],
        passed_over().into(),
        vec![Accepted],
        whole_chunk(0, &content),
        passed_over().into(),
        whole_chunk(1, &content),
        passed_over().into(),
        vec![fin(digest(&content))],
    ];
    carry_through(steps.concat_steps()).arrived(&content);
}

/// What a receiver may hold, in bytes.
const MOST_MEMORY: u64 = 200_000_000;

/// A file as an honest sender sends it, but without regard to credit, in records of a size.
fn flood(content: &[u8], record_size: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for (index, chunk) in (0_u32..).zip(content.chunks(CHUNK)) {
        let record = |(offset, part)| Record {
            file: FileId(0),
            chunk: index,
            offset,
            bytes: Bytes::copy_from_slice(part),
        };
        let offsets = (0_u32..).step_by(record_size);
        let records: Vec<_> = offsets.zip(chunk.chunks(record_size)).map(record).collect();
        let in_a_frame = 60_000 / (record_size + 16);
        for records in records.chunks(in_a_frame.max(1)) {
            steps.push(Data(Frame::Data(records.to_vec()).to_wire()));
        }
        steps.push(hash(index, Hash::of(chunk)));
    }
    steps.push(fin_of(u64::try_from(content.len()).unwrap(), digest(content)));
    after_accept(u64::try_from(content.len()).unwrap(), steps)
}

/// Floods a receiver. When its disk keeps up the file arrives, else there is no room for more.
fn takes_little_memory(content: &[u8], record_size: usize) {
    let ended = carry_through(flood(content, record_size));
    assert!(ended.peak > 0 && ended.peak < MOST_MEMORY, "{} bytes", ended.peak);
    if ended.finished.code() == 0 {
        ended.arrived(content);
    } else {
        let finished = ended.finished.expect(1);
        assert!(finished.event("error")["message"].to_string().contains("room"));
        assert_eq!(ended.scene.received(), ["kept.txt"]);
    }
}

#[test]
fn a_sender_that_does_not_care_for_credit_does_not_fill_the_memory() {
    takes_little_memory(&bytes(128 * 1024 * 1024), 59_000);
}

#[test]
fn a_file_in_records_of_one_byte_does_not_fill_the_memory() {
    takes_little_memory(&bytes(8 * 1024 * 1024), 1);
}

#[test]
fn noise_that_may_be_passed_over_does_not_fill_the_memory() {
    let content = bytes(SIZE);
    let noise = (0..2_000).flat_map(|_| passed_over());
    let file = after_accept(u64::try_from(SIZE).unwrap(), whole_file(&content));
    let ended = carry_through(noise.chain(file).collect()).arrived(&content);
    assert!(ended.peak < MOST_MEMORY, "{} bytes", ended.peak);
}

#[test]
fn a_second_greeting_is_refused() {
    let (server, runtime) = (Server::start(), runtime());
    let stage = runtime.block_on(async {
        let (stage, mut rogue) = Stage::set(&server, 1).await;
        let hello = Writer::of_type(0x8001)
            .u32(0x8001, CONTROL)
            .u32(0x8002, 0)
            .field(0x8003, &[1; 16])
            .field(0x8004, &[2; 32])
            .finish();
        rogue.say(CONTROL, &hello).await;
        patient(rogue.hear_the_end()).await;
        rogue.close().await;
        stage
    });
    let finished = stage.unchanged().expect(1);
    assert!(finished.event("error")["message"].to_string().contains("broke the protocol"));
}
