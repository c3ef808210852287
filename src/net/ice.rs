//! STUN and TURN servers: their URLs (RFC 7064, RFC 7065), and which of them are used.

use std::{collections::BTreeSet, fmt, net::SocketAddr, str::FromStr, time::Duration};

use p2pshare_signal::protocol::IceServer;
use tokio::{net::lookup_host, time::timeout};

/// The port of STUN and TURN, and that of TURN under TLS, when a URL names none.
const DEFAULT_PORT: u16 = 3478;
const DEFAULT_TLS_PORT: u16 = 5349;

/// URLs that are looked at: a server that gives more gives too many.
const MOST_URLS: usize = 16;

/// Relays that are tried side by side.
const MOST_RELAYS: usize = 4;

/// How long the name of a STUN server may take to resolve.
const RESOLUTION: Duration = Duration::from_millis(500);

/// How a TURN server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// Datagrams.
    Udp,
    /// A TCP connection.
    Tcp,
    /// One under TLS.
    Tls,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A TURN server, and what it asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnServer {
    /// Where it is.
    pub at: HostPort,
    /// How it is spoken to.
    pub carrier: Carrier,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
    /// Whether it also relays to addresses that are not relayed themselves: one of the user's own
    /// does, that of a rendezvous server passes things on between the two ends only.
    pub is_open: bool,
}

impl fmt::Debug for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TurnServer({:?} {:?})", self.carrier, self.at)
    }
}

/// Not the URL of a STUN or TURN server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a STUN or TURN server looks like stun:host:3478, turn:user:password@host:3478 or \
     turns:user:password@host:443?transport=tcp"
)]
pub struct BadIceUrl;

/// A server that the user names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IceUrl {
    /// For STUN.
    Stun(HostPort),
    /// For TURN.
    Turn(TurnServer),
}

impl FromStr for IceUrl {
    type Err = BadIceUrl;

    fn from_str(text: &str) -> Result<Self, BadIceUrl> {
        let (scheme, rest) = text.split_once(':').ok_or(BadIceUrl)?;
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (credentials.split_once(':'), address),
            None => (None, rest),
        };
        match (scheme, credentials) {
            ("stun", None) if !rest.contains('@') => {
                Ok(Self::Stun(host_port(address, DEFAULT_PORT).ok_or(BadIceUrl)?))
            }
            ("turn" | "turns", Some((username, password))) => {
                let (at, carrier) = turn_address(scheme, address).ok_or(BadIceUrl)?;
                let (username, password) = (username.to_owned(), password.to_owned());
                Ok(Self::Turn(TurnServer { at, carrier, username, password, is_open: true }))
            }
            _ => Err(BadIceUrl),
        }
    }
}

/// Which servers are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceServers {
    /// For the addresses under which the world sees this machine.
    pub stun: Vec<HostPort>,
    /// For paths when there is no other.
    pub turn: Vec<TurnServer>,
}

impl IceServers {
    /// Those that a rendezvous server named, and those of the user. What is not understood is
    /// left out.
    #[must_use]
    pub fn new(named: &[IceServer], own: &[IceUrl]) -> Self {
        let mut servers = Self::default();
        for url in own {
            match url.clone() {
                IceUrl::Stun(at) => servers.stun.push(at),
                IceUrl::Turn(server) => servers.turn.push(server),
            }
        }
        let urls = named.iter().flat_map(|server| server.urls.iter().map(move |url| (server, url)));
        for (server, url) in urls.take(MOST_URLS) {
            servers.add(server, url);
        }
        servers.drop_plain_beside_tls();
        servers.turn.truncate(MOST_RELAYS);
        servers
    }

    fn add(&mut self, server: &IceServer, url: &str) {
        let Some((scheme, address)) = url.split_once(':') else { return };
        if scheme == "stun" {
            self.stun.extend(host_port(address, DEFAULT_PORT));
            return;
        }
        let IceServer { username: Some(username), credential: Some(password), .. } = server else {
            return;
        };
        if let Some((at, carrier)) = turn_address(scheme, address) {
            let (username, password) = (username.clone(), password.clone());
            self.turn.push(TurnServer { at, carrier, username, password, is_open: false });
        }
    }

    /// A server that can be reached under TLS need not be tried without.
    fn drop_plain_beside_tls(&mut self) {
        let under_tls: BTreeSet<_> = self
            .turn
            .iter()
            .filter(|server| server.carrier == Carrier::Tls)
            .map(|server| server.at.host.clone())
            .collect();
        self.turn.retain(|it| it.carrier != Carrier::Tcp || !under_tls.contains(&it.at.host));
    }

    /// The URLs of STUN for the library, which must not be kept waiting by names: one address of
    /// each family.
    pub async fn stun_urls(&self) -> Vec<String> {
        let (mut v4, mut v6) = (None, None);
        for HostPort { host, port } in &self.stun {
            let found = timeout(RESOLUTION, lookup_host((host.as_str(), *port))).await;
            let Ok(Ok(found)) = found else { continue };
            for address in found {
                let place = if address.is_ipv4() { &mut v4 } else { &mut v6 };
                place.get_or_insert(address);
            }
        }
        [v4, v6]
            .into_iter()
            .flatten()
            .map(|address: SocketAddr| format!("stun:{address}"))
            .collect()
    }
}

fn turn_address(scheme: &str, address: &str) -> Option<(HostPort, Carrier)> {
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let carrier = match (scheme, query) {
        ("turn", "" | "transport=udp") => Carrier::Udp,
        ("turn", "transport=tcp") => Carrier::Tcp,
        ("turns", "" | "transport=tcp") => Carrier::Tls,
        _ => return None,
    };
    let default = if carrier == Carrier::Tls { DEFAULT_TLS_PORT } else { DEFAULT_PORT };
    Some((host_port(address, default)?, carrier))
}

fn host_port(text: &str, default: u16) -> Option<HostPort> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        },
    };
    let port = match port? {
        "" if !text.ends_with(':') => default,
        port => port.parse().ok()?,
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    let valid = !host.is_empty() && host.chars().all(is_name) && port != 0;
    valid.then(|| HostPort { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(urls: &[&str]) -> IceServer {
        IceServer {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            username: Some("u".to_owned()),
            credential: Some("p".to_owned()),
        }
    }

    fn shown(servers: &IceServers) -> Vec<String> {
        servers
            .turn
            .iter()
            .map(|it| format!("{:?} {}:{}", it.carrier, it.at.host, it.at.port))
            .collect()
    }

    #[test]
    fn what_a_server_names_is_understood() {
        let server = named(&[
            "stun:[2001:db8::1]:9477",
            "turn:192.0.2.1:9477?transport=udp",
            "turn:example.org?transport=tcp",
            "turn:other.example:1",
            "turns:other.example?transport=tcp",
        ]);
        let servers = IceServers::new(&[server], &[]);
        assert_eq!(servers.stun, [HostPort { host: "2001:db8::1".to_owned(), port: 9477 }]);
        let turn = [
            "Udp 192.0.2.1:9477",
            "Tcp example.org:3478",
            "Udp other.example:1",
            "Tls other.example:5349",
        ];
        assert_eq!(shown(&servers), turn);
    }

    #[test]
    fn under_tls_the_same_server_is_not_tried_without() {
        let server = named(&["turns:a.example:443", "turn:a.example:443?transport=tcp"]);
        assert_eq!(shown(&IceServers::new(&[server], &[])), ["Tls a.example:443"]);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let server = named(&[
            "",
            "stun",
            "stun:",
            "stun:a b",
            "stun:a:",
            "stun:a:0",
            "stun:a:70000",
            "stun:[::1",
            "stun:[x]:1",
            "turn:a?transport=sctp",
            "turns:a?transport=udp",
            "http://a",
        ]);
        assert_eq!(IceServers::new(&[server], &[]), IceServers::default());
        let anonymous = IceServer { username: None, ..named(&["turn:a"]) };
        assert_eq!(IceServers::new(&[anonymous], &[]), IceServers::default());
        let many = vec!["turn:a"; 100];
        assert_eq!(IceServers::new(&[named(&many)], &[]).turn.len(), MOST_RELAYS);
    }

    #[test]
    fn users_write_passwords_into_the_url_and_nothing_shows_them() {
        let url: IceUrl = "turns:me:se:cret@relay.example:443?transport=tcp".parse().unwrap();
        let IceUrl::Turn(server) = &url else { panic!("{url:?}") };
        assert_eq!((server.username.as_str(), server.password.as_str()), ("me", "se:cret"));
        assert!(server.is_open && !format!("{url:?}").contains("cret"));
        assert!(matches!("stun:a.example".parse(), Ok(IceUrl::Stun(_))));
        for bad in ["", "turn:a", "stun:u:p@a", "turn:u@a", "ws://a", "turn:u:p@"] {
            assert_eq!(bad.parse::<IceUrl>(), Err(BadIceUrl), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_library_gets_one_address_of_each_family() {
        let servers = IceServers::new(
            &[named(&["stun:192.0.2.1:9", "stun:192.0.2.2:9", "stun:[2001:db8::1]:9"])],
            &[],
        );
        assert_eq!(servers.stun_urls().await, ["stun:192.0.2.1:9", "stun:[2001:db8::1]:9"]);
    }
}
