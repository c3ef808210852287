use super::*;
use crate::proto::signal::{Candidate, CandidateKind, Description as Sdp, Listener, Setup, Signal};

#[derive(Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Shown {
    Description {
        ufrag: String,
        password: String,
        fingerprint: Hex,
        setup: String,
        max_message_size: u32,
        sctp_port: u16,
        lanes: Vec<u16>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quic: Option<Hex>,
    },
    Candidate {
        foundation: String,
        priority: u32,
        host: String,
        port: u16,
        kind: String,
    },
    EndOfCandidates,
    Cancel {
        reason: ReasonName,
    },
    Listener {
        fingerprint: Hex,
        addresses: Vec<std::net::SocketAddr>,
    },
    Quic {
        fingerprint: Hex,
    },
}

impl Description for Vec<Shown> {
    type Message = Vec<Signal>;

    fn message(&self) -> Vec<Signal> {
        self.iter().map(signal).collect()
    }
}

fn signal(shown: &Shown) -> Signal {
    match shown {
        Shown::Description {
            ufrag,
            password,
            fingerprint,
            setup,
            max_message_size,
            sctp_port,
            lanes,
            quic,
        } => Signal::Description(Sdp {
            ufrag: ufrag.as_str().try_into().unwrap(),
            password: password.as_str().try_into().unwrap(),
            fingerprint: fingerprint.array(),
            setup: self::setup(setup),
            max_message_size: *max_message_size,
            sctp_port: *sctp_port,
            lanes: lanes.clone(),
            quic: quic.as_ref().map(Hex::array),
        }),
        Shown::Candidate { foundation, priority, host, port, kind } => {
            Signal::Candidate(Candidate {
                foundation: foundation.as_str().try_into().unwrap(),
                priority: *priority,
                host: host.as_str().try_into().unwrap(),
                port: *port,
                kind: candidate_kind(kind),
            })
        }
        Shown::EndOfCandidates => Signal::EndOfCandidates,
        Shown::Cancel { reason } => Signal::Cancel(reason.reason()),
        Shown::Listener { fingerprint, addresses } => Signal::Listener(Listener {
            fingerprint: fingerprint.array(),
            addresses: addresses.clone(),
        }),
        Shown::Quic { fingerprint } => Signal::Quic(fingerprint.array()),
    }
}

/// The tags of descriptions, candidates and listeners, which hold fields.
const NESTED: [u16; 3] = [0x8001, 0x0002, 0x8005];

fn setup(name: &str) -> Setup {
    match name {
        "actpass" => Setup::ActPass,
        "active" => Setup::Active,
        "passive" => Setup::Passive,
        _ => panic!("{name} is no DTLS role"),
    }
}

fn candidate_kind(name: &str) -> CandidateKind {
    match name {
        "host" => CandidateKind::Host,
        "srflx" => CandidateKind::ServerReflexive,
        "prflx" => CandidateKind::PeerReflexive,
        "relay" => CandidateKind::Relay,
        _ => panic!("{name} is no kind of candidate"),
    }
}

#[test]
fn signals_are_the_written_bytes_and_bad_ones_are_refused_by_kind() {
    let mut types = BTreeSet::new();
    let mut fields = BTreeMap::<u16, BTreeSet<u16>>::new();
    each("signal.json", |name, case: &mut Bytes<Vec<Shown>>| {
        case.check(
            name,
            |signals| Signal::to_wire(signals),
            |bytes| Signal::from_wire(bytes).map(Some),
        );
        if let Outcome::Means(_) = &case.outcome {
            let bytes = case.bytes.bytes();
            types.extend(document::tags(&bytes));
            let signals = document::fields(&bytes).into_iter();
            let nested = signals.filter(|(tag, _)| NESTED.contains(tag));
            nested.for_each(|(tag, value)| {
                fields.entry(tag).or_default().extend(document::tags(value));
            });
        }
    });
    assert_eq!(types, document::tags_of("Signals"));
    assert_eq!(fields[&NESTED[0]], document::tags_of("Descriptions"));
    assert_eq!(fields[&NESTED[1]], document::tags_of("Candidates"));
    assert_eq!(fields[&NESTED[2]], document::tags_of("Listeners"));
}
