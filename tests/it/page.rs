//! The page that servers serve, in a real browser, with real servers and the real `p2pshare` at the
//! other end: what a person would click, and what must arrive.
//!
//! Each test ends with a look at what the browser complained of: a violation of the page's policy, or
//! an error nobody caught, fails it. Screens are shot on the way, into `tests/web/screenshots`.

mod firefox;
mod preview;
mod resume;
mod trouble;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
    path::Path,
    time::Instant,
};

use data_encoding::HEXLOWER;
use p2pshare::proto::{frame::Frame, wire::Writer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    chromium::{Script, say},
    harness::{Running, Scene, Server, bytes, sha256, turn_on_lan},
    rogue::{Lie, Rogue, RogueSlot, code, patient},
};

/// A large file: seconds on any machine.
const LARGE: usize = 300_000_000;

/// A browser with tabs.
struct Browser(Script);

/// One of its tabs, which is a page of a server.
struct Tab<'a> {
    script: &'a mut Script,
    name: &'static str,
}

impl Browser {
    fn start() -> Option<Self> {
        Script::start("pages.js", &[]).map(Self)
    }

    fn open(&mut self, name: &'static str, url: &str) -> Tab<'_> {
        let mut tab = self.tab(name);
        tab.call("open", json!({ "url": url }));
        tab
    }

    /// With a profile on the disk: what is private otherwise is in memory.
    fn open_in_a_profile(&mut self, name: &'static str, url: &str) -> Tab<'_> {
        let mut tab = self.tab(name);
        tab.call("open", json!({ "url": url, "profile": true }));
        tab
    }

    fn tab(&mut self, name: &'static str) -> Tab<'_> {
        Tab { script: &mut self.0, name }
    }
}

impl Tab<'_> {
    fn call(&mut self, name: &str, value: Value) -> Value {
        let argument = Value::from_iter([("tab", self.name.into()), ("value", value)]);
        self.script.call(name, argument)
    }

    /// Waits for a screen.
    fn reaches(&mut self, state: &str) {
        self.call("state", json!(state));
    }

    fn click(&mut self, selector: &str) {
        self.call("click", json!(selector));
    }

    fn text(&mut self, selector: &str) -> String {
        self.call("text", json!(selector)).as_str().unwrap().to_owned()
    }

    fn shoot(&mut self, name: &str) {
        self.call("shoot", json!(name));
    }

    /// From a link to what is offered.
    fn claims(&mut self) {
        self.reaches("ready");
        self.click("#get");
        self.reaches("offer");
    }

    /// Accepts by a download, and waits for all of it.
    fn downloads(&mut self, button: &str) -> (String, Value) {
        let name = self.call("download", json!(button)).as_str().unwrap().to_owned();
        self.reaches("done");
        (name, self.call("downloaded", Value::Null))
    }

    /// Picks files by a button, and gets a code for them.
    fn offers(&mut self, button: &str, paths: &[&Path]) -> String {
        self.reaches("home");
        self.call("pick", json!({ "button": button, "paths": paths }));
        self.reaches("selected");
        self.click("#send");
        self.reaches("waiting");
        self.text("#code")
    }

    /// Waits until so much of a transfer is verified, from 0 to 1.
    fn has(&mut self, share: f64) {
        self.call("progress", json!(share));
    }

    /// The most memory that any tab has held, in bytes.
    fn peak_memory(&mut self) -> u64 {
        self.call("peakMemory", Value::Null).as_u64().unwrap()
    }

    /// What the page has stored in the browser, besides where files were to go.
    fn stored(&mut self) -> Value {
        self.call("stored", Value::Null)
    }

    fn failure(&mut self) -> String {
        self.call("failure", Value::Null).as_str().unwrap().to_owned()
    }

    /// Nothing went wrong that a person would not see.
    fn is_sound(&mut self) {
        assert_eq!(self.call("problems", Value::Null), json!([]));
    }
}

/// What most of these tests begin with; `None` where there is no browser.
fn setting() -> Option<(Browser, Scene, Server)> {
    Some((Browser::start()?, Scene::new(), Server::start()))
}

/// The page's address, with a code.
fn link(server: &Server, code: &str) -> String {
    format!("http://{}/#{code}", server.address())
}

fn hex(digest: [u8; 32]) -> String {
    HEXLOWER.encode(&digest)
}

fn rate(size: usize, start: Instant) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for who reads it")]
    let megabytes = size as f64 / 1e6;
    format!("{:.0} MB/s", megabytes / start.elapsed().as_secs_f64())
}

#[test]
fn a_page_downloads_what_is_sent_whatever_its_size() {
    let Some((mut browser, scene, server)) = setting() else { return };
    for (name, size) in [("empty", 0), ("one", 1), ("chunks", 700_001)] {
        let path = scene.file(name, size);
        let mut sender = scene.send(&server, &path).start();
        let mut tab = browser.open("receiver", &link(&server, &sender.code()));
        tab.claims();
        let (called, downloaded) = tab.downloads("#accept-1");
        assert_eq!((called.as_str(), downloaded["size"].as_u64()), (name, Some(size as u64)));
        assert_eq!(downloaded["sha256"], hex(sha256(&path)));
        sender.ended().expect(0);
        tab.is_sound();
        tab.call("close", Value::Null);
    }
}

/// What the rates of the page are to be seen beside.
#[test]
fn two_pages_with_nothing_but_a_channel_between_them() {
    let Some(mut browser) = Browser::start() else { return };
    let rate = browser.tab("none").call("bare", json!(2048));
    say(&format!("page to page, a channel alone: {rate} MB/s"));
}

#[test]
fn a_page_saves_a_large_file_where_it_is_told_to() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("large.bin", LARGE);
    let mut sender = scene.send(&server, &path).start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.reaches("ready");
    tab.shoot("receive-1-ready");
    tab.click("#get");
    tab.reaches("offer");
    tab.shoot("receive-2-offer");
    tab.call("usePrivateFolder", Value::Null);
    let start = Instant::now();
    tab.click("#accept");
    tab.reaches("receiving");
    sender.under_way();
    tab.shoot("receive-3-receiving");
    tab.reaches("done");
    say(&format!("p2pshare to the page: {}", rate(LARGE, start)));
    tab.shoot("receive-4-done");
    sender.ended().expect(0);
    assert_eq!(tab.call("privateFiles", Value::Null)["large.bin"], hex(sha256(&path)));
    tab.is_sound();
}

/// Where one lane is not enough a sender opens more, with a page as well.
#[test]
fn a_page_takes_further_lanes() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("many lanes", 100_000_003);
    let mut sender = scene.send(&server, &path).arg("--connections=4").start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    tab.call("download", json!("#accept-1"));
    while sender.event("progress")["lanes"] != 4 {}
    tab.reaches("done");
    assert_eq!(tab.call("downloaded", Value::Null)["sha256"], hex(sha256(&path)));
    sender.ended().expect(0);
    tab.is_sound();
}

/// A folder with files in folders, one of which is empty.
fn folder(scene: &Scene, files: usize) -> BTreeMap<String, String> {
    let root = scene.sender().join("photos");
    fs::create_dir_all(root.join("empty")).unwrap();
    let mut expected = BTreeMap::new();
    for number in 0..files {
        let inner = root.join(format!("{}", number % 7));
        fs::create_dir_all(&inner).unwrap();
        let content = bytes(number * 37);
        fs::write(inner.join(format!("{number}.jpg")), &content).unwrap();
        let name = format!("photos/{}/{number}.jpg", number % 7);
        expected.insert(name, hex(Sha256::digest(&content).into()));
    }
    expected
}

#[test]
fn a_page_saves_a_folder_as_a_folder() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let expected = folder(&scene, 500);
    let mut sender = scene.send(&server, &scene.sender().join("photos")).start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    tab.shoot("receive-2-offer-of-a-folder");
    tab.call("usePrivateFolder", Value::Null);
    tab.click("#accept");
    tab.reaches("done");
    sender.ended().expect(0);
    let found = tab.call("privateFiles", Value::Null);
    let mut found: BTreeMap<String, Option<String>> = serde_json::from_value(found).unwrap();
    assert_eq!(found.remove("photos/empty/"), Some(None));
    found.retain(|_, digest| digest.is_some());
    let found: BTreeMap<_, _> = found.into_iter().filter_map(|(n, d)| d.map(|d| (n, d))).collect();
    assert!(found == expected, "{} of {} files", found.len(), expected.len());
    tab.is_sound();
}

#[test]
fn a_page_downloads_a_folder_as_an_archive() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let expected = folder(&scene, 500);
    let mut sender = scene.send(&server, &scene.sender().join("photos")).start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    let (called, downloaded) = tab.downloads("#accept-1");
    assert_eq!(called, "photos.zip");
    sender.ended().expect(0);
    let archive = fs::read(downloaded["path"].as_str().unwrap()).unwrap();
    assert!(unzipped(&archive) == expected);
    tab.is_sound();
}

/// The files of an archive, each with its SHA-256, by its directory as Zip64 has it.
fn unzipped(archive: &[u8]) -> BTreeMap<String, String> {
    let number = |at: usize, width: usize| {
        let bytes = archive[at..at + width].iter().rev();
        bytes.fold(0_usize, |sum, byte| sum * 256 + usize::from(*byte))
    };
    let end = archive.len() - 22 - 20 - 56;
    assert_eq!(number(end, 4), 0x0606_4b50);
    let (count, mut at) = (number(end + 32, 8), number(end + 48, 8));
    let mut files = BTreeMap::new();
    for _ in 0..count {
        assert_eq!(number(at, 4), 0x0201_4b50);
        let (length, extra) = (number(at + 28, 2), number(at + 30, 2));
        let name = String::from_utf8(archive[at + 46..at + 46 + length].to_vec()).unwrap();
        let fields = at + 46 + length + 4;
        let (size, start) = (number(fields, 8), number(fields + 16, 8));
        let content = start + 30 + length + number(start + 28, 2);
        let content = &archive[content..content + size];
        if !name.ends_with('/') {
            files.insert(name, hex(Sha256::digest(content).into()));
        }
        at += 46 + length + extra;
    }
    files
}

#[test]
fn nothing_is_claimed_before_a_click() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("a.txt", 10);
    let mut sender = scene.send(&server, &path).start();
    let code = sender.code();
    let mut tab = browser.open("receiver", &link(&server, &code));
    tab.reaches("ready");
    scene.receive(&server, &code).start().ended().expect(0);
    sender.ended().expect(0);
    tab.click("#get");
    assert_eq!(tab.failure(), "no-such-code");
    tab.shoot("receive-5-no-such-code");
    tab.is_sound();
}

#[test]
fn a_wrong_code_is_told_to_both() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let mut sender = scene.send(&server, &scene.file("a.txt", 10)).start();
    let nameplate = sender.code().split('-').next().unwrap().to_owned();
    let mut tab = browser.open("receiver", &format!("http://{}/", server.address()));
    tab.reaches("home");
    tab.shoot("home");
    tab.call("type", json!({ "into": "#typed", "text": "7 aardvark nonsense" }));
    tab.click("#claim");
    assert!(tab.text("#problem").contains("three words"));
    tab.shoot("home-with-a-problem");
    let wrong = format!("{nameplate} aardvark abandoned abbreviate");
    tab.call("type", json!({ "into": "#typed", "text": wrong }));
    tab.click("#claim");
    assert_eq!(tab.failure(), "wrong-code");
    // The code is used up, and there is another.
    assert_ne!(sender.code(), "");
    tab.is_sound();
}

#[test]
fn names_are_text_and_nothing_else() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let name = "<img src=x onerror=document.title='owned'>\u{202e}gpj.exe";
    fs::write(scene.sender().join(name), b"harmless").unwrap();
    let mut sender = scene.send(&server, &scene.sender().join(name)).start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    assert!(tab.text("h1").contains("<img src=x onerror"));
    assert!(tab.text("h1").contains("\\u{202e}gpj.exe"));
    assert_eq!(tab.call("count", json!("main img")), 0);
    tab.click("#decline");
    tab.reaches("home");
    sender.ended().expect(6);
    tab.is_sound();
}

/// The offer of one file, as bytes, so that it can hold what the library's types refuse.
async fn offer(rogue: &Rogue, components: &[&[u8]], size: u64) {
    let entry = Writer::new().u8(0x8001, 1);
    let entry = components.iter().fold(entry, |entry, name| entry.field(0x8002, name));
    let entry = entry.u64(0x8003, size).finish();
    rogue.say(0, &Writer::of_type(0x8004).field(0x8001, &entry).finish()).await;
    rogue.say(0, &Writer::of_type(0x8005).u32(0x8001, 1).u64(0x8002, size).finish()).await;
}

/// A rogue that a page has claimed the code of.
async fn rogue(server: &Server, browser: &mut Browser) -> Rogue {
    use p2pshare::proto::Role;
    let slot = RogueSlot::open(server, &code(7)).await;
    let mut tab = browser.open("receiver", &link(server, &code(7)));
    tab.reaches("ready");
    tab.click("#get");
    let paired = patient(slot.paired()).await;
    patient(Rogue::connect(Role::Sender, paired, Lie::None)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_escapes_refuses_the_offer() {
    let Some(mut browser) = Browser::start() else { return };
    let server = Server::start();
    let rogue = rogue(&server, &mut browser).await;
    offer(&rogue, &[b"..", b"evil"], 8).await;
    let mut tab = browser.tab("receiver");
    assert_eq!(tab.failure(), "unsafe-name");
    tab.shoot("receive-5-unsafe-name");
    tab.is_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_what_was_sent_never_becomes_a_file() {
    let Some(mut browser) = Browser::start() else { return };
    let server = Server::start();
    let mut rogue = rogue(&server, &mut browser).await;
    offer(&rogue, &[b"a.bin"], 8).await;
    let mut tab = browser.tab("receiver");
    tab.reaches("offer");
    tab.call("download", json!("#accept-1"));
    patient(rogue.hear_until(|frame| matches!(frame, Frame::Want(_)))).await;
    let data =
        [&0x8002_u16.to_be_bytes()[..], &[0; 12], &8_u32.to_be_bytes(), b"8 bytes."].concat();
    let hashes = [&0x8003_u16.to_be_bytes()[..], &[0; 8], &[7; 32]].concat();
    rogue.say(1, &data).await;
    rogue.say(1, &hashes).await;
    assert_eq!(tab.failure(), "verification");
    assert_ne!(tab.call("downloadFailure", Value::Null), Value::Null);
    tab.shoot("receive-5-verification");
}

#[test]
fn a_page_sends_files_and_folders() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let (first, second) = (scene.file("first.bin", 700_001), scene.file("empty.txt", 0));
    folder(&scene, 50);
    let mut tab = browser.open("sender", &format!("http://{}/", server.address()));
    tab.reaches("home");
    tab.call("pick", json!({ "button": "#choose", "paths": [first, second] }));
    tab.reaches("selected");
    tab.shoot("send-1-selected");
    tab.call("evaluate", json!("document.querySelector('.small').focus()"));
    tab.click("#send");
    tab.reaches("waiting");
    tab.shoot("send-2-waiting");
    let code = tab.text("#code");
    scene.receive(&server, &code).start().ended().expect(0);
    tab.reaches("done");
    tab.shoot("send-5-done");
    assert_eq!(sha256(&scene.receiver().join("first.bin")), sha256(&first));
    assert_eq!(fs::read(scene.receiver().join("empty.txt")).unwrap(), b"");
    tab.click("#again");
    let code = tab.offers("#choose-folder", &[&scene.sender().join("photos")]);
    scene.receive(&server, &code).start().ended().expect(0);
    tab.reaches("done");
    for number in [0, 1, 49] {
        let path = format!("photos/{}/{number}.jpg", number % 7);
        let (sent, received) = (scene.sender().join(&path), scene.receiver().join(&path));
        assert_eq!(sha256(&sent), sha256(&received), "{path}");
    }
    tab.is_sound();
}

#[test]
fn a_page_sends_a_large_file() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("large.bin", LARGE);
    let mut tab = browser.open("sender", &format!("http://{}/", server.address()));
    let code = tab.offers("#choose", &[&path]);
    let mut receiver = scene.receive_asking(&server, &code).start();
    receiver.event("accept?");
    tab.reaches("asking");
    tab.shoot("send-3-asking");
    let start = Instant::now();
    receiver.type_line("y");
    tab.reaches("sending");
    receiver.under_way();
    tab.shoot("send-4-sending");
    receiver.ended().expect(0);
    say(&format!("the page to p2pshare: {}", rate(LARGE, start)));
    tab.reaches("done");
    assert_eq!(sha256(&scene.receiver().join("large.bin")), sha256(&path));
    tab.is_sound();
}

#[test]
fn a_page_sends_to_a_page() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("between.bin", 20_000_003);
    let home = format!("http://{}/", server.address());
    let code = browser.open("sender", &home).offers("#choose", &[&path]);
    let mut tab = browser.open("receiver", &link(&server, &code));
    tab.claims();
    let start = Instant::now();
    let (_, downloaded) = tab.downloads("#accept-1");
    say(&format!("page to page: {}", rate(20_000_003, start)));
    assert_eq!(downloaded["sha256"], hex(sha256(&path)));
    tab.is_sound();
    let mut tab = browser.tab("sender");
    tab.reaches("done");
    tab.is_sound();
}

#[test]
fn a_wrong_guess_at_a_pages_code_brings_another_code() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("a.txt", 10);
    let mut tab = browser.open("sender", &format!("http://{}/", server.address()));
    let code = tab.offers("#choose", &[&path]);
    let nameplate = code.split('-').next().unwrap();
    let wrong = format!("{nameplate}-aardvark-abandoned-abbreviate");
    scene.receive(&server, &wrong).start().ended().expect(5);
    assert!(tab.text("#guessed").contains("wrong code"));
    tab.shoot("send-2-waiting-after-a-wrong-guess");
    let code = tab.text("#code");
    scene.receive(&server, &code).start().ended().expect(0);
    tab.reaches("done");
    tab.is_sound();
}

#[test]
fn a_lost_path_is_found_again_and_the_transfer_goes_on() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("large.bin", 60_000_000);
    for lanes in [1, 4] {
        let connections = format!("--connections={lanes}");
        let sender = scene.send(&server, &path).arg(&connections).arg("--bwlimit=20M");
        let mut sender = sender.start();
        let mut tab = browser.open("receiver", &link(&server, &sender.code()));
        tab.claims();
        tab.call("download", json!("#accept-1"));
        while sender.event("progress")["lanes"] != lanes {}
        tab.call("evaluate", json!("cutThePath()"));
        tab.shoot("receive-3-reconnecting");
        sender.event("connecting");
        tab.reaches("done");
        assert_eq!(tab.call("downloaded", Value::Null)["sha256"], hex(sha256(&path)));
        sender.ended().expect(0);
        tab.is_sound();
        tab.call("close", Value::Null);
    }
}

#[test]
fn a_page_that_sends_finds_a_lost_path_again() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("large.bin", 60_000_000);
    let mut tab = browser.open("sender", &format!("http://{}/", server.address()));
    let code = tab.offers("#choose", &[&path]);
    let mut receiver = scene.receive(&server, &code).start();
    receiver.under_way();
    tab.call("evaluate", json!("cutThePath()"));
    receiver.event("connecting");
    receiver.ended().expect(0);
    tab.reaches("done");
    assert_eq!(sha256(&scene.receiver().join("large.bin")), sha256(&path));
    tab.is_sound();
}

#[test]
fn a_message_is_shown() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let url = server.url();
    let arguments = ["--json", "--server", &url, "send", "--text", "<b>three</b> words"];
    let mut sender = scene.p2pshare(&scene.sender(), &arguments).start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    tab.click("#accept");
    tab.reaches("done");
    let shown = tab.call("evaluate", json!("document.querySelector('#message').value"));
    assert_eq!(shown, "<b>three</b> words");
    tab.shoot("receive-4-message");
    sender.ended().expect(0);
    tab.is_sound();
}

#[test]
fn a_stream_is_downloaded_while_it_lasts() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let arguments = ["--json", "--server", &server.url(), "send", "-", "--name", "log.txt"];
    let mut sender = scene.p2pshare(&scene.sender(), &arguments).start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    sender.type_line("one line");
    tab.call("download", json!("#accept-1"));
    sender.type_line("and another");
    sender.finish().expect(0);
    tab.reaches("done");
    let content = Sha256::digest(b"one line\nand another\n");
    assert_eq!(tab.call("downloaded", Value::Null)["sha256"], hex(content.into()));
    tab.is_sound();
}

/// A recording of a tone, in a form that says at its start how long it is.
fn recording(samples: u32) -> Vec<u8> {
    let length = samples * 2;
    let mut wave = [&b"RIFF"[..], &(36 + length).to_le_bytes(), b"WAVEfmt "].concat();
    wave.extend([&16_u32.to_le_bytes()[..], &[1, 0, 1, 0], &8000_u32.to_le_bytes()].concat());
    wave.extend([&16_000_u32.to_le_bytes()[..], &[2, 0, 16, 0], b"data"].concat());
    wave.extend(length.to_le_bytes());
    wave.extend((0..samples).flat_map(|at| (i16::try_from(at % 64).unwrap() * 100).to_le_bytes()));
    wave
}

#[test]
fn a_recording_plays_while_it_arrives() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.sender().join("tone.wav");
    fs::write(&path, recording(3_000_000)).unwrap();
    let mut sender = scene.send(&server, &path).arg("--bwlimit").arg("1M").start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    tab.call("download", json!("#accept-1"));
    tab.reaches("receiving");
    tab.click("#look");
    let plays = "new Promise((resolve) => {
        const look = setInterval(() => {
            const player = document.querySelector('audio');
            if (!player || player.currentTime < 0.5) return;
            clearInterval(look);
            resolve([document.body.dataset.state, Math.round(player.duration)]);
        }, 20);
    })";
    assert_eq!(tab.call("evaluate", json!(plays)), json!(["receiving", 375]));
    tab.shoot("receive-3-listening");
    tab.reaches("done");
    sender.ended().expect(0);
    assert_eq!(tab.call("downloaded", Value::Null)["sha256"], hex(sha256(&path)));
    tab.is_sound();
}

#[test]
fn a_page_tells_nothing_before_its_user_has_compared_the_words() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("a.txt", 10);
    let mut tab = browser.open("sender", &format!("http://{}/", server.address()));
    let code = tab.offers("#choose", &[&path]);
    let mut receiver = scene.receive(&server, &code).arg("--verify").start();
    let words: Vec<String> =
        serde_json::from_value(receiver.event("verifier")["words"].take()).unwrap();
    tab.reaches("comparing");
    assert_eq!(tab.text("#words"), words.join(" "));
    tab.shoot("send-3-comparing");
    tab.click("#same");
    receiver.ended().expect(0);
    tab.reaches("done");
    tab.is_sound();
}

/// An address of this machine that is not loopback, over which a browser's context is not secure.
fn own_address() -> Option<Ipv4Addr> {
    let interfaces = if_addrs::get_if_addrs().unwrap();
    interfaces.iter().find_map(|interface| match interface.ip() {
        IpAddr::V4(address) if !address.is_loopback() && !address.is_link_local() => Some(address),
        _ => None,
    })
}

/// The link that a sender without a server prints.
fn lan_link(sender: &mut Running) -> String {
    let event = sender.event("code");
    let (code, at) = (event["code"].as_str().unwrap(), event["at"].as_str().unwrap());
    format!("http://{at}/#{code}")
}

#[test]
fn a_page_over_plain_http_holds_the_file_and_says_so() {
    let Some(mut browser) = Browser::start() else { return };
    if own_address().is_none() {
        return say("skipped, there is no network but loopback");
    }
    let _turn = turn_on_lan();
    let scene = Scene::new();
    let path = scene.file("a.bin", 1_000_003);
    let mut sender = scene.send_on_lan(&path).start();
    let mut tab = browser.open("receiver", &lan_link(&mut sender));
    tab.claims();
    assert!(tab.text("#plain-http").contains("could have altered"));
    tab.shoot("receive-2-offer-over-plain-http");
    tab.click("#accept");
    tab.reaches("done");
    tab.shoot("receive-4-done-over-plain-http");
    sender.ended().expect(0);
    tab.call("download", json!("#save"));
    assert_eq!(tab.call("downloaded", Value::Null)["sha256"], hex(sha256(&path)));
    tab.is_sound();
}

#[test]
fn a_senders_own_server_is_not_called_by_a_name_that_somebody_owns() {
    if own_address().is_none() {
        return say("skipped, there is no network but loopback");
    }
    let _turn = turn_on_lan();
    let scene = Scene::new();
    let mut sender = scene.send_on_lan(&scene.file("a.bin", 10)).start();
    let at = sender.event("code")["at"].as_str().unwrap().to_owned();
    let answer = |path: &str, host: &str, origin: &str| {
        let mut stream = TcpStream::connect(&at).unwrap();
        let headers = format!("Host: {host}\r\n{origin}Connection: close\r\n");
        write!(stream, "GET {path} HTTP/1.1\r\n{headers}\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[9..12]).into_owned()
    };
    let socket = "/v1/rendezvous";
    assert_eq!(answer("/", &at, ""), "200");
    assert_eq!(answer("/", "box.local:9477", ""), "200");
    assert_eq!(answer("/", "evil.example:9477", ""), "421");
    assert_eq!(answer(socket, "evil.example", "Origin: http://evil.example\r\n"), "421");
    assert_eq!(answer(socket, &at, "Origin: http://evil.example\r\n"), "403");
}

#[test]
fn a_page_of_another_server_can_neither_frame_it_nor_talk_to_it() {
    let Some(mut browser) = Browser::start() else { return };
    let (server, other) = (Server::start(), Server::start());
    let mut tab = browser.open("other", &format!("http://{}/", other.address()));
    let script = format!(
        "new Promise((resolve) => {{
            const socket = new WebSocket('ws://{}/v1/rendezvous');
            socket.onopen = () => resolve('open');
            socket.onerror = () => resolve('refused');
        }})",
        server.address()
    );
    assert_eq!(tab.call("evaluate", json!(script)), "refused");
    let framed = tab.call("framed", json!(format!("http://{}/", server.address())));
    assert_eq!(framed, "chrome-error://chromewebdata/");
}
