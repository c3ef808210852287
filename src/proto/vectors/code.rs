use super::*;
use crate::proto::code::{Invitation, Place};

#[derive(Deserialize, Serialize)]
struct Case {
    typed: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Means(Shown),
    Refused(String),
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Shown {
    code: String,
    nameplate: String,
    lan: bool,
    password: String,
    place: PlaceShown,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum PlaceShown {
    Unsaid,
    Host { host: String, port: Option<u16> },
    Link(String),
}

impl From<Invitation> for Shown {
    fn from(Invitation { code, place }: Invitation) -> Self {
        Self {
            code: code.reveal(),
            nameplate: code.nameplate.to_string(),
            lan: code.nameplate.is_lan(),
            password: String::from_utf8(code.password.as_bytes().to_vec()).unwrap(),
            place: match place {
                Place::Unsaid => PlaceShown::Unsaid,
                Place::Host { host, port } => PlaceShown::Host { host, port },
                Place::Link(link) => PlaceShown::Link(link),
            },
        }
    }
}

#[test]
fn codes_are_read_as_written_and_bad_ones_are_refused_by_kind() {
    let mut refusals = BTreeSet::new();
    each("code.json", |name, case: &mut Case| {
        let read = case.typed.parse::<Invitation>();
        match &mut case.outcome {
            Outcome::Means(shown) => {
                same(name, shown, read.unwrap().into());
                assert_eq!(shown.code.parse::<Code>().unwrap().reveal(), shown.code, "{name}");
            }
            Outcome::Refused(kind) => {
                refused(name, read, kind);
                refusals.insert(kind.clone());
            }
        }
    });
    assert_eq!(refusals.len(), 7, "every kind of refusal: {refusals:?}");
}
