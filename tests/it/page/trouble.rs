//! What goes wrong around a page, and what it needs of the machine.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    chromium::say,
    harness::{Scene, Server, sha256},
};

use super::{Browser, hex, link, own_address, rate, setting};

/// Long enough to be cut in the middle.
const SIZE: usize = 60_000_000;

/// The browser says that a server is gone; nothing else may be wrong.
fn is_sound_without_a_server(problems: &Value) {
    let problems = problems.as_array().unwrap();
    let is_expected = |problem: &Value| {
        problem.as_str().is_some_and(|text| text.starts_with("WebSocket connection to"))
    };
    assert!(problems.iter().all(is_expected), "{problems:#?}");
}

#[test]
fn a_page_receives_to_the_end_when_the_server_is_killed() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("large.bin", SIZE);
    let mut sender = scene.send(&server, &path).start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    tab.call("download", json!("#accept-1"));
    tab.has(0.1);
    server.kill();
    tab.reaches("done");
    assert_eq!(tab.call("downloaded", Value::Null)["sha256"], hex(sha256(&path)));
    sender.ended().expect(0);
    is_sound_without_a_server(&tab.call("problems", Value::Null));
}

#[test]
fn a_page_sends_to_the_end_when_the_server_is_killed() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("large.bin", SIZE);
    let mut tab = browser.open("sender", &format!("http://{}/", server.address()));
    let code = tab.offers("#choose", &[&path]);
    let mut receiver = scene.receive(&server, &code).start();
    // With the server its relay is gone, too.
    assert_ne!(receiver.event("connected")["path"], "relay");
    receiver.under_way();
    server.kill();
    receiver.ended().expect(0);
    tab.reaches("done");
    assert_eq!(sha256(&scene.receiver().join("large.bin")), sha256(&path));
    is_sound_without_a_server(&tab.call("problems", Value::Null));
}

/// A browser asks a relay on loopback from none of its addresses, so this server has one of the
/// machine's, over which the page is plain HTTP.
#[test]
fn a_page_and_an_end_that_will_only_be_relayed_are_relayed() {
    let Some(mut browser) = Browser::start() else { return };
    let Some(address) = own_address() else {
        return say("skipped, there is no network but loopback");
    };
    let (scene, server) = (Scene::new(), Server::start_at(&format!("{address}:0")));
    let path = scene.file("a.bin", 20_000_003);
    let relayed = |start: crate::harness::Start| start.arg("--transport").arg("relay").start();

    let mut sender = relayed(scene.send(&server, &path).arg("--connections=3"));
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    tab.click("#accept");
    while sender.event("progress")["lanes"] != 3 {}
    tab.reaches("done");
    tab.call("download", json!("#save"));
    assert_eq!(tab.call("downloaded", Value::Null)["sha256"], hex(sha256(&path)));
    let finished = sender.ended().expect(0);
    assert_eq!(finished.event("connected")["path"], "relay");
    tab.is_sound();

    let mut tab = browser.open("sender", &format!("http://{}/", server.address()));
    let code = tab.offers("#choose", &[&path]);
    let finished = relayed(scene.receive(&server, &code)).ended().expect(0);
    assert_eq!(finished.event("connected")["path"], "relay");
    tab.reaches("done");
    assert_eq!(sha256(&scene.receiver().join("a.bin")), sha256(&path));
    tab.is_sound();
}

/// What a renderer may take beyond what it has when a tenth is there: a few windows of credit and what
/// the collector of garbage leaves lying about, and nothing that grows with the file.
const GROWTH: u64 = 200_000_000;

/// Downloads a file of a size, and watches the memory of the tab.
fn downloads_with_flat_memory(size: usize) {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("large.bin", size);
    let expected = hex(sha256(&path));
    let mut sender = scene.send(&server, &path).start();
    let mut tab = browser.open_in_a_profile("receiver", &link(&server, &sender.code()));
    tab.claims();
    let start = Instant::now();
    tab.call("download", json!("#accept-1"));
    tab.has(0.1);
    let before = tab.peak_memory();
    for tenths in 2..10 {
        tab.has(f64::from(tenths) / 10.0);
    }
    tab.reaches("done");
    say(&format!("p2pshare to a download: {}", rate(size, start)));
    let grown = tab.peak_memory().saturating_sub(before); // One of its processes may have ended.
    say(&format!("a tab that had {} MB grew by {} MB", before / 1_000_000, grown / 1_000_000));
    assert!(grown < GROWTH, "{grown}");
    assert_eq!(tab.call("downloaded", Value::Null)["sha256"], expected);
    sender.ended().expect(0);
    assert_eq!(tab.stored(), json!([]));
    tab.is_sound();
}

#[test]
fn a_large_download_does_not_fill_the_memory_of_the_tab() {
    downloads_with_flat_memory(super::LARGE);
}

#[test]
#[ignore = "takes minutes; tests/web/README.md has the command"]
fn two_gigabytes_do_not_fill_the_memory_of_the_tab() {
    downloads_with_flat_memory(2_000_000_000);
}
