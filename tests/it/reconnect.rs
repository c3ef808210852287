//! A path that dies while both processes live: the transfer goes on by itself when there is one
//! again, and ends in time when there is none. Needs root and iproute2, see [`Network`].

use crate::{
    harness::{Running, Scene, Server, sha256},
    namespace::Network,
};

const ADDRESSES: [&str; 3] = ["10.78.0.1/24", "10.78.0.2/24", "10.78.0.3/24"];

struct Meeting {
    scene: Scene,
    network: Network,
    receiving: String,
    sender: Running,
    receiver: Running,
    _server: Server,
}

/// A transfer under way from machine to machine, with a server on a third.
fn under_way(patience: &str) -> Option<Meeting> {
    let mut network = Network::new()?;
    let [sending, receiving, serving] = ADDRESSES.map(|address| network.machine(&[address]));
    let scene = Scene::new();
    let server = Server::start_in(&serving, "10.78.0.3:0");
    let file = scene.large_file("a.bin");
    let patient = |start: crate::harness::Start| start.arg("--patience").arg(patience);
    let sender = scene.send(&server, &file).slowly().in_namespace(&sending);
    let mut sender = patient(sender).start();
    let receiver = scene.receive(&server, &sender.code()).in_namespace(&receiving);
    let mut receiver = patient(receiver).start();
    receiver.under_way();
    Some(Meeting { scene, network, receiving, sender, receiver, _server: server })
}

#[test]
fn a_transfer_goes_on_when_the_cable_is_back() {
    let Some(mut meeting) = under_way("120s") else { return };
    meeting.network.unplug(&meeting.receiving);
    meeting.receiver.event("reconnecting");
    meeting.sender.event("reconnecting");
    meeting.network.plug_in(&meeting.receiving);
    let receiver = meeting.receiver.ended().expect(0);
    meeting.sender.ended().expect(0);
    assert_eq!(meeting.scene.received(), ["a.bin"]);
    let source = meeting.scene.sender().join("a.bin");
    assert_eq!(sha256(&meeting.scene.receiver().join("a.bin")), sha256(&source));
    let connected = receiver.events().iter().filter(|e| e["event"] == "connected").count();
    assert!(connected >= 2, "{receiver:#?}");
}

#[test]
fn a_transfer_whose_cable_stays_away_ends_when_patience_does() {
    let Some(meeting) = under_way("5s") else { return };
    meeting.network.unplug(&meeting.receiving);
    meeting.receiver.ended().expect(8);
    meeting.sender.ended().expect(8);
    let received = meeting.scene.received();
    assert!(received.iter().all(|name| name.starts_with(".p2pshare-")), "{received:?}");
}
