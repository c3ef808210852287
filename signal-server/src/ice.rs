//! Which STUN and TURN servers the two ends of a room are told of, under which address, and with
//! which credentials. Pure. Used by `hub` and, for what clients call this server, by `http`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::uri::Authority;

use crate::credentials::Secrets;
use crate::protocol::{IceServer, RoomId};

/// A host, as it stands in a URL, and a port: how clients reach this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    host: String,
    port: Option<u16>,
}

/// It is no host with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host name or address, with or without a port, as in relay.example.org:9477")]
pub struct NotAnAddress;

impl FromStr for PublicAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self {
                host: SocketAddr::new(ip, 0).to_string().replace(":0", ""),
                port: None,
            });
        }
        let authority: Authority = text.parse().map_err(|_| NotAnAddress)?;
        let host = authority.host();
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = in_brackets.map_or_else(
            || host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')),
            |ip| ip.parse::<std::net::Ipv6Addr>().is_ok(),
        );
        if host.is_empty() || !is_host {
            return Err(NotAnAddress);
        }
        let port = authority.port_u16();
        let is_all = port.map_or(host.len(), |port| host.len() + 1 + port.to_string().len());
        if is_all != text.len() {
            return Err(NotAnAddress);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl PublicAddress {
    /// The address, unless it is a name.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.host.trim_matches(['[', ']']).parse().ok()
    }
}

/// How one client came here.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    /// What it calls this server: the `Host` of its request.
    pub(crate) by: PublicAddress,
    /// Where it comes from.
    pub(crate) from: IpAddr,
}

/// Makes the lists.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) secrets: Secrets,
    /// The ports that STUN and TURN are served on, the first one first; none when they are not.
    pub(crate) ports: Vec<u16>,
    pub(crate) has_tls: bool,
    /// What to call this server, whatever clients call it.
    pub(crate) public: Option<PublicAddress>,
    /// Addresses of other TURN servers that share the secret.
    pub(crate) others: Vec<String>,
}

impl Issuer {
    /// The servers for one end of a room.
    pub(crate) fn servers(&self, reached: &Reached, room: &RoomId, unix: u64) -> Vec<IceServer> {
        let (mut stun, mut turn) = (Vec::new(), Vec::new());
        if let [first, others @ ..] = &self.ports[..] {
            let (host, first) = self.address(reached, *first);
            for port in std::iter::once(&first).chain(others) {
                stun.push(format!("stun:{host}:{port}"));
                turn.push(format!("turn:{host}:{port}?transport=udp"));
            }
            if self.has_tls {
                turn.push(format!("turns:{host}:{first}?transport=tcp"));
            }
            turn.push(format!("turn:{host}:{first}?transport=tcp"));
        }
        turn.extend_from_slice(&self.others);
        let (username, credential) = self.secrets.issue(room, unix);
        let stun = IceServer { urls: stun, username: None, credential: None };
        let turn = IceServer { urls: turn, username: Some(username), credential: Some(credential) };
        [stun, turn].into_iter().filter(|server| !server.urls.is_empty()).collect()
    }

    /// A client that came through a proxy on this machine knows the proxy's port, where STUN is
    /// not served.
    fn address(&self, reached: &Reached, own_port: u16) -> (String, u16) {
        let PublicAddress { host, port } = self.public.as_ref().unwrap_or(&reached.by);
        let through_proxy = self.public.is_none() && reached.from.to_canonical().is_loopback();
        let port =
            if through_proxy { own_port } else { port.unwrap_or(self.default_port(own_port)) };
        (host.clone(), port)
    }

    /// A `Host` without a port means that of the scheme.
    fn default_port(&self, own_port: u16) -> u16 {
        match (&self.public, self.has_tls) {
            (Some(_), _) => own_port,
            (None, true) => 443,
            (None, false) => 80,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        Issuer {
            secrets: Secrets::of_process([1; 32]),
            ports: vec![9477, 3478],
            has_tls: false,
            public: None,
            others: Vec::new(),
        }
    }

    fn urls(issuer: &Issuer, host: &str, from: &str) -> Vec<String> {
        let reached = Reached { by: host.parse().unwrap(), from: from.parse().unwrap() };
        let servers = issuer.servers(&reached, &RoomId::from_128_bits([1; 16]), 0);
        servers.into_iter().flat_map(|server| server.urls).collect()
    }

    #[test]
    fn clients_are_told_what_they_call_this_server() {
        assert_eq!(
            urls(&issuer(), "[2001:db8::1]:9477", "2001:db8::9"),
            [
                "stun:[2001:db8::1]:9477",
                "stun:[2001:db8::1]:3478",
                "turn:[2001:db8::1]:9477?transport=udp",
                "turn:[2001:db8::1]:3478?transport=udp",
                "turn:[2001:db8::1]:9477?transport=tcp",
            ]
        );
    }

    #[test]
    fn under_tls_the_default_port_is_443() {
        let issuer = Issuer { ports: vec![443], has_tls: true, ..issuer() };
        assert_eq!(
            urls(&issuer, "example.org", "192.0.2.9"),
            [
                "stun:example.org:443",
                "turn:example.org:443?transport=udp",
                "turns:example.org:443?transport=tcp",
                "turn:example.org:443?transport=tcp",
            ]
        );
    }

    #[test]
    fn through_a_proxy_on_this_machine_our_own_port_is_told() {
        let issuer = Issuer { ports: vec![9477], ..issuer() };
        assert_eq!(urls(&issuer, "example.org", "127.0.0.1")[0], "stun:example.org:9477");
    }

    #[test]
    fn a_public_address_and_other_servers_are_told_to_everybody() {
        let public = Some("203.0.113.5:7000".parse().unwrap());
        let others = vec!["turn:other.example:3478".to_owned()];
        let issuer = Issuer { public, others, ports: vec![9477], ..issuer() };
        let urls = urls(&issuer, "10.0.0.1:9477", "10.0.0.9");
        assert_eq!(urls[0], "stun:203.0.113.5:7000");
        assert_eq!(urls.last().unwrap(), "turn:other.example:3478");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in ["", "a b", "a@b", "a/b", "[::1", "a:b", "a:70000", "?", "a;b", "[fe80::1%25x]"]
        {
            assert_eq!(bad.parse::<PublicAddress>(), Err(NotAnAddress), "{bad}");
        }
        let ip = "::1".parse::<PublicAddress>().unwrap();
        assert_eq!(ip.ip(), Some("::1".parse().unwrap()));
        assert_eq!(ip.host, "[::1]");
    }
}
