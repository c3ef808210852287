//! By which names the server may be called, and which pages may talk to it. PURE; used by `http`.
//!
//! A browser lets any page open a WebSocket to anywhere and says in `Origin` which one it is: only
//! this server's own may. That alone would let a name that somebody else owns, and points at a
//! server in a private network, be the same in `Origin` and `Host`: a server that has no name of
//! its own is called by its address.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};

/// By which names a browser may call a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// By any.
    #[default]
    Any,
    /// By addresses, `localhost`, and names that end in `.local`, which nobody else can own.
    Local,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// A name that this server does not have.
    Host,
    /// A page of somebody else.
    Page,
}

/// The name that a request called the server by.
pub(crate) fn host(headers: &HeaderMap) -> Option<Authority> {
    headers.get(HOST).and_then(|host| host.to_str().ok()?.parse().ok())
}

impl Hosts {
    /// Whether a browser may call the server by this name.
    pub(crate) fn has(self, host: Option<&Authority>) -> bool {
        match self {
            Self::Any => true,
            Self::Local => host.is_some_and(|host| is_local(host.host())),
        }
    }

    /// Whether a WebSocket may be opened. Programs that are no browser send no `Origin`.
    pub(crate) fn admits(self, headers: &HeaderMap) -> Result<(), Stranger> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let host = host(headers);
        let page = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        let page = page.as_ref().and_then(Uri::authority);
        if !self.has(host.as_ref()) {
            return Err(Stranger::Host);
        }
        // Both are compared as texts, without regard to case: a browser leaves the same default
        // port out of both.
        if page.is_some() && page == host.as_ref() { Ok(()) } else { Err(Stranger::Page) }
    }
}

fn is_local(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let domain = host.rsplit_once('.').map(|(_, domain)| domain);
    host.eq_ignore_ascii_case("localhost")
        || domain.is_some_and(|domain| domain.eq_ignore_ascii_case("local"))
        || host.parse::<Ipv4Addr>().is_ok()
        || bracketed.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn admits(hosts: Hosts, host: &'static str, origin: &'static str) -> Result<(), Stranger> {
        let of = HeaderValue::from_static;
        hosts.admits(&HeaderMap::from_iter([(HOST, of(host)), (ORIGIN, of(origin))]))
    }

    #[test]
    fn a_page_of_the_server_itself_may_talk_to_it() {
        for (host, origin) in [
            ("share.example.org", "https://share.example.org"),
            ("10.0.0.7:9477", "http://10.0.0.7:9477"),
            ("[fe80::1]:9477", "http://[fe80::1]:9477"),
            ("Box.local:9477", "http://box.local:9477"),
        ] {
            assert_eq!(admits(Hosts::Any, host, origin), Ok(()), "{origin}");
        }
    }

    #[test]
    fn a_page_of_somebody_else_may_not() {
        for origin in ["https://evil.example", "http://10.0.0.7", "http://10.0.0.7:80", "null", ""]
        {
            let admitted = admits(Hosts::Any, "10.0.0.7:9477", origin);
            assert_eq!(admitted, Err(Stranger::Page), "{origin}");
        }
    }

    #[test]
    fn a_local_server_has_no_name_that_somebody_can_own() {
        for host in ["10.0.0.7:9477", "[::1]:1", "localhost:9477", "box.local", "LOCALHOST"] {
            assert!(Hosts::Local.has(host.parse().ok().as_ref()), "{host}");
        }
        for host in ["evil.example:9477", "local", "x.localhost.example", "10.0.0.7.evil.example"] {
            assert!(!Hosts::Local.has(host.parse().ok().as_ref()), "{host}");
        }
        assert!(!Hosts::Local.has(None));
        let rebound = admits(Hosts::Local, "evil.example:9477", "http://evil.example:9477");
        assert_eq!(rebound, Err(Stranger::Host));
    }

    #[test]
    fn a_program_that_is_no_browser_may_call_it_as_it_likes() {
        let host = HeaderMap::from_iter([(HOST, HeaderValue::from_static("mybox:9477"))]);
        assert_eq!(Hosts::Local.admits(&host), Ok(()));
    }
}
