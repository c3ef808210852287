//! Networks of Linux network namespaces, made by a test and gone with it: machines on one switch,
//! and nothing else. Needs root and iproute2.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// Some machines on one switch.
pub(crate) struct Network {
    switch: String,
    machines: Vec<String>,
}

impl Network {
    /// An empty network. `None`, said on standard error, where namespaces cannot be made.
    ///
    /// # Panics
    /// Where they cannot be made and the variable `CI` is set: nothing may be skipped there.
    pub(crate) fn new() -> Option<Self> {
        let switch = unused_name();
        if let Err(why) = ip(&["netns", "add", &switch]) {
            assert!(std::env::var_os("CI").is_none(), "network namespaces are needed: {why}");
            eprintln!("skipped, since network namespaces need root and iproute2: {why}");
            return None;
        }
        let network = Self { switch, machines: Vec::new() };
        network.on_switch(&["link", "add", "switch", "type", "bridge"]);
        network.on_switch(&["link", "set", "switch", "up"]);
        Some(network)
    }

    /// A machine with loopback alone.
    pub(crate) fn lone_machine(&mut self) -> String {
        let name = unused_name();
        must(&["netns", "add", &name]);
        self.machines.push(name.clone());
        must(&["-n", &name, "link", "set", "lo", "up"]);
        name
    }

    /// A machine at the switch with these addresses and prefix lengths, and no others.
    pub(crate) fn machine(&mut self, addresses: &[&str]) -> String {
        let name = self.lone_machine();
        let port = self.port(&name);
        let link = |arguments: &[&str]| must(&[&["-n", &name][..], arguments].concat());
        must(
            &[
                &["-n", &self.switch, "link", "add", &port, "type", "veth"][..],
                &["peer", "name", "eth0", "netns", &name],
            ]
            .concat(),
        );
        self.on_switch(&["link", "set", &port, "master", "switch", "up"]);
        link(&["link", "set", "eth0", "addrgenmode", "none"]);
        link(&["link", "set", "eth0", "up"]);
        for address in addresses {
            // Checking for duplicates takes seconds, and there are none.
            let checks: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            link(&[&["addr", "add", address, "dev", "eth0"], checks].concat());
        }
        name
    }

    /// From here on the switch passes no multicast on. Without it IPv6 machines cannot ask for
    /// each other's hardware addresses, so every machine is told those of the others.
    pub(crate) fn block_multicast(&self) {
        for name in &self.machines {
            let port = self.port(name);
            self.on_switch(&["link", "set", &port, "type", "bridge_slave", "mcast_flood", "off"]);
            let hardware = hardware_address(name);
            for other in self.machines.iter().filter(|other| *other != name) {
                for address in ipv6_addresses(name) {
                    must(
                        &[
                            &["-n", other, "neigh", "replace", &address, "dev", "eth0"][..],
                            &["lladdr", &hardware, "nud", "permanent"],
                        ]
                        .concat(),
                    );
                }
            }
        }
    }

    /// A machine behind another one, which passes on what it sends: the addresses are those of the
    /// other, on that side, and of the new one.
    pub(crate) fn behind(&mut self, gateway: &str, [inner, own]: &[String; 2]) -> String {
        let name = self.lone_machine();
        let (length, flags): (_, &[&str]) =
            if own.contains(':') { ("64", &["nodad"]) } else { ("24", &[]) };
        let peer = ["peer", "name", "eth0", "netns", &name];
        on(gateway, &[&["link", "add", "inside", "type", "veth"][..], &peer].concat());
        for (machine, device, address) in [(gateway, "inside", inner), (&name, "eth0", own)] {
            on(machine, &["link", "set", device, "addrgenmode", "none"]);
            on(machine, &["link", "set", device, "up"]);
            let address = format!("{address}/{length}");
            on(machine, &[&["addr", "add", &address, "dev", device], flags].concat());
        }
        // Without a link-local address it could not ask who has an IPv6 address for others.
        let link_local = format!("fe80::{}/64", self.machines.len());
        on(gateway, &["addr", "add", &link_local, "dev", "eth0", "nodad"]);
        on(gateway, &["addr", "add", "fe80::1/64", "dev", "inside", "nodad"]);
        on(&name, &["route", "add", "default", "via", inner]);
        for switch in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            must(&["netns", "exec", gateway, "sysctl", "-q", "-w", switch]);
        }
        name
    }

    /// From here on packets to and from a machine are lost when they are longer than so many bytes;
    /// nobody is told.
    pub(crate) fn narrow(&self, machine: &str, bytes: &str) {
        self.on_switch(&["link", "set", &self.port(machine), "mtu", bytes]);
    }

    /// Takes a machine's cable out.
    pub(crate) fn unplug(&self, machine: &str) {
        self.on_switch(&["link", "set", &self.port(machine), "down"]);
    }

    /// Puts it back.
    pub(crate) fn plug_in(&self, machine: &str) {
        self.on_switch(&["link", "set", &self.port(machine), "up"]);
    }

    /// The machine's port at the switch.
    fn port(&self, machine: &str) -> String {
        let number = self.machines.iter().position(|name| name == machine).unwrap();
        format!("port{number}")
    }

    fn on_switch(&self, arguments: &[&str]) {
        must(&[&["-n", &self.switch][..], arguments].concat());
    }
}

/// From here on datagrams from these ports of a machine are lost.
pub(crate) fn drop_udp_from(machine: &str, ports: &[String]) {
    rule(machine, &format!("udp sport {{ {} }} drop", ports.join(", ")));
}

/// From here on what a machine sends to an address in a protocol (`tcp` or `udp`) is lost.
pub(crate) fn drop_to(machine: &str, address: &str, protocol: &str) {
    rule(machine, &format!("ip daddr {address} ip protocol {protocol} drop"));
}

/// The same for datagrams of QUIC: the first two bits of the first byte are 01 or 11.
pub(crate) fn drop_quic_to(machine: &str, address: &str) {
    rule(machine, &format!("ip daddr {address} ip protocol udp @th,65,1 1 drop"));
}

/// The next datagram that a machine sends with a certificate of DTLS in it is lost: its first record is
/// of type 22, with a message of type 11.
pub(crate) fn lose_a_certificate_from(machine: &str) {
    rule(machine, "ip protocol udp @th,64,8 22 @th,168,8 11 limit rate 1/day burst 1 packets drop");
}

/// From here on what a machine sends to an address over TCP resets the connection.
pub(crate) fn reset_to(machine: &str, address: &str) {
    rule(machine, &format!("ip daddr {address} ip protocol tcp reject with tcp reset"));
}

/// From here on nothing of what a machine sends is lost.
pub(crate) fn drop_nothing(machine: &str) {
    must(&["netns", "exec", machine, "nft", "flush", "table", "inet", "lost"]);
}

fn rule(machine: &str, what: &str) {
    let chain = "chain inet lost out { type filter hook output priority 0 ; }";
    for rule in ["table inet lost", chain, &format!("rule inet lost out {what}")] {
        must(&["netns", "exec", machine, "nft", "add", rule]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.machines.iter().chain([&self.switch]) {
            if let Err(why) = ip(&["netns", "delete", name]) {
                eprintln!("namespace {name} is left behind: {why}");
            }
        }
    }
}

/// Has `ip` do something on a machine.
pub(crate) fn on(machine: &str, arguments: &[&str]) {
    must(&[&["-n", machine][..], arguments].concat());
}

fn unused_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("p2pshare-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn hardware_address(machine: &str) -> String {
    let links = must(&["-n", machine, "-oneline", "link", "show", "dev", "eth0"]);
    word_after(&links, "link/ether").unwrap()
}

fn ipv6_addresses(machine: &str) -> Vec<String> {
    let addresses = must(&["-n", machine, "-oneline", "-6", "addr", "show", "dev", "eth0"]);
    let of_line = |line| word_after(line, "inet6")?.split('/').next().map(str::to_owned);
    addresses.lines().filter_map(of_line).collect()
}

fn word_after(text: &str, word: &str) -> Option<String> {
    text.split_whitespace().skip_while(|each| *each != word).nth(1).map(str::to_owned)
}

fn must(arguments: &[&str]) -> String {
    ip(arguments).unwrap_or_else(|why| panic!("ip {}: {why}", arguments.join(" ")))
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
