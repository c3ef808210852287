//! Any network to any network: every pair of sites finds a path, and keeps its transfer when
//! networks and servers come and go. Needs root, iproute2 and nftables, see [`Internet`].

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    harness::{Finished, Running, Scene, Server, Start, sha256, side_by_side},
    internet::{Family, Internet, Site, server_addresses},
    quic::was_over_quic,
};

const SIZE: usize = 300_000;

/// A site, and both ends in it, with a server under TLS at port 443.
struct World {
    internet: Internet,
    scene: Scene,
    /// The server's certificate.
    authority: PathBuf,
    server: Option<Server>,
    url: String,
}

impl World {
    fn new(left: Site, right: Site, family: Family) -> Option<Self> {
        let internet = Internet::new(left, right, family)?;
        let scene = Scene::new();
        let [address, _] = server_addresses(family);
        let made = rcgen::generate_simple_self_signed([address.to_owned()]).unwrap();
        let authority = scene.sender().with_file_name("certificate.pem");
        fs::write(&authority, made.cert.pem()).unwrap();
        fs::write(authority.with_file_name("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let host = if family == Family::V6 { format!("[{address}]") } else { address.to_owned() };
        let url = format!("wss://{host}:443");
        let mut world = Self { internet, scene, authority, server: None, url };
        world.start_server();
        Some(world)
    }

    fn start_server(&mut self) {
        let listen = self.url.replace("wss://", "");
        let stun = listen.replace(":443", ":3478");
        let second = listen.replace("10:443", "11:444").replace("10]:443", "11]:444");
        let key = self.authority.with_file_name("key.pem");
        let arguments = [
            ["--turn-listen", &stun],
            ["--second-address", &second],
            ["--tls-cert", self.authority.to_str().unwrap()],
            ["--tls-key", key.to_str().unwrap()],
        ];
        let server = &self.internet.server;
        self.server = Some(Server::start_in_with(server, &listen, &arguments.concat()));
    }

    fn restart_server(&mut self) {
        self.server.take().unwrap().kill();
        self.start_server();
    }

    fn ours(&self, start: Start, machine: &str) -> Start {
        let authority = self.authority.to_str().unwrap();
        start
            .in_namespace(machine)
            .env("P2PSHARE_TLS_CA", authority)
            .env("P2PSHARE_SERVER", &self.url)
    }

    fn sender(&self, file: &Path, arguments: &[&str]) -> Running {
        let arguments = [&["--json", "send", file.to_str().unwrap()], arguments].concat();
        let start = self.scene.p2pshare(&self.scene.sender(), &arguments);
        self.ours(start, &self.internet.left).start()
    }

    fn receiver(&self, code: &str, arguments: &[&str]) -> Running {
        let arguments = [&["--json", "receive", "-y", code], arguments].concat();
        let start = self.scene.p2pshare(&self.scene.receiver(), &arguments);
        self.ours(start, &self.internet.right).start()
    }

    /// One whole transfer; gives how both ended, and how long set-up took.
    fn transfer(&self, arguments: &[&str]) -> ([Finished; 2], Duration) {
        let file = self.scene.file("a.bin", SIZE);
        let mut sender = self.sender(&file, arguments);
        let code = sender.code();
        let start = Instant::now();
        let mut receiver = self.receiver(&code, arguments);
        receiver.event("connected");
        let set_up = start.elapsed();
        let ends = [sender, receiver].map(|end| end.finish().expect(0));
        let arrived = self.scene.receiver().join("a.bin");
        assert_eq!(sha256(&arrived), sha256(&file));
        fs::remove_file(arrived).unwrap();
        (ends, set_up)
    }
}

/// The first path that was chosen.
fn path(finished: &Finished) -> String {
    let mut events = finished.events().into_iter();
    let connected = events.find(|event| event["event"] == "connected").unwrap();
    connected["path"].as_str().unwrap().to_owned()
}

fn has_straight_path(left: Site, right: Site) -> bool {
    let both = [left, right];
    let is_symmetric = both.contains(&Site::Symmetric);
    let mut others = both.iter().filter(|site| **site != Site::Symmetric);
    let lets_anybody_in = |site: &Site| matches!(site, Site::Open | Site::Cone);
    !both.iter().any(|site| matches!(site, Site::UdpBlocked | Site::WebOnly))
        && (!is_symmetric || others.any(lets_anybody_in))
}

/// One cell of the matrix: whatever the sites, bytes arrive; where a straight path exists it is
/// found when asked for, and QUIC takes it.
fn cell(left: Site, right: Site, family: Family) {
    let Some(world) = World::new(left, right, family) else { return };
    let ([_, receiver], set_up) = world.transfer(&[]);
    let chosen = path(&receiver);
    eprintln!("{family:?} {left:?} to {right:?}: {chosen}, {} ms", set_up.as_millis());
    if has_straight_path(left, right) {
        let (ends, _) = world.transfer(&["--transport", "direct", "--lanes", "quic"]);
        assert_eq!(path(&ends[1]), "direct");
        assert!(was_over_quic(&ends[0]), "{ends:#?}");
    } else {
        assert_eq!(chosen, "relay");
    }
}

const V4: [Site; 6] = [
    Site::Open,
    Site::Cone,
    Site::PortRestricted,
    Site::Symmetric,
    Site::UdpBlocked,
    Site::WebOnly,
];

const V6: [Site; 4] = [Site::Open, Site::Firewalled, Site::UdpBlocked, Site::WebOnly];

fn row(left: Site) {
    side_by_side(3, V4, |right| cell(left, right, Family::V4));
}

#[test]
fn an_open_machine_reaches_every_site() {
    row(Site::Open);
}

#[test]
fn a_cone_nat_reaches_every_site() {
    row(Site::Cone);
}

#[test]
fn a_port_restricted_nat_reaches_every_site() {
    row(Site::PortRestricted);
}

#[test]
fn a_symmetric_nat_reaches_every_site() {
    row(Site::Symmetric);
}

#[test]
fn a_network_without_udp_reaches_every_site() {
    row(Site::UdpBlocked);
}

#[test]
fn a_network_with_port_443_alone_reaches_every_site() {
    row(Site::WebOnly);
}

#[test]
fn networks_with_ipv6_alone_reach_each_other() {
    let pairs = V6.into_iter().flat_map(|left| V6.map(|right| (left, right)));
    side_by_side(3, pairs, |(left, right)| cell(left, right, Family::V6));
}

#[test]
fn a_straight_path_that_is_wanted_and_not_there_is_an_error_that_says_so() {
    let Some(world) = World::new(Site::UdpBlocked, Site::Open, Family::V4) else { return };
    let file = world.scene.file("a.bin", SIZE);
    let mut sender = world.sender(&file, &["--transport", "direct"]);
    let receiver = world.receiver(&sender.code(), &["--transport", "direct"]).finish().expect(7);
    let hint = receiver.event("error")["hint"].to_string();
    assert!(hint.contains("--transport"), "{hint}");
    sender.finish().expect(7);
}

#[test]
fn the_doctor_names_what_stands_in_the_way() {
    let sites = [
        (Site::Open, "no NAT; what stands before this machine lets everybody in"),
        (Site::Cone, "one address for all, and lets everybody in"),
        (Site::PortRestricted, "one address for all, and lets in only answers"),
        (Site::Symmetric, "another address for everybody"),
        (Site::UdpBlocked, "UDP does not come through"),
        (Site::WebOnly, "UDP does not come through"),
    ];
    side_by_side(3, sites, |(site, nat)| {
        let Some(world) = World::new(site, Site::Open, Family::V4) else { return };
        let start = world.scene.p2pshare(&world.scene.sender(), &["--json", "doctor"]);
        let found = world.ours(start, &world.internet.left).start().finish().expect(0).events();
        let about =
            |about: &str| found.iter().filter(|it| it["about"] == about).collect::<Vec<_>>();
        let said = |about: &str, text: &str| {
            found
                .iter()
                .any(|it| it["about"] == about && it["message"].as_str().unwrap().contains(text))
        };
        assert!(said("nat", nat) || said("udp", nat), "{site:?}: {found:#?}");
        let has_udp = !matches!(site, Site::UdpBlocked | Site::WebOnly);
        assert_eq!(about("relay-udp")[0]["verdict"] == "good", has_udp, "{found:#?}");
        assert_eq!(about("relay-tls")[0]["verdict"], "good", "{found:#?}");
        assert_eq!(about("outlook")[0]["verdict"], "good");
    });
}

// What happens in the middle.

/// Bytes of a file that a relay carries for seconds.
const RELAYED: u64 = 120_000_000;

/// A large transfer, and how it ends.
struct Transfer {
    sender: Running,
    receiver: Running,
}

impl Transfer {
    fn start(world: &World) -> Self {
        Self::of(world, &world.scene.large_file("a.bin"))
    }

    /// One that takes seconds also where all of it goes through a relay.
    fn start_relayed(world: &World) -> Self {
        Self::of(world, &world.scene.file_of_zeros("a.bin", RELAYED))
    }

    fn of(world: &World, file: &Path) -> Self {
        let mut sender = world.sender(file, &[]);
        let receiver = world.receiver(&sender.code(), &[]);
        Self { sender, receiver }
    }

    /// Waits until that many hundredths have arrived.
    fn reach(&mut self, hundredths: u64) {
        loop {
            let progress = self.receiver.event("progress");
            let [done, total] = ["bytes", "total"].map(|name| progress[name].as_u64().unwrap());
            if done * 100 >= total * hundredths {
                return;
            }
        }
    }

    /// Waits for the end; gives all that the receiver told.
    fn complete(self, world: &World) -> Vec<Value> {
        let receiver = self.receiver.ended().expect(0);
        self.sender.ended().expect(0);
        let [sent, arrived] = [world.scene.sender(), world.scene.receiver()];
        assert_eq!(sha256(&arrived.join("a.bin")), sha256(&sent.join("a.bin")));
        receiver.events()
    }
}

fn paths(events: &[Value]) -> Vec<String> {
    let connected = events.iter().filter(|event| event["event"] == "connected");
    connected.map(|event| event["path"].as_str().unwrap().to_owned()).collect()
}

/// When something happens, in hundredths of the transfer.
const SEEDS: [u64; 3] = [1, 9, 30];

#[test]
fn a_relayed_transfer_moves_to_a_straight_path_when_there_is_one() {
    let Some(world) = World::new(Site::UdpBlocked, Site::Cone, Family::V4) else { return };
    let mut transfer = Transfer::start(&world);
    transfer.reach(1);
    world.internet.change(&world.internet.left, Site::Cone);
    let events = transfer.complete(&world);
    assert_eq!(paths(&events), ["relay", "direct"]);
    assert!(events.iter().all(|event| event["event"] != "reconnecting"), "{events:#?}");
}

#[test]
fn another_address_in_the_middle_of_a_transfer_costs_no_byte() {
    side_by_side(3, SEEDS, |hundredths| {
        let Some(world) = World::new(Site::PortRestricted, Site::Cone, Family::V4) else { return };
        let mut transfer = Transfer::start(&world);
        transfer.reach(hundredths);
        world.internet.readdress(&world.internet.left);
        assert!(paths(&transfer.complete(&world)).len() >= 2);
    });
}

#[test]
fn a_cable_that_is_out_for_a_while_costs_no_byte() {
    side_by_side(3, SEEDS, |hundredths| {
        let Some(world) = World::new(Site::PortRestricted, Site::Symmetric, Family::V4) else {
            return;
        };
        let mut transfer = Transfer::start_relayed(&world);
        transfer.reach(hundredths);
        world.internet.unplug(&world.internet.right);
        transfer.receiver.event("reconnecting");
        transfer.sender.event("reconnecting");
        world.internet.plug_in(&world.internet.right);
        assert!(paths(&transfer.complete(&world)).len() >= 2);
    });
}

#[test]
fn a_laptop_that_sleeps_in_the_middle_goes_on_when_it_wakes() {
    side_by_side(3, SEEDS, |hundredths| {
        let Some(world) = World::new(Site::PortRestricted, Site::Cone, Family::V4) else { return };
        let mut transfer = Transfer::start(&world);
        transfer.reach(hundredths);
        transfer.receiver.signal("STOP");
        transfer.sender.event("reconnecting");
        transfer.receiver.signal("CONT");
        assert!(paths(&transfer.complete(&world)).len() >= 2);
    });
}

#[test]
fn a_relay_that_restarts_in_the_middle_costs_no_byte() {
    side_by_side(3, SEEDS, |hundredths| {
        let Some(mut world) = World::new(Site::UdpBlocked, Site::Symmetric, Family::V4) else {
            return;
        };
        let mut transfer = Transfer::start_relayed(&world);
        transfer.reach(hundredths);
        world.restart_server();
        assert!(paths(&transfer.complete(&world)).len() >= 2);
    });
}

#[test]
fn a_server_that_restarts_does_not_touch_a_straight_path() {
    let Some(mut world) = World::new(Site::Open, Site::PortRestricted, Family::V4) else { return };
    let mut transfer = Transfer::start(&world);
    transfer.reach(9);
    world.restart_server();
    let paths = paths(&transfer.complete(&world));
    assert_eq!(paths.last().map(String::as_str), Some("direct"), "{paths:?}");
}
