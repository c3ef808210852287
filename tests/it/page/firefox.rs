//! The page in another browser than Chromium, with another ICE, DTLS and SCTP under it.

use serde_json::{Value, json};

use crate::{
    chromium::Script,
    harness::{Scene, Server, sha256},
};

use super::{Browser, hex, link};

fn setting() -> Option<(Browser, Scene, Server)> {
    let browser = Script::start_firefox("firefox.js").map(Browser)?;
    Some((browser, Scene::new(), Server::start()))
}

/// More than once around every window of credit.
const SIZE: usize = 20_000_003;

#[test]
fn a_page_in_firefox_downloads_a_file() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("film.bin", SIZE);
    let mut sender = scene.send(&server, &path).start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    tab.call("download", json!("#accept"));
    tab.reaches("done");
    assert_eq!(tab.call("downloaded", Value::Null)["sha256"], hex(sha256(&path)));
    assert_eq!(sender.ended().expect(0).event("connected")["path"], "lan");
    tab.is_sound();
}

#[test]
fn a_page_in_firefox_sends_a_file() {
    let Some((mut browser, scene, server)) = setting() else { return };
    let path = scene.file("film.bin", SIZE);
    let mut tab = browser.open("sender", &format!("http://{}/", server.address()));
    let code = tab.offers("#choose", &[&path]);
    scene.receive(&server, &code).start().ended().expect(0);
    tab.reaches("done");
    assert_eq!(sha256(&scene.receiver().join("film.bin")), sha256(&path));
    tab.is_sound();
}
