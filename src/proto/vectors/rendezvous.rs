use p2pshare_signal::protocol::{
    Body, IceServer, Nameplate, Presence, Refusal as Reason, Reply, Request, Role, RoomId, Token,
};

use super::*;

#[derive(Deserialize, Serialize)]
struct Case {
    direction: Direction,
    text: String,
    /// The text that this version writes for the same message, when it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_as: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Direction {
    Request,
    Reply,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
enum Said {
    Request(Request),
    Reply(Reply),
}

fn room() -> RoomId {
    RoomId::from_128_bits([0xab; 16])
}

fn slot() -> RoomId {
    RoomId::from_128_bits([0x51; 16])
}

fn token() -> Token {
    Token::new([0x0f; 16])
}

fn body(bytes: &[u8]) -> Body {
    Body::new(bytes.to_vec()).unwrap()
}

fn requests() -> Vec<(&'static str, Request)> {
    let allocate = |nameplate, body| Request::Allocate {
        room: slot(),
        nameplate,
        ttl: 86_400,
        claims: 1,
        body,
    };
    let join = |role| Request::Join { room: RoomId::from_256_bits([0xcd; 32]), role };
    vec![
        ("allocate", allocate(Nameplate::number(7), body(b"hello"))),
        ("allocate on a LAN", allocate(Nameplate::lan(42), body(&[0, 255]))),
        ("claim", Request::Claim { nameplate: Nameplate::number(7) }),
        ("join as sender", join(Role::Sender)),
        ("join as receiver", join(Role::Receiver)),
        ("rejoin", Request::Rejoin { room: room(), token: token(), received: 0 }),
        ("send", Request::Send { room: room(), number: 1, body: body(&[0xfb, 0xff, 1, 2]) }),
        ("ack", Request::Ack { room: room(), number: (1 << 53) - 1 }),
        ("leave", Request::Leave { room: room() }),
    ]
}

fn replies() -> Vec<(String, Reply)> {
    let servers = vec![
        IceServer {
            urls: vec!["stun:stun.example.org:3478".to_owned()],
            username: None,
            credential: None,
        },
        IceServer {
            urls: vec!["turn:turn.example.org:3478?transport=udp".to_owned()],
            username: Some("1790000000:a".to_owned()),
            credential: Some("c2VjcmV0".to_owned()),
        },
    ];
    let claimed = |ice_servers| Reply::Claimed {
        nameplate: Nameplate::number(7),
        slot: slot(),
        room: room(),
        token: token(),
        body: body(b"hello"),
        ice_servers,
    };
    let paired =
        |ice_servers| Reply::Paired { slot: slot(), room: room(), token: token(), ice_servers };
    let nameplate = Nameplate::lan(42);
    let mut replies = vec![
        ("allocated", Reply::Allocated { room: slot(), nameplate, token: token(), ttl: 86_400 }),
        ("paired", paired(Vec::new())),
        ("paired with servers for ICE", paired(servers.clone())),
        ("claimed", claimed(Vec::new())),
        ("claimed with servers for ICE", claimed(servers.clone())),
        (
            "servers for ICE",
            Reply::IceServers { room: RoomId::from_256_bits([0xcd; 32]), ice_servers: servers },
        ),
        ("joined", Reply::Joined { room: RoomId::from_256_bits([0xcd; 32]), token: token() }),
        ("rejoined", Reply::Rejoined { room: room(), received: 3 }),
        ("message", Reply::Message { room: room(), number: 2, body: body(b"hello") }),
        ("peer here", Reply::Peer { room: room(), presence: Presence::Here }),
        ("peer gone", Reply::Peer { room: room(), presence: Presence::Gone }),
        ("peer left", Reply::Peer { room: room(), presence: Presence::Left }),
        ("expired", Reply::Expired { room: slot() }),
    ]
    .into_iter()
    .map(|(name, reply)| (name.to_owned(), reply))
    .collect::<Vec<_>>();
    for (name, reason) in [
        ("no-such-code", Reason::NoSuchCode),
        ("no-such-room", Reason::NoSuchRoom),
        ("nameplate-taken", Reason::NameplateTaken),
        ("place-taken", Reason::PlaceTaken),
        ("full", Reason::Full),
        ("too-many-rooms", Reason::TooManyRooms),
        ("too-much-waiting", Reason::TooMuchWaiting),
        ("gap", Reason::Gap),
        ("bad-message", Reason::BadMessage),
    ] {
        let named = ![Reason::NoSuchCode, Reason::BadMessage].contains(&reason);
        let reply = Reply::Refused { room: named.then(room), reason };
        replies.push((format!("refused: {name}"), reply));
    }
    replies
}

/// Every message that a case must be there for.
fn known() -> BTreeMap<String, Said> {
    let requests = requests().into_iter();
    let requests = requests.map(|(name, said)| (name.to_owned(), Said::Request(said)));
    let replies = replies().into_iter().map(|(name, said)| (name, Said::Reply(said)));
    requests.chain(replies).collect()
}

fn read(direction: Direction, text: &str) -> Result<Said, serde_json::Error> {
    match direction {
        Direction::Request => serde_json::from_str(text).map(Said::Request),
        Direction::Reply => serde_json::from_str(text).map(Said::Reply),
    }
}

#[test]
fn rendezvous_messages_are_the_written_text_and_bad_ones_are_refused() {
    let mut known = known();
    let mut refusals = 0;
    each("rendezvous.json", |name, case: &mut Case| {
        if let Some(kind) = &case.refused {
            refusals += 1;
            return refused(name, read(case.direction, &case.text), kind);
        }
        if let Some(plain) = &mut case.read_as {
            let read = read(case.direction, &case.text).unwrap();
            return same(name, plain, serde_json::to_string(&read).unwrap());
        }
        let said = known.remove(name).unwrap_or_else(|| panic!("{name} is no message"));
        same(name, &mut case.text, serde_json::to_string(&said).unwrap());
        assert_eq!(read(case.direction, &case.text).unwrap(), said, "{name}");
    });
    assert!(known.is_empty(), "without a case: {:?}", known.keys());
    assert!(refusals >= 15);
}
