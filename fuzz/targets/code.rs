//! What a person types or pastes: a code, and where it says to meet.

#![no_main]

use std::str;

use libfuzzer_sys::fuzz_target;
use p2pshare::{
    Code, Invitation,
    proto::code::{Place, WORDS},
};
use p2pshare_fuzz::{comes_back, seed, texts};
use p2pshare_signal::protocol;

fuzz_target!(init: seed(texts("code", "typed")), |data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(code) = text.parse::<Code>() {
        holds(&code);
    }
    if let Ok(invitation) = text.parse::<Invitation>() {
        holds(&invitation.code);
        let place = match &invitation.place {
            Place::Unsaid => String::new(),
            Place::Host { host, port } => {
                assert_ne!(*port, Some(0));
                assert!(!host.is_empty() && !host.contains(['@', '/', '[', ']']), "{host}");
                format!("@[{host}]{}", port.map(|port| format!(":{port}")).unwrap_or_default())
            }
            Place::Link(link) => {
                assert!(link.contains("://") && !link.contains('#'), "{link}");
                let again = format!("{link}#{}", invitation.code.reveal());
                // It may be longer than what was typed: words are written out.
                if again.len() <= 1024 {
                    comes_back(&invitation, again.parse());
                }
                return;
            }
        };
        let again = format!("{}{place}", invitation.code.reveal());
        if again.len() <= 1024 {
            comes_back(&invitation, again.parse());
        }
    }
});

fn holds(code: &Code) {
    let revealed = code.reveal();
    comes_back(code, revealed.parse());
    let words = revealed.split('-').count() - 1;
    assert!(WORDS.contains(&words), "{words} words");
    // The server must take every nameplate that a client does.
    let nameplate = code.nameplate.to_string();
    assert!(protocol::Nameplate::try_from(nameplate).is_ok());
    let shown = format!("{code:?}");
    assert!(revealed.split('-').skip(1).all(|word| !shown.contains(word)), "{shown}");
}
