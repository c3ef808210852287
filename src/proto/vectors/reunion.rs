use sha2::{Digest, Sha256};

use super::*;
use crate::proto::{
    reunion::{Greeting, Reunion},
    wire::join,
};

#[derive(Deserialize, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
enum Case {
    Meeting(Box<Meeting>),
    Refused { hears: RoleName, greeting: Hex, refused: String },
}

/// Two ends that meet again.
#[derive(Deserialize, Serialize)]
struct Meeting {
    reconnect_room: Hex,
    reconnect_key: Hex,
    sender: Side,
    receiver: Side,
    transcript: Hex,
    keys: pake::KeysShown,
}

#[derive(Deserialize, Serialize)]
struct Side {
    nonce: Hex,
    covered: Hex,
    tag: Hex,
    greeting: Hex,
}

impl Side {
    fn check(&mut self, name: &str, reunion: &Reunion, role: Role) -> Greeting {
        let greeting = reunion.greeting(role, self.nonce.array());
        let covered = join(&[b"p2pshare/1 greeting", role.label().as_bytes(), &greeting.nonce]);
        same(name, &mut self.tag, Hex::of(&keys().reconnect_key.tag(&covered)));
        same(name, &mut self.covered, Hex::of(&covered));
        same(name, &mut self.greeting, Hex::of(&greeting.to_wire()));
        let written = self.greeting.bytes();
        let fields = document::fields(&written).into_iter();
        let fields: Vec<_> = fields.map(|(_, value)| Hex::of(value)).collect();
        assert_eq!(fields, [self.nonce.clone(), self.tag.clone()], "{name}");
        assert_eq!(document::tags(&written), document::tags_of("Greetings"));
        assert_eq!(Greeting::from_wire(&self.greeting.bytes()).as_ref(), Ok(&greeting), "{name}");
        greeting
    }
}

impl Meeting {
    fn check(&mut self, name: &str) {
        let before = keys();
        same(name, &mut self.reconnect_room, Hex::of(before.reconnect_room.as_bytes()));
        same(name, &mut self.reconnect_key, Hex::of(before.reconnect_key.as_bytes()));
        let reunion = before.reunion();
        let sender = self.sender.check(name, &reunion, Role::Sender);
        let receiver = self.receiver.check(name, &reunion, Role::Receiver);
        let keys = reunion.keys(Role::Sender, &sender, &receiver).unwrap();
        let theirs = reunion.keys(Role::Receiver, &receiver, &sender);
        assert_eq!(theirs.as_ref(), Some(&keys), "{name}");
        same(name, &mut self.transcript, Hex::of(&keys.transcript));
        same(name, &mut self.keys, pake::KeysShown::from(&keys));
        self.check_steps(name);
    }

    /// The same from the specification's formulas.
    fn check_steps(&self, name: &str) {
        let (sender, receiver) = (self.sender.nonce.bytes(), self.receiver.nonce.bytes());
        let transcript = Sha256::digest(join(&[b"p2pshare/1 reunion", &sender, &receiver]));
        assert_eq!(Hex::of(&transcript), self.transcript, "{name}");
        let mut derived = pake::KeysShown::derived(&self.transcript, &self.reconnect_key);
        derived.reconnect_room = self.reconnect_room.clone();
        derived.reconnect_key = self.reconnect_key.clone();
        assert_eq!(derived, self.keys, "{name}");
    }
}

/// An end with the keys of the first run of `pake.json` hears a greeting.
fn hear(hears: Role, greeting: &[u8]) -> Result<Keys, Unmet> {
    let reunion = keys().reunion();
    let theirs = Greeting::from_wire(greeting).map_err(Unmet::Malformed)?;
    reunion.keys(hears, &reunion.greeting(hears, [0x77; 16]), &theirs).ok_or(Unmet::NotThePeer)
}

#[derive(Debug)]
enum Unmet {
    Malformed(WireError),
    NotThePeer,
}

impl Refusal for Unmet {
    fn kind(&self) -> &'static str {
        match self {
            Self::Malformed(error) => error.kind(),
            Self::NotThePeer => Unbound.kind(),
        }
    }
}

#[test]
fn ends_that_meet_again_greet_with_the_written_tags_and_derive_the_written_keys() {
    let (mut meetings, mut refusals) = (0, BTreeSet::new());
    each("reunion.json", |name, case: &mut Case| match case {
        Case::Meeting(meeting) => {
            meeting.check(name);
            meetings += 1;
        }
        Case::Refused { hears, greeting, refused: kind } => {
            refused(name, hear(hears.role(), &greeting.bytes()).map(|_| ()), kind);
            refusals.insert(kind.clone());
        }
    });
    assert!(meetings >= 2 && refusals.len() >= 5, "{refusals:?}");
}
