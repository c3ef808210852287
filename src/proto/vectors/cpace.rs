use pakery_cpace::{
    CpaceError, CpaceMode, CpaceOutput, CpaceResponder,
    generator::generator_string,
    transcript::{derive_isk, transcript_ir, transcript_oc},
};
use sha2::{Digest, Sha512};

use super::*;

type Suite = CpaceRistretto255;

#[derive(Deserialize, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
enum Case {
    Exchange(Box<Exchange>),
    Multiplication { scalar: Hex, point: Hex, product: Hex },
    Refused { point: Hex, refused: String },
}

#[derive(Deserialize, Serialize)]
struct Exchange {
    password: Hex,
    channel_identifier: Hex,
    session_id: Hex,
    generator_string: Hex,
    generator_hash: Hex,
    generator: Hex,
    initiator_scalar: Hex,
    initiator_data: Hex,
    initiator_share: Hex,
    responder_scalar: Hex,
    responder_data: Hex,
    responder_share: Hex,
    shared_point: Hex,
    transcript_ir: Hex,
    isk_ir: Hex,
    session_id_output_ir: Hex,
    transcript_oc: Hex,
    isk_sy: Hex,
    session_id_output_oc: Hex,
}

impl Exchange {
    fn check(&self) {
        let inputs = [&self.password, &self.channel_identifier, &self.session_id];
        let [password, ci, sid] = inputs.map(Hex::bytes);
        let string = generator_string::<Suite>(&password, &ci, &sid);
        assert_eq!(Hex::of(&string), self.generator_string);
        assert_eq!(Hex::of(&Sha512::digest(string)), self.generator_hash);
        let inputs = [&password[..], &ci, &sid];
        assert_eq!(cpace_generator(inputs), self.generator);
        assert_eq!(cpace_share(inputs, &self.initiator_scalar), self.initiator_share);
        check_product(&self.initiator_scalar, &self.responder_share, &self.shared_point);
        check_product(&self.responder_scalar, &self.initiator_share, &self.shared_point);
        self.check_transcripts();
        let ir = (CpaceMode::InitiatorResponder, &self.isk_ir, &self.session_id_output_ir);
        let oc = (CpaceMode::Symmetric, &self.isk_sy, &self.session_id_output_oc);
        for (mode, isk, session_id) in [ir, oc] {
            for output in [self.initiate(mode), self.respond(mode)] {
                assert_eq!(Hex::of(output.isk.as_bytes()), *isk, "{mode:?}");
                assert_eq!(Hex::of(&output.session_id), *session_id, "{mode:?}");
            }
        }
    }

    fn check_transcripts(&self) {
        let said = [
            &self.initiator_share,
            &self.initiator_data,
            &self.responder_share,
            &self.responder_data,
        ];
        let [ya, ad_a, yb, ad_b] = said.map(Hex::bytes);
        assert_eq!(Hex::of(&transcript_ir(&ya, &ad_a, &yb, &ad_b)), self.transcript_ir);
        assert_eq!(Hex::of(&transcript_oc(&ya, &ad_a, &yb, &ad_b)), self.transcript_oc);
    }

    fn initiate(&self, mode: CpaceMode) -> CpaceOutput {
        let (share, state) = CpaceInitiator::<Suite>::start(
            &self.password.bytes(),
            &self.channel_identifier.bytes(),
            &self.session_id.bytes(),
            &self.initiator_data.bytes(),
            &mut Given(wide(&self.initiator_scalar)),
        )
        .unwrap();
        assert_eq!(Hex::of(&share), self.initiator_share);
        let share = self.responder_share.bytes();
        state.finish(&share, &self.responder_data.bytes(), mode).unwrap()
    }

    fn respond(&self, mode: CpaceMode) -> CpaceOutput {
        let (share, output) = CpaceResponder::<Suite>::respond(
            &self.initiator_share.bytes(),
            &self.password.bytes(),
            &self.channel_identifier.bytes(),
            &self.session_id.bytes(),
            &self.initiator_data.bytes(),
            &self.responder_data.bytes(),
            mode,
            &mut Given(wide(&self.responder_scalar)),
        )
        .unwrap();
        assert_eq!(Hex::of(&share), self.responder_share);
        output
    }
}

impl Refusal for CpaceError {
    fn kind(&self) -> &'static str {
        match self {
            Self::InvalidPoint => "invalid-point",
            Self::IdentityPoint => "neutral-point",
        }
    }
}

/// Checks scalar times point by the key that a responder with this scalar gets from it.
fn check_product(scalar: &Hex, point: &Hex, product: &Hex) {
    let (mode, mut random) = (CpaceMode::InitiatorResponder, Given(wide(scalar)));
    let point = point.bytes();
    let reply =
        CpaceResponder::<Suite>::respond(&point, b"p", b"", b"s", b"", b"", mode, &mut random);
    let (share, output) = reply.unwrap();
    let isk = derive_isk::<Suite>(b"s", &product.bytes(), &point, b"", &share, b"", mode);
    assert_eq!(Hex::of(output.isk.as_bytes()), Hex::of(isk.as_bytes()));
}

/// Both ends are given a point that no honest peer sends.
fn check_refusals(name: &str, point: &[u8], kind: &str) {
    let mode = CpaceMode::InitiatorResponder;
    let random = || Given(vec![7; 64]);
    let (_, state) = CpaceInitiator::<Suite>::start(b"p", b"", b"", b"", &mut random()).unwrap();
    refused(name, state.finish(point, b"", mode).map(|_| ()), kind);
    let reply =
        CpaceResponder::<Suite>::respond(point, b"p", b"", b"", b"", b"", mode, &mut random());
    refused(name, reply.map(|_| ()), kind);
}

#[test]
fn the_crates_that_pair_run_the_vectors_of_the_draft() {
    let mut seen = BTreeSet::new();
    each("cpace.json", |name, case: &mut Case| match case {
        Case::Exchange(exchange) => {
            exchange.check();
            seen.insert("exchange");
        }
        Case::Multiplication { scalar, point, product } => {
            check_product(scalar, point, product);
            seen.insert("multiplication");
        }
        Case::Refused { point, refused } => {
            check_refusals(name, &point.bytes(), refused);
            seen.insert("refused");
        }
    });
    assert_eq!(seen.len(), 3);
}
