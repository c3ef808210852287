//! Whole networks: lone machines, LANs of every kind of address, LANs without multicast, and a
//! server on one of them. Needs root and iproute2, see [`Network`].

use std::path::Path;

use crate::{
    harness::{Finished, Running, Scene, Server, Start, sha256},
    namespace::Network,
};

const SIZE: usize = 300_000;

/// A code that both ends can know beforehand.
const CODE: &str = "lan42-albatross-ambulance-asparagus";

#[derive(Clone, Copy)]
enum First {
    Sender,
    Receiver,
}

fn sender(scene: &Scene, machine: &str, file: &Path, arguments: &[&str]) -> Start {
    let file = file.to_str().unwrap();
    let arguments = [&["--json", "send", file], arguments].concat();
    scene.p2pshare(&scene.sender(), &arguments).in_namespace(machine)
}

fn receiver(scene: &Scene, machine: &str, code: &str) -> Start {
    let arguments = ["--json", "receive", "-y", code];
    scene.p2pshare(&scene.receiver(), &arguments).in_namespace(machine)
}

/// Without a server and without being told where, the two find each other.
fn finds(sending: &str, receiving: &str, first: First) {
    let scene = Scene::new();
    let file = scene.file("a.bin", SIZE);
    let send = sender(&scene, sending, &file, &["--code", CODE]);
    let receive = receiver(&scene, receiving, CODE);
    let (sender, receiver) = match first {
        First::Sender => {
            let mut sender = send.start();
            assert_eq!(sender.code(), CODE);
            (sender, receive.start())
        }
        First::Receiver => {
            let mut receiver = receive.start();
            receiver.event("still-searching");
            (send.start(), receiver)
        }
    };
    arrived(&scene, &file, receiver.finish(), sender);
}

fn arrived(scene: &Scene, file: &Path, receiver: Finished, sender: Running) {
    let (receiver, sender) = (receiver.expect(0), sender.finish().expect(0));
    assert_eq!(scene.received(), ["a.bin"]);
    assert_eq!(sha256(&scene.receiver().join("a.bin")), sha256(file));
    assert_eq!(sender.event("connected")["path"], "lan");
    assert_eq!(receiver.event("connected")["path"], "lan");
}

fn finds_alone(first: First) {
    let Some(mut network) = Network::new() else { return };
    let machine = network.lone_machine();
    finds(&machine, &machine, first);
}

fn finds_on_a_lan(addresses: [&str; 2], first: First) {
    let Some(mut network) = Network::new() else { return };
    let [sending, receiving] = addresses.map(|address| network.machine(&[address]));
    finds(&sending, &receiving, first);
}

#[test]
fn a_machine_without_a_network_sends_to_itself() {
    finds_alone(First::Sender);
}

#[test]
fn a_machine_without_a_network_receives_before_it_sends() {
    finds_alone(First::Receiver);
}

const PRIVATE: [&str; 2] = ["10.77.0.1/24", "10.77.0.2/24"];
const LINK_LOCAL_V4: [&str; 2] = ["169.254.7.1/16", "169.254.7.2/16"];
const LINK_LOCAL_V6: [&str; 2] = ["fe80::71/64", "fe80::72/64"];

#[test]
fn a_receiver_finds_a_sender_on_the_lan() {
    finds_on_a_lan(PRIVATE, First::Sender);
}

#[test]
fn a_receiver_waits_for_a_sender_on_the_lan() {
    finds_on_a_lan(PRIVATE, First::Receiver);
}

#[test]
fn a_receiver_finds_a_sender_over_link_local_ipv6_alone() {
    finds_on_a_lan(LINK_LOCAL_V6, First::Sender);
}

#[test]
fn a_receiver_waits_for_a_sender_over_link_local_ipv6_alone() {
    finds_on_a_lan(LINK_LOCAL_V6, First::Receiver);
}

#[test]
fn a_receiver_finds_a_sender_over_link_local_ipv4_alone() {
    finds_on_a_lan(LINK_LOCAL_V4, First::Sender);
}

#[test]
fn a_receiver_finds_a_sender_that_has_addresses_of_every_kind() {
    let Some(mut network) = Network::new() else { return };
    let [sending, receiving] =
        [0, 1].map(|i| network.machine(&[PRIVATE[i], LINK_LOCAL_V4[i], LINK_LOCAL_V6[i]]));
    finds(&sending, &receiving, First::Sender);
}

/// Where multicast is blocked the code alone leads nowhere; with the place that the sender shows
/// it does.
fn needs_the_place(addresses: [&str; 2]) {
    let Some(mut network) = Network::new() else { return };
    let [sending, receiving] = addresses.map(|address| network.machine(&[address]));
    network.block_multicast();
    let scene = Scene::new();
    let file = scene.file("a.bin", SIZE);
    let mut sender = sender(&scene, &sending, &file, &[]).start();
    let shown = sender.event("code");
    let [code, at] = ["code", "at"].map(|name| shown[name].as_str().unwrap());
    let lost = receiver(&scene, &receiving, code).start().finish().expect(4);
    let hint = lost.event("error")["hint"].to_string();
    assert!(hint.contains("@host:port"), "{hint}");
    let place = format!("{code}@{at}");
    let receiver = receiver(&scene, &receiving, &place).start().finish();
    arrived(&scene, &file, receiver, sender);
}

#[test]
fn without_multicast_the_place_that_the_sender_shows_leads_to_it() {
    needs_the_place(PRIVATE);
}

#[test]
fn a_link_local_ipv6_place_leads_there_without_a_zone() {
    needs_the_place(LINK_LOCAL_V6);
}

#[test]
fn two_machines_meet_at_a_server_on_a_third_and_talk_within_the_lan() {
    let Some(mut network) = Network::new() else { return };
    let [serving, sending, receiving] =
        ["10.77.0.3/24", "10.77.0.1/24", "10.77.0.2/24"].map(|address| network.machine(&[address]));
    let server = Server::start_in(&serving, "10.77.0.3:0");
    let scene = Scene::new();
    let file = scene.file("a.bin", SIZE);
    let mut sender = scene.send(&server, &file).in_namespace(&sending).start();
    let code = sender.code();
    let receiver = scene.receive(&server, &code).in_namespace(&receiving).start().finish();
    arrived(&scene, &file, receiver, sender);
}
