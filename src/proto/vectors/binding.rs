use super::*;
use crate::proto::{
    binding::{Binding, Fingerprints},
    frame::Frame,
};

#[derive(Deserialize, Serialize)]
struct Case {
    binding_key: Hex,
    transcript: Hex,
    made: Made,
    covered: Hex,
    tag: Hex,
    frame: Hex,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What a HELLO is made for.
#[derive(Deserialize, Serialize)]
struct Made {
    role: RoleName,
    lane: u32,
    generation: u32,
    nonce: Hex,
    verify: bool,
    sender_fingerprint: Hex,
    receiver_fingerprint: Hex,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// It fits where it was made for.
    Accepted(bool),
    /// It does not fit where it is heard.
    Refused(Box<Heard>),
}

/// Where a HELLO is heard, and what became of it on the way.
#[derive(Deserialize, Serialize)]
struct Heard {
    #[serde(rename = "as")]
    kind: String,
    /// The role that the listener's peer has.
    role: RoleName,
    lane: u32,
    generation: u32,
    sender_fingerprint: Hex,
    receiver_fingerprint: Hex,
    /// This bit of the frame is turned over: bit 0 is the lowest of the first byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flip: Option<usize>,
    /// These bytes are added to the frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    append: Option<Hex>,
}

fn binding(sender: &Hex, receiver: &Hex, generation: u32) -> Binding {
    let fingerprints = Fingerprints { sender: sender.array(), receiver: receiver.array() };
    Binding::new(keys(), fingerprints, generation)
}

impl Made {
    fn binding(&self) -> Binding {
        binding(&self.sender_fingerprint, &self.receiver_fingerprint, self.generation)
    }
}

impl Case {
    fn check(&mut self, name: &str) {
        let keys = keys();
        same(name, &mut self.binding_key, Hex::of(keys.binding.as_bytes()));
        same(name, &mut self.transcript, Hex::of(&keys.transcript));
        let made = &self.made;
        let role = made.role.role();
        let hello = made.binding().hello(role, made.lane, made.nonce.array(), made.verify);
        same(name, &mut self.tag, Hex::of(&hello.tag));
        same(name, &mut self.frame, Hex::of(&Frame::Hello(hello).to_wire()));
        same(name, &mut self.covered, Hex::of(&covered(made, &self.transcript)));
        let tag = keys.binding.tag(&self.covered.bytes());
        assert_eq!(Hex::of(&tag), self.tag, "{name}");
        let hello = hello_in(self.frame.bytes());
        assert_eq!(made.binding().check(role, made.lane, &hello), Ok(()), "{name}");
        match &self.outcome {
            Outcome::Accepted(yes) => assert!(yes, "{name}"),
            Outcome::Refused(heard) => heard.check(name, self.frame.bytes()),
        }
    }
}

/// What the tag is over, from the specification's formula.
fn covered(made: &Made, transcript: &Hex) -> Vec<u8> {
    crate::proto::wire::join(&[
        b"p2pshare/1 channel binding",
        made.role.role().label().as_bytes(),
        &made.lane.to_be_bytes(),
        &made.generation.to_be_bytes(),
        &made.nonce.bytes(),
        &[u8::from(made.verify)],
        &made.sender_fingerprint.bytes(),
        &made.receiver_fingerprint.bytes(),
        &transcript.bytes(),
    ])
}

impl Heard {
    fn check(&self, name: &str, mut frame: Vec<u8>) {
        if let Some(bit) = self.flip {
            *frame.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        }
        frame.extend(self.append.iter().flat_map(Hex::bytes));
        let (sender, receiver) = (&self.sender_fingerprint, &self.receiver_fingerprint);
        let binding = binding(sender, receiver, self.generation);
        let checked = binding.check(self.role.role(), self.lane, &hello_in(frame));
        refused(name, checked, &self.kind);
    }
}

fn hello_in(frame: Vec<u8>) -> crate::proto::binding::Hello {
    match Frame::from_wire(&frame.into()) {
        Ok(Some(Frame::Hello(hello))) => hello,
        other => panic!("{other:?} is no hello"),
    }
}

#[test]
fn the_first_frame_of_a_lane_has_the_written_tag_and_fits_nowhere_else() {
    let mut refusals = 0;
    each("binding.json", |name, case: &mut Case| {
        case.check(name);
        refusals += usize::from(matches!(case.outcome, Outcome::Refused(_)));
    });
    assert!(refusals >= 8);
}
