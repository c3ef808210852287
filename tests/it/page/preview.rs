//! What can be looked at outside of the page: documents, which must not become part of it.

use std::{fmt::Write, fs};

use serde_json::{Value, json};

use super::{hex, link, setting, sha256};

/// A document of one page.
fn document() -> Vec<u8> {
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R\
         /Resources<</Font<</F1 5 0 R>>>>>>",
        "<</Length 42>>stream\nBT /F1 24 Tf 40 100 Td (One page) Tj ET    \nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ];
    let mut text = "%PDF-1.4\n".to_owned();
    let mut places = String::new();
    for (at, object) in objects.iter().enumerate() {
        writeln!(places, "{:010} 00000 n ", text.len()).unwrap();
        writeln!(text, "{} 0 obj\n{object}\nendobj", at + 1).unwrap();
    }
    let table = text.len();
    write!(text, "xref\n0 6\n0000000000 65535 f \n{places}").unwrap();
    writeln!(text, "trailer<</Size 6/Root 1 0 R>>\nstartxref\n{table}\n%%EOF").unwrap();
    text.into_bytes()
}

/// Receives a document, and opens it when it has arrived.
fn opens(name: &str, content: &[u8]) -> Option<(Value, Value)> {
    let (mut browser, scene, server) = setting()?;
    let path = scene.sender().join(name);
    fs::write(&path, content).unwrap();
    let mut sender = scene.send(&server, &path).start();
    let mut tab = browser.open("receiver", &link(&server, &sender.code()));
    tab.claims();
    let (_, downloaded) = tab.downloads("#accept-1");
    assert_eq!(downloaded["sha256"], hex(sha256(&path)));
    sender.ended().expect(0);
    tab.shoot("receive-4-done-with-a-document");
    let opened = tab.call("opens", json!("#look"));
    let stored = tab.stored();
    tab.is_sound();
    Some((opened, stored))
}

#[test]
fn a_document_opens_in_a_tab_of_its_own() {
    let Some((opened, _)) = opens("page.pdf", &document()) else { return };
    assert_eq!(opened["type"], "application/pdf");
}

/// What it would do were it part of the page.
const SCRIPT: &str = "<!doctype html><script>localStorage.owned = 1</script>";

#[test]
fn what_only_calls_itself_a_document_does_nothing() {
    let Some((opened, stored)) = opens("page.pdf", SCRIPT.as_bytes()) else { return };
    assert_eq!(opened["type"], "application/pdf");
    assert_eq!(stored, json!([]));
}
