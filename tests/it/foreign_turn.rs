//! STUN and TURN, asked by clients that nobody here wrote: those of coturn. Needs root, iproute2
//! and coturn's utilities.

use std::{fs, process::Command};

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::{
    harness::{Finished, Scene, Server},
    namespace::Network,
};

const SECRET: &str = "0123456789abcdef";

/// An address of the internet: an open relay passes nothing on to any other.
const SERVER: &str = "11.0.0.1";
const SECOND: &str = "11.0.0.4";
const PEER: &str = "11.0.0.3";

struct World {
    _network: Network,
    _server: Server,
    client: String,
    peer: String,
    scene: Scene,
}

/// Three machines of the internet; `None` where there are no namespaces, or no such clients.
fn world(arguments: &[&str]) -> Option<World> {
    if Command::new("turnutils_stunclient").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "coturn's utilities are needed");
        eprintln!("skipped, since coturn's utilities are not installed");
        return None;
    }
    let mut network = Network::new()?;
    let serving = network.machine(&["11.0.0.1/24", "11.0.0.4/24"]);
    let [client, peer] = ["11.0.0.2/24", "11.0.0.3/24"].map(|address| network.machine(&[address]));
    let scene = Scene::new();
    let made = rcgen::generate_simple_self_signed([SERVER.to_owned()]).unwrap();
    let [certificate, key] =
        ["certificate.pem", "key.pem"].map(|name| scene.sender().with_file_name(name));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let secret = ["--turn-secret", SECRET];
    let arguments = [arguments, &tls, &secret].concat();
    let server = Server::start_in_with(&serving, "11.0.0.1:3478", &arguments);
    Some(World { _network: network, _server: server, client, peer, scene })
}

impl World {
    fn client(&self, program: &str, arguments: &[&str]) -> Finished {
        let start = self.scene.p2pshare(&self.scene.sender(), &[]);
        start.instead(program, arguments).in_namespace(&self.client).start().finish()
    }

    /// Sends through the relay, with a pause in milliseconds; everything must come back.
    fn relayed(&self, arguments: &[&str], pause: &str) {
        let username = format!("{}:0102030405060708", u32::MAX);
        let mut mac = Hmac::<Sha1>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(username.as_bytes());
        let password = BASE64.encode(&mac.finalize().into_bytes());
        let common = ["-c", "-n", "10", "-m", "2", "-l", "400", "-z", pause, "-p", "3478"];
        let credentials = ["-u", &username, "-w", &password];
        let all = [&common[..], &credentials, arguments, &[SERVER]].concat();
        let ended = self.client("turnutils_uclient", &all).expect(0);
        let said = ended.stdout.join("\n") + &ended.stderr.join("\n");
        assert!(said.contains("Total lost packets 0"), "{said}");
        assert!(said.contains("tot_recv_msgs=20"), "{said}");
    }
}

#[test]
fn a_client_learns_its_address() {
    let Some(world) = world(&[]) else { return };
    let said = world.client("turnutils_stunclient", &["-p", "3478", SERVER]).expect(0);
    let said = said.stdout.join("\n");
    assert!(said.contains("UDP reflexive addr: 11.0.0.2:"), "{said}");
}

#[test]
fn a_client_learns_how_its_nat_behaves() {
    let second = format!("{SECOND}:3479");
    let Some(world) = world(&["--second-address", &second]) else { return };
    let arguments = ["-m", "-f", "-p", "3478", SERVER];
    let said = world.client("turnutils_natdiscovery", &arguments).expect(0).stdout.join("\n");
    assert!(said.contains("NAT with Endpoint Independent Mapping"), "{said}");
    assert!(said.contains("NAT with Endpoint Independent Filtering"), "{said}");
}

#[test]
fn two_clients_reach_each_other_through_the_closed_relay_over_every_transport() {
    let Some(world) = world(&[]) else { return };
    for transport in [&[][..], &["-s"], &["-t"]] {
        world.relayed(&[&["-y"], transport].concat(), "5");
    }
    // This client takes all that comes in one TLS record for one message: it must not be hurried.
    world.relayed(&["-y", "-t", "-S"], "100");
}

#[test]
fn a_client_reaches_a_peer_outside_through_an_open_relay() {
    let Some(world) = world(&["--turn-open", SERVER]) else { return };
    let start = world.scene.p2pshare(&world.scene.sender(), &[]);
    let peer = start.instead("turnutils_peer", &["-L", PEER, "-p", "3480", "-v"]);
    let mut peer = peer.in_namespace(&world.peer).start();
    peer.any_line(|line| line.ends_with("end").then_some(()));
    world.relayed(&["-e", PEER, "-r", "3480"], "5");
}
