use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};

use super::*;
use crate::proto::seal::{Opener, STEP, Sealer, directions};

#[derive(Deserialize, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
enum Case {
    Message(Box<Said>),
    Refused(Change),
}

/// A message; the cases of one author are in the order in which it sealed them.
#[derive(Deserialize, Serialize)]
struct Said {
    from: RoleName,
    counter: u64,
    key: Hex,
    payload: Hex,
    nonce: Hex,
    associated: Hex,
    sealed: Hex,
}

/// A message that does not open.
#[derive(Deserialize, Serialize)]
struct Change {
    /// Who opens.
    opens: RoleName,
    /// How many messages of the peer it has opened before.
    opened: usize,
    /// Whose message it is then given, and which.
    from: RoleName,
    counter: usize,
    /// This bit of it is turned over: bit 0 is the lowest of the first byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flip: Option<usize>,
    /// Only so many bytes of it are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep: Option<usize>,
    /// These bytes are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    append: Option<Hex>,
    refused: String,
}

/// The two ends, and what they have sealed so far.
struct Ends {
    keys: Keys,
    sealers: BTreeMap<&'static str, Sealer>,
    openers: BTreeMap<&'static str, Opener>,
    sealed: BTreeMap<&'static str, Vec<Vec<u8>>>,
}

impl Ends {
    fn new() -> Self {
        let keys = keys();
        let mut ends = Self {
            keys,
            sealers: BTreeMap::new(),
            openers: BTreeMap::new(),
            sealed: BTreeMap::new(),
        };
        for role in [Role::Sender, Role::Receiver] {
            let (sealer, opener) = directions(&ends.keys, role);
            ends.sealers.insert(role.label(), sealer);
            ends.openers.insert(role.label(), opener);
            ends.sealed.insert(role.label(), Vec::new());
        }
        ends
    }

    fn check(&mut self, name: &str, case: &mut Said) {
        let role = case.from.role();
        let (author, reader) = (role.label(), role.peer().label());
        same(name, &mut case.key, Hex::of(self.keys.seal.of(role).as_bytes()));
        let sealed = self.sealers.get_mut(author).unwrap().seal(&case.payload.bytes());
        same(name, &mut case.sealed, Hex::of(&sealed));
        let opened = self.openers.get_mut(reader).unwrap().open(&case.sealed.bytes()).unwrap();
        assert_eq!(Hex::of(&opened), case.payload, "{name}");
        let before = self.sealed.get_mut(author).unwrap();
        assert_eq!(usize::try_from(case.counter).unwrap(), before.len(), "{name}");
        before.push(sealed);
        case.check_by_hand(name);
    }

    fn check_refusal(&self, name: &str, change: &Change) {
        let role = change.opens.role();
        let (_, mut opener) = directions(&self.keys, role);
        for sealed in self.sealed[role.peer().label()].iter().take(change.opened) {
            opener.open(sealed).unwrap();
        }
        let message = self.sealed[change.from.role().label()].get(change.counter).unwrap();
        refused(name, opener.open(&change.apply(message)), &change.refused);
    }
}

impl Said {
    /// Opens the message from the specification's formulas.
    fn check_by_hand(&mut self, name: &str) {
        let counter = self.counter.to_be_bytes();
        same(name, &mut self.nonce, Hex::of(&[&[0; 4], &counter[..]].concat()));
        let role = self.from.role().label().as_bytes();
        let associated = crate::proto::wire::join(&[b"p2pshare/1 signal", role, &counter]);
        same(name, &mut self.associated, Hex::of(&associated));
        let cipher = ChaCha20Poly1305::new(&self.key.array().into());
        let (sealed, aad) = (self.sealed.bytes(), self.associated.bytes());
        let payload = Payload { msg: &sealed, aad: &aad };
        let padded = cipher.decrypt(&self.nonce.array().into(), payload).unwrap();
        let payload = self.payload.bytes();
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let mut expected = [&length[..], &payload].concat();
        expected.resize(expected.len().next_multiple_of(STEP), 0);
        assert_eq!(padded, expected, "{name}");
    }
}

impl Change {
    fn apply(&self, message: &[u8]) -> Vec<u8> {
        let mut message = message.to_vec();
        if let Some(bit) = self.flip {
            *message.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        }
        message.truncate(self.keep.unwrap_or(usize::MAX));
        message.extend(self.append.iter().flat_map(Hex::bytes));
        message
    }
}

#[test]
fn sealed_messages_are_the_written_bytes_and_no_others_open() {
    let mut ends = Ends::new();
    let mut refusals = 0;
    each("seal.json", |name, case: &mut Case| match case {
        Case::Message(message) => ends.check(name, message),
        Case::Refused(change) => {
            ends.check_refusal(name, change);
            refusals += 1;
        }
    });
    assert!(ends.sealed.values().all(|sealed| sealed.len() >= 3) && refusals >= 8);
}
