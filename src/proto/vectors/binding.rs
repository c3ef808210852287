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
    /// What the lane's TLS connection exports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exporter: Option<Hex>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exporter: Option<Hex>,
    /// This bit of the frame is turned over: bit 0 is the lowest of the first byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flip: Option<usize>,
    /// These bytes are added to the frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    append: Option<Hex>,
}

fn binding(ends: [&Hex; 2], generation: u32, exporter: Option<&Hex>) -> Binding {
    let [sender, receiver] = ends.map(Hex::array);
    let binding = Binding::new(keys(), Fingerprints { sender, receiver }, generation);
    match exporter {
        Some(exporter) => binding.under(exporter.array()),
        None => binding,
    }
}

impl Made {
    fn binding(&self) -> Binding {
        let ends = [&self.sender_fingerprint, &self.receiver_fingerprint];
        binding(ends, self.generation, self.exporter.as_ref())
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
    let mut parts = vec![
        b"p2pshare/1 channel binding".to_vec(),
        made.role.role().label().as_bytes().to_vec(),
        made.lane.to_be_bytes().to_vec(),
        made.generation.to_be_bytes().to_vec(),
        made.nonce.bytes(),
        vec![u8::from(made.verify)],
        made.sender_fingerprint.bytes(),
        made.receiver_fingerprint.bytes(),
        transcript.bytes(),
    ];
    parts.extend(made.exporter.as_ref().map(Hex::bytes));
    crate::proto::wire::join(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

impl Heard {
    fn check(&self, name: &str, mut frame: Vec<u8>) {
        if let Some(bit) = self.flip {
            *frame.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        }
        frame.extend(self.append.iter().flat_map(Hex::bytes));
        let ends = [&self.sender_fingerprint, &self.receiver_fingerprint];
        let binding = binding(ends, self.generation, self.exporter.as_ref());
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
