//! Several lanes: nothing is lost when one dies or a path carries less than it seems to, and both
//! ends say what limits a transfer. Network namespaces need root and iproute2, see [`Network`].

use std::{collections::HashSet, fs, process::Command};

use serde_json::Value;

use crate::{
    harness::{Finished, Running, Scene, Server, Start, sha256},
    internet::{Family, Internet, Site, server_addresses},
    namespace::{Network, drop_udp_from, lose_a_certificate_from},
};

pub(crate) const ADDRESSES: [&str; 3] = ["10.78.1.1/24", "10.78.1.2/24", "10.78.1.3/24"];

const DATA_CHANNELS: [&str; 2] = ["--lanes", "data-channel"];

/// A transfer from machine to machine of one network.
pub(crate) struct Transfer {
    scene: Scene,
    _network: Network,
    pub(crate) sending: String,
    pub(crate) receiving: String,
    /// The UDP ports that the sender has open for the first connection.
    first: HashSet<String>,
    pub(crate) sender: Running,
    pub(crate) receiver: Running,
    _server: Server,
}

impl Transfer {
    /// Starts one, with arguments for the sender, when the network is as the test wants it.
    pub(crate) fn start(arguments: &[&str], arrange: impl Fn(&Network, &str)) -> Option<Self> {
        Self::with([arguments, &[]], |network, [_, receiving]| arrange(network, receiving))
    }

    /// The same, with arguments for both ends and both machines' names.
    pub(crate) fn with(
        arguments: [&[&str]; 2],
        arrange: impl Fn(&Network, [&str; 2]),
    ) -> Option<Self> {
        let mut network = Network::new()?;
        let [sending, receiving, serving] = ADDRESSES.map(|address| network.machine(&[address]));
        arrange(&network, [&sending, &receiving]);
        let scene = Scene::new();
        let server = Server::start_in(&serving, "10.78.1.3:0");
        let file = scene.large_file("a.bin");
        let sender = scene.send(&server, &file).in_namespace(&sending);
        let all = |start: Start, arguments: &[&str]| {
            arguments.iter().fold(start, |start, argument| start.arg(argument)).start()
        };
        let mut sender = all(sender, arguments[0]);
        let receiver = scene.receive_asking(&server, &sender.code());
        let mut receiver = all(receiver.in_namespace(&receiving), arguments[1]);
        receiver.event("accept?");
        // There are no further lanes before the answer.
        let first = udp_ports(&sending);
        receiver.type_line("y");
        Some(Self {
            scene,
            _network: network,
            sending,
            receiving,
            first,
            sender,
            receiver,
            _server: server,
        })
    }

    /// Waits until the sender uses so many lanes.
    fn reach(&mut self, lanes: u64) {
        while self.sender.event("progress")["lanes"].as_u64() != Some(lanes) {}
    }

    /// Waits until the sender has so many hundredths behind it.
    pub(crate) fn reach_hundredth(&mut self, hundredth: u64) {
        loop {
            let progress = self.sender.event("progress");
            let [done, total] = ["bytes", "total"].map(|name| progress[name].as_u64().unwrap());
            if done * 100 >= total * hundredth {
                return;
            }
        }
    }

    /// Waits for the end: everything is there, and the connection was never lost.
    pub(crate) fn complete(self) -> [Finished; 2] {
        let [sender, receiver] = [self.sender, self.receiver].map(|end| end.ended().expect(0));
        let [sent, arrived] =
            [self.scene.sender(), self.scene.receiver()].map(|it| sha256(&it.join("a.bin")));
        assert_eq!(sent, arrived);
        assert!(!sender.has("reconnecting") && !receiver.has("reconnecting"), "{receiver:#?}");
        [sender, receiver]
    }
}

/// The UDP ports that a machine has open.
fn udp_ports(machine: &str) -> HashSet<String> {
    let table = ["netns", "exec", machine, "cat", "/proc/net/udp"];
    let table = Command::new("ip").args(table).output().unwrap().stdout;
    let table = String::from_utf8(table).unwrap();
    let local = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    local.filter_map(port).map(|port| port.to_string()).collect()
}

fn most_lanes(sender: &Finished) -> Option<u64> {
    sender.events().iter().filter_map(|event| event["lanes"].as_u64()).max()
}

/// The receiver's certificate is in its last flight but one, and not in the sender's first message.
#[test]
fn a_flight_of_the_handshake_that_is_lost_is_sent_again() {
    let lost = Transfer::with([&["--lanes", "data-channel"], &[]], |_, [_, receiving]| {
        lose_a_certificate_from(receiving);
    });
    lost.into_iter().for_each(|transfer| drop(transfer.complete()));
}

#[test]
fn lanes_that_fall_silent_cost_no_byte() {
    // Slow enough that all lanes are there before it is over.
    let arguments = ["--connections", "4", "--bwlimit", "40M", "--lanes", "data-channel"];
    let Some(mut transfer) = Transfer::start(&arguments, |_, _| {}) else { return };
    transfer.reach(4);
    let all = udp_ports(&transfer.sending);
    let further: Vec<_> = all.difference(&transfer.first).take(2).cloned().collect();
    assert_eq!(further.len(), 2);
    drop_udp_from(&transfer.sending, &further);
    let [sender, _] = transfer.complete();
    assert_eq!(most_lanes(&sender), Some(4));
}

#[test]
fn a_path_that_swallows_large_packets_is_no_black_hole() {
    for mtu in ["1280", "1400"] {
        let narrow = |network: &Network, machine: &str| network.narrow(machine, mtu);
        let Some(transfer) = Transfer::start(&DATA_CHANNELS, narrow) else { return };
        let [sender, _] = transfer.complete();
        let narrow =
            sender.events().iter().all(|event| event["packet_bytes"].as_u64() < Some(1400));
        assert!(narrow, "{mtu}: {sender:#?}");
    }
}

#[test]
fn a_path_that_carries_larger_packets_than_any_must_is_given_them() {
    let Some(transfer) = Transfer::start(&DATA_CHANNELS, |_, _| {}) else { return };
    let [sender, _] = transfer.complete();
    let packets = sender.events().iter().filter_map(|e| e["packet_bytes"].as_u64()).max();
    assert_eq!(packets, Some(1500));
}

#[test]
fn several_lanes_go_through_a_relay() {
    let Some(internet) = Internet::new(Site::Symmetric, Site::Symmetric, Family::V4) else {
        return;
    };
    let [address, _] = server_addresses(Family::V4);
    let scene = Scene::new();
    let server = Server::start_in(&internet.server, &format!("{address}:9477"));
    let file = scene.large_file("a.bin");
    let sender = scene.send(&server, &file).in_namespace(&internet.left);
    let mut sender = sender.arg("--connections").arg("3").start();
    let receiver = scene.receive(&server, &sender.code()).in_namespace(&internet.right).start();
    while sender.event("progress")["lanes"].as_u64() != Some(3) {}
    let receiver = receiver.ended().expect(0);
    sender.ended().expect(0);
    assert_eq!(receiver.event("connected")["path"], "relay");
    assert_eq!(sha256(&scene.receiver().join("a.bin")), sha256(&file));
}

fn limits(finished: &Finished) -> HashSet<(String, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let events = finished.events();
    let told =
        events.iter().filter_map(|e| Some((text(&e["limited_by"])?, text(&e["limited_at"])?)));
    told.collect()
}

#[test]
fn both_ends_keep_to_a_limit_and_say_so() {
    for end in ["sender", "receiver"] {
        let (scene, server) = (Scene::new(), Server::start());
        let file = scene.file("a.bin", 8_000_000);
        let limited = |start: crate::harness::Start, own: &str| {
            if own == end { start.arg("--bwlimit").arg("2M") } else { start }
        };
        let mut sender = limited(scene.send(&server, &file), "sender").start();
        let receiver = limited(scene.receive(&server, &sender.code()), "receiver").start();
        let receiver = receiver.ended().expect(0);
        let sender = sender.ended().expect(0);
        // What may be sent at once leaves before the clock counts.
        assert!(receiver.event("complete")["seconds"].as_f64() > Some(3.0), "{receiver:#?}");
        if end == "sender" {
            let expected = HashSet::from([("bwlimit".to_owned(), "sender".to_owned())]);
            assert_eq!(limits(&sender), expected);
            assert_eq!(limits(&receiver), expected);
        }
    }
}

#[test]
fn a_reader_that_takes_nothing_is_what_limits_the_sender() {
    let (scene, server) = (Scene::new(), Server::start());
    let file = scene.file("a.bin", 60_000_000);
    let mut sender = scene.send(&server, &file).start();
    let arguments = ["--server", &server.url(), "receive", "-y", "-o", "-", &sender.code()];
    let receiver = scene.p2pshare(&scene.receiver(), &arguments);
    let pipe = scene.receiver().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let receiver = receiver.under("sh", &["-c", "exec \"$@\" > pipe", "sh"]).start();
    // Nobody reads yet: opening the pipe lets the receiver start, and then it is full.
    let mut reader = fs::File::open(&pipe).unwrap();
    loop {
        let progress = sender.event("progress");
        if progress["limited_at"] == "receiver" {
            assert_eq!(progress["limited_by"], "disk");
            break;
        }
    }
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut read).unwrap();
    assert_eq!(read, fs::read(&file).unwrap());
    receiver.ended().expect(0);
    sender.ended().expect(0);
}

#[test]
fn a_path_is_measured_without_files() {
    let (scene, server) = (Scene::new(), Server::start());
    let bench = |folder: &std::path::Path, arguments: &[&str]| {
        let url = server.url();
        let all = [&["--json", "--server", &url, "bench"], arguments].concat();
        scene.p2pshare(folder, &all).start()
    };
    let mut sender = bench(&scene.sender(), &["--time", "1s"]);
    let receiver = bench(&scene.receiver(), &[&sender.code()]);
    let receiver = receiver.ended().expect(0);
    let sender = sender.ended().expect(0);
    let [sent, arrived] = [sender, receiver].map(|end| end.event("complete")["bytes"].clone());
    assert_eq!(sent, arrived);
    assert!(sent.as_u64() > Some(1_000_000), "{sent}");
    assert!(scene.received().is_empty());
}

#[test]
fn a_measurement_throws_no_file_away() {
    let (scene, server) = (Scene::new(), Server::start());
    let mut sender = scene.send(&server, &scene.file("a.bin", 1_000)).start();
    let arguments = ["--json", "--server", &server.url(), "bench", &sender.code()];
    scene.p2pshare(&scene.receiver(), &arguments).start().ended().expect(2);
    sender.ended().expect(6);
}

#[test]
fn the_stages_of_this_machine_are_measured_alone() {
    let scene = Scene::new();
    let bench = scene.p2pshare(&scene.receiver(), &["--json", "bench", "--local"]);
    let bench = bench.start().ended().expect(0);
    let stages = bench.events();
    let names: Vec<_> = stages.iter().filter_map(|event| event["name"].as_str()).collect();
    assert_eq!(names, ["write", "read", "hash", "cipher"]);
    assert!(stages.iter().all(|event| event["bytes_per_second"].as_u64() > Some(0)));
    assert!(scene.received().is_empty());
}
