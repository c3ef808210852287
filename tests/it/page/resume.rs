//! A page that is loaded anew in the middle, or whose sender is: it has what it had.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Running, Scene, Server, sha256};

use super::{Browser, Tab, folder, hex, link, setting};

/// Long enough to be cut in the middle, at a rate that does not depend on the machine.
const SIZE: usize = 40_000_000;
const RATE: [&str; 2] = ["--bwlimit", "10M"];

const HALF: u64 = SIZE as u64 / 2;

/// The same, less what may be under way.
const SPARED: u64 = 15_000_000;

fn sender(scene: &Scene, server: &Server, name: &str) -> Running {
    let path = scene.sender().join(name);
    scene.send(server, &path).arg(RATE[0]).arg(RATE[1]).start()
}

/// The page is loaded anew when it has half, and offers to go on.
fn reloads(tab: &mut Tab<'_>) {
    tab.has(0.5);
    tab.call("reload", Value::Null);
    tab.reaches("kept");
}

/// From a link to the offer that it is for.
fn claimed<'a>(browser: &'a mut Browser, server: &Server, sender: &mut Running) -> Tab<'a> {
    let mut tab = browser.open("receiver", &link(server, &sender.code()));
    tab.claims();
    tab
}

/// Waits for the sender, which did not have to send again what the page had.
fn sends_only_the_rest(sender: Running) {
    let spared = sender.ended().expect(0).event("complete")["bytes_spared"].as_u64().unwrap();
    assert!(spared > SPARED, "{spared}");
}

#[test]
fn a_download_goes_on_after_a_reload() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("film.bin", SIZE);
    let mut sender = sender(&scene, &server, "film.bin");
    let mut tab = claimed(&mut browser, &server, &mut sender);
    tab.call("download", json!("#accept-1"));
    reloads(&mut tab);
    assert!(tab.text("h1").ends_with(" of 40.0 MB from before"), "{}", tab.text("h1"));
    assert_eq!(tab.text("#title"), "film.bin");
    tab.shoot("receive-6-kept");
    let (name, downloaded) = tab.downloads("#go-on");
    assert_eq!(
        (name.as_str(), downloaded["sha256"].as_str()),
        ("film.bin", Some(&*hex(sha256(&path))))
    );
    sends_only_the_rest(sender);
    assert_eq!(tab.stored(), json!([]));
    tab.is_sound();
}

#[test]
fn a_file_that_was_chosen_goes_on_after_a_reload_on_the_same_link() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("film.bin", SIZE);
    let mut sender = sender(&scene, &server, "film.bin");
    let link = link(&server, &sender.code());
    let mut tab = browser.open("receiver", &link);
    tab.claims();
    tab.call("usePrivateFolder", Value::Null);
    tab.click("#accept");
    tab.has(0.5);
    tab.call("reload", json!(link));
    tab.reaches("kept");
    tab.click("#go-on");
    tab.reaches("done");
    sends_only_the_rest(sender);
    assert_eq!(tab.call("privateFiles", Value::Null), json!({ "film.bin": hex(sha256(&path)) }));
    assert_eq!(tab.stored(), json!(["film.bin"]));
    tab.is_sound();
}

#[test]
fn a_folder_goes_on_after_a_reload_where_it_was() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let mut expected = folder(&scene, 100);
    let large = scene.sender().join("photos/0/film.bin");
    fs::copy(scene.file("film.bin", SIZE), &large).unwrap();
    expected.insert("photos/0/film.bin".to_owned(), hex(sha256(&large)));
    let mut sender = sender(&scene, &server, "photos");
    let mut tab = claimed(&mut browser, &server, &mut sender);
    tab.call("usePrivateFolder", Value::Null);
    tab.click("#accept");
    reloads(&mut tab);
    tab.click("#go-on");
    tab.reaches("done");
    sends_only_the_rest(sender);
    let found = tab.call("privateFiles", Value::Null);
    let found = found.as_object().unwrap().iter();
    let found =
        found.filter_map(|(name, digest)| Some((name.clone(), digest.as_str()?.to_owned())));
    assert!(found.collect::<std::collections::BTreeMap<_, _>>() == expected);
    tab.is_sound();
}

/// A file that nothing tells of.
const STRAY: &str = "(async () => {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle('kept', { create: true });
    await folder.getFileHandle('stray.bytes', { create: true });
})()";

#[test]
fn what_is_thrown_away_is_nowhere_any_more() {
    let Some((mut browser, scene, server)) = setting() else { return };
    scene.file("film.bin", SIZE);
    let mut sender = sender(&scene, &server, "film.bin");
    let mut tab = claimed(&mut browser, &server, &mut sender);
    tab.call("usePrivateFolder", Value::Null);
    tab.click("#accept");
    reloads(&mut tab);
    assert_ne!(tab.stored(), json!([]));
    tab.click("#throw-away");
    tab.reaches("home");
    assert_eq!(tab.stored(), json!([]));
    // Nor is what a tab left that ended at the wrong moment.
    tab.call("evaluate", json!(STRAY));
    assert_eq!(tab.stored(), json!(["kept"]));
    tab.call("reload", Value::Null);
    tab.reaches("home");
    assert_eq!(tab.stored(), json!([]));
    tab.is_sound();
}

#[test]
fn who_stops_keeps_nothing() {
    let Some((mut browser, scene, server)) = setting() else { return };
    scene.file("film.bin", SIZE);
    let mut sender = sender(&scene, &server, "film.bin");
    let mut tab = claimed(&mut browser, &server, &mut sender);
    tab.call("download", json!("#accept-1"));
    tab.has(0.2);
    tab.click("#stop");
    assert_eq!(tab.failure(), "interrupted");
    tab.click("#again");
    tab.call("screen", json!("home"));
    assert_eq!(tab.stored(), json!([]));
    sender.ended().expect(8);
    tab.is_sound();
}

#[test]
fn a_sender_that_is_killed_and_started_again_sends_only_the_rest() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("film.bin", SIZE);
    let mut first = sender(&scene, &server, "film.bin");
    let mut tab = claimed(&mut browser, &server, &mut first);
    tab.call("download", json!("#accept-1"));
    tab.has(0.5);
    drop(first);
    assert_eq!(tab.failure(), "vanished");
    tab.shoot("receive-5-vanished-and-kept");
    tab.click("#again");
    tab.call("screen", json!("kept"));
    tab.shoot("receive-6-kept-without-a-sender");
    let mut second = sender(&scene, &server, "film.bin");
    tab.call("goto", json!(link(&server, &second.code())));
    tab.claims();
    assert!(tab.text("#held").contains("of it from before"));
    tab.shoot("receive-2-offer-of-what-is-here-in-part");
    let (_, downloaded) = tab.downloads("#accept-1");
    assert_eq!(downloaded["sha256"], hex(sha256(&path)));
    sends_only_the_rest(second);
    assert_eq!(tab.stored(), json!([]));
    tab.is_sound();
}

/// What the browser thinks of the path when the page opens its second socket, to look for its peer.
const SEARCHES: &str = "new Promise((resolve) => {
    const look = setInterval(() => {
        if (sockets.length < 2) return;
        clearInterval(look);
        resolve(sockets[1]);
    }, 20);
})";

/// Receives from a page, at a rate that does not depend on the machine.
fn receiver(scene: &Scene, server: &Server, code: &str) -> Running {
    scene.receive(server, code).arg(RATE[0]).arg(RATE[1]).start()
}

#[test]
fn a_receiver_that_is_killed_and_started_again_is_sent_only_the_rest() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("film.bin", SIZE);
    let mut tab = browser.open("sender", &format!("http://{}/", server.address()));
    let code = tab.offers("#choose", &[&path]);
    let mut first = receiver(&scene, &server, &code);
    while first.event("progress")["bytes"].as_u64().unwrap() < HALF {}
    drop(first);
    // The server tells the page that its receiver is gone, long before the browser finds out.
    assert_eq!(tab.call("evaluate", json!(SEARCHES)), "connected");
    let second = receiver(&scene, &server, &code).ended().expect(0);
    assert!(second.has("resuming"));
    let spared = second.event("complete")["bytes_spared"].as_u64().unwrap();
    assert!(spared > SPARED, "{spared}");
    tab.reaches("done");
    assert_eq!(sha256(&scene.receiver().join("film.bin")), sha256(&path));
    tab.is_sound();
}
