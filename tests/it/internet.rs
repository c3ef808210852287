//! An internet for one test: a server with two public addresses, and two sites, each behind what
//! people have in front of their machines. Made of network namespaces and nftables; needs root.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::namespace::{Network, on};

/// What stands between a machine and the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// Nothing: it has a public address.
    Open,
    /// A NAT with endpoint-independent mapping and filtering (RFC 4787): whatever comes to its
    /// address comes to the machine.
    Cone,
    /// A NAT with endpoint-independent mapping that lets in only answers.
    PortRestricted,
    /// A NAT with another port for each destination, which lets in only answers.
    Symmetric,
    /// No NAT, but a firewall that lets in only answers.
    Firewalled,
    /// TCP alone.
    UdpBlocked,
    /// TCP to port 443 alone.
    WebOnly,
}

/// Which protocol there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// See the module.
pub(crate) struct Internet {
    network: Network,
    family: Family,
    /// The namespaces of the server and of both machines.
    pub(crate) server: String,
    pub(crate) left: String,
    pub(crate) right: String,
    /// The namespaces with the public addresses of both sites.
    outside: [String; 2],
}

/// The addresses of the server.
pub(crate) fn server_addresses(family: Family) -> [&'static str; 2] {
    match family {
        Family::V4 => ["198.51.100.10", "198.51.100.11"],
        Family::V6 => ["2001:db8::10", "2001:db8::11"],
    }
}

impl Internet {
    /// Builds one; `None` where that cannot be done, see [`Network::new`].
    pub(crate) fn new(left: Site, right: Site, family: Family) -> Option<Self> {
        let mut network = Network::new()?;
        let server = public(&mut network, family, &server_addresses(family));
        let outside = [1, 2].map(|n| public(&mut network, family, &[&outer(family, n)]));
        let mut machines = Vec::new();
        for (number, site) in [(1, left), (2, right)] {
            let gateway = outside[usize::from(number) - 1].clone();
            if site == Site::Open {
                machines.push(gateway);
                continue;
            }
            machines.push(network.behind(&gateway, &inner(family, number)));
            guard(&gateway, site, family, number);
            if family == Family::V6 {
                let route = ["route", "add", &prefix(number), "via", &outer(family, number)];
                let others = outside.iter().chain([&server]).filter(|other| **other != gateway);
                others.for_each(|other| on(other, &route));
            }
        }
        let [left, right] = machines.try_into().ok()?;
        Some(Self { network, family, server, left, right, outside })
    }

    /// From here on a site lets everything through that a NAT or firewall of that kind does.
    pub(crate) fn change(&self, machine: &str, site: Site) {
        let number = if machine == self.left { 1 } else { 2 };
        guard(self.in_front_of(machine), site, self.family, number);
    }

    /// Takes the cable of a site out.
    pub(crate) fn unplug(&self, machine: &str) {
        self.network.unplug(self.in_front_of(machine));
    }

    /// Puts it back.
    pub(crate) fn plug_in(&self, machine: &str) {
        self.network.plug_in(self.in_front_of(machine));
    }

    /// Gives a machine behind a NAT another address, as another Wi-Fi does.
    pub(crate) fn readdress(&self, machine: &str) {
        let number = if machine == self.left { 1 } else { 2 };
        let gateway = format!("192.168.{number}.1");
        on(machine, &["addr", "flush", "dev", "eth0"]);
        let address = format!("192.168.{number}.77/24");
        on(machine, &["addr", "add", &address, "dev", "eth0"]);
        on(machine, &["route", "add", "default", "via", &gateway]);
    }

    fn in_front_of(&self, machine: &str) -> &str {
        &self.outside[usize::from(machine == self.right)]
    }
}

/// A machine with public addresses, which are on no network with anybody.
fn public(network: &mut Network, family: Family, addresses: &[&str]) -> String {
    let (length, all) = match family {
        Family::V4 => (32, "198.51.100.0/24"),
        Family::V6 => (128, "2001:db8::/64"),
    };
    let addresses: Vec<_> = addresses.iter().map(|it| format!("{it}/{length}")).collect();
    let machine = network.machine(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
    on(&machine, &["route", "add", all, "dev", "eth0"]);
    machine
}

/// The public address of a site.
fn outer(family: Family, number: u8) -> String {
    match family {
        Family::V4 => format!("198.51.100.10{number}"),
        Family::V6 => format!("2001:db8::10{number}"),
    }
}

/// Gateway and machine of a site.
fn inner(family: Family, number: u8) -> [String; 2] {
    match family {
        Family::V4 => [1, 2].map(|host| format!("192.168.{number}.{host}")),
        Family::V6 => [1, 2].map(|host| format!("2001:db8:{number}::{host}")),
    }
}

fn prefix(number: u8) -> String {
    format!("2001:db8:{number}::/64")
}

/// Sets up what stands in front of a site.
fn guard(gateway: &str, site: Site, family: Family, number: u8) {
    let lets_in = match site {
        Site::Cone => "meta l4proto udp accept",
        _ => "",
    };
    let lets_out = match site {
        Site::UdpBlocked => "meta l4proto != udp accept",
        Site::WebOnly => "tcp dport 443 accept",
        _ => "accept",
    };
    let translates = match (family, site) {
        (Family::V6, _) | (_, Site::Open | Site::Firewalled) => String::new(),
        (_, Site::Symmetric) => "oifname eth0 masquerade fully-random".to_owned(),
        _ => "oifname eth0 masquerade".to_owned(),
    };
    let hands_in = match site {
        Site::Cone => format!("iifname eth0 meta l4proto udp dnat ip to 192.168.{number}.2"),
        _ => String::new(),
    };
    let rules = format!(
        "table inet site\n\
         delete table inet site\n\
         table inet site {{\n\
           chain through {{\n\
             type filter hook forward priority 0; policy drop;\n\
             ct state invalid drop\n\
             iifname inside {lets_out}\n\
             iifname eth0 ct direction reply ct state established,related accept\n\
             iifname eth0 {lets_in}\n\
           }}\n\
           chain own {{ type filter hook input priority 0; iifname eth0 meta l4proto udp drop\n}}\n\
           chain out {{ type nat hook postrouting priority 100;\n{translates}\n}}\n\
           chain in {{ type nat hook prerouting priority -100;\n{hands_in}\n}}\n\
         }}\n"
    );
    let rules = rules.replace("iifname eth0 \n", "");
    let mut nft = Command::new("ip")
        .args(["netns", "exec", gateway, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{rules}");
}
