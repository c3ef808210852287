//! Streams to servers: straight or through a proxy, plain or under TLS. Used by the rendezvous and
//! by relays.

use std::{
    fmt, io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    path::Path,
    str::FromStr,
    sync::{Arc, OnceLock},
};

use hyper_util::{
    client::{
        legacy::connect::{
            HttpConnector,
            proxy::{SocksV5, Tunnel},
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::http::Uri;
use tower_service::Service as _;

use super::interfaces;

/// Bytes both ways.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> Bytes for T {}

/// A stream to a server.
pub type Stream = Box<dyn Bytes>;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The network, or the server's machine.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The proxy cannot be reached.
    #[error("the proxy {0} cannot be reached: {1}")]
    NoProxy(String, String),
    /// The proxy does not open the way.
    #[error("the proxy {0} refuses: {1}")]
    ProxyRefuses(String, String),
    /// The server has no certificate that is trusted.
    #[error("its certificate is not trusted: {0}")]
    Untrusted(rustls::Error),
    /// What it is called cannot stand in a certificate.
    #[error("{0} is no name for TLS")]
    NoName(String),
}

impl DialError {
    /// What to do about it, when there is more to say than to check address and network.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoProxy(..) => {
                Some("check --proxy and HTTPS_PROXY; --proxy none goes without one")
            }
            Self::ProxyRefuses(..) => Some(
                "a proxy that wants a password gets it as in http://user:password@host:3128; one \
                 that allows only port 443 needs a server that listens there",
            ),
            Self::Untrusted(_) => Some(
                "if the server has a certificate of your own authority, name that with --tls-ca",
            ),
            Self::Io(_) | Self::NoName(_) => None,
        }
    }
}

/// A proxy that the user names.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Option<String>);

/// Not the URL of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a proxy looks like http://host:3128 or socks5h://user:password@host:1080; or `none`")]
pub struct BadProxyUrl;

impl FromStr for ProxyUrl {
    type Err = BadProxyUrl;

    fn from_str(text: &str) -> Result<Self, BadProxyUrl> {
        if text == "none" {
            return Ok(Self(None));
        }
        let uri: Uri = text.parse().map_err(|_| BadProxyUrl)?;
        let known = matches!(uri.scheme_str(), Some("http" | "socks5" | "socks5h"));
        let plain = uri.path_and_query().is_none_or(|rest| rest.as_str() == "/");
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        let valid = known && plain && has_host;
        valid.then(|| Self(Some(text.to_owned()))).ok_or(BadProxyUrl)
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ProxyUrl(..)" } else { "ProxyUrl(none)" })
    }
}

/// Authorities that are trusted beside those of the system.
#[derive(Clone, Debug, Default)]
pub struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// Reads certificates in PEM form.
    ///
    /// # Errors
    /// When the file cannot be read or holds none.
    pub fn read(path: &Path) -> Result<Self, pem::Error> {
        let found: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
        if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(Self(found)) }
    }
}

/// Opens streams.
#[derive(Clone, Default)]
pub struct Dialer {
    proxy: Proxy,
    authorities: Authorities,
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
}

/// Where the proxy comes from.
#[derive(Clone, Default)]
enum Proxy {
    /// The environment; never for this machine and private networks.
    #[default]
    OfEnvironment,
    /// The user, for everything.
    Named(Arc<Matcher>),
    None,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer(..)")
    }
}

impl Dialer {
    /// A dialer that uses this proxy, or without one that of the environment (`HTTPS_PROXY`,
    /// `ALL_PROXY`, `NO_PROXY`), and trusts these authorities, too.
    #[must_use]
    pub fn new(proxy: Option<&ProxyUrl>, authorities: Authorities) -> Self {
        let proxy = match proxy {
            None => Proxy::OfEnvironment,
            Some(ProxyUrl(None)) => Proxy::None,
            Some(ProxyUrl(Some(url))) => {
                Proxy::Named(Arc::new(Matcher::builder().all(url.clone()).build()))
            }
        };
        Self { proxy, authorities, tls: Arc::default() }
    }

    /// Opens a TCP stream.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn tcp(&self, host: &str, port: u16) -> Result<Stream, DialError> {
        Ok(Box::new(self.connect(host, port).await?))
    }

    /// Opens a TLS stream.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn tls(&self, host: &str, port: u16) -> Result<Stream, DialError> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| DialError::NoName(host.to_owned()))?;
        let (stream, config) = tokio::join!(self.connect(host, port), self.tls_config());
        let connected = TlsConnector::from(config).connect(name, stream?).await;
        Ok(Box::new(connected.map_err(handshake_error)?))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let destination = destination(host, port)?;
        let stream = match self.proxy.for_destination(host, &destination) {
            Some(proxy) => through(&proxy, destination).await?,
            None => straight(host, port).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The configuration of TLS, which takes reading all the system's authorities.
    async fn tls_config(&self) -> Arc<ClientConfig> {
        if let Some(config) = self.tls.get() {
            return config.clone();
        }
        let authorities = self.authorities.clone();
        let made = tokio::task::spawn_blocking(move || tls_config(authorities)).await;
        let made = made.expect("reading certificates does not panic");
        self.tls.get_or_init(|| made).clone()
    }
}

impl Proxy {
    fn for_destination(&self, host: &str, destination: &Uri) -> Option<Intercept> {
        match self {
            Self::OfEnvironment if is_near(host) => None,
            Self::OfEnvironment => Matcher::from_env().intercept(destination),
            Self::Named(matcher) => matcher.intercept(destination),
            Self::None => None,
        }
    }
}

/// Whether a proxy of the environment is of no use for a host: it stands elsewhere.
fn is_near(host: &str) -> bool {
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => {
            v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unique_local()
        }
        Err(_) => host == "localhost",
    }
}

fn destination(host: &str, port: u16) -> Result<Uri, DialError> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let uri = format!("https://{host}:{port}/").parse();
    uri.map_err(|_| DialError::Io(io::Error::new(io::ErrorKind::InvalidInput, "not a host")))
}

/// Connects to a host by name or address. A link-local address without a zone, as the sender
/// shows it, is tried on every interface.
async fn straight(host: &str, port: u16) -> io::Result<TcpStream> {
    match host.parse::<Ipv6Addr>() {
        Ok(address) if address.is_unicast_link_local() => {
            let on = |zone| SocketAddr::from(SocketAddrV6::new(address, port, 0, zone));
            let tries: Vec<_> = interfaces::zones().into_iter().map(on).collect();
            TcpStream::connect(&*tries).await
        }
        _ => TcpStream::connect((host, port)).await,
    }
}

async fn through(proxy: &Intercept, destination: Uri) -> Result<TcpStream, DialError> {
    let uri = proxy.uri().clone();
    let name = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(0));
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    let opened = if uri.scheme_str().is_some_and(|scheme| scheme.starts_with("socks5")) {
        let mut socks = SocksV5::new(uri, connector).local_dns(false);
        if let Some((user, password)) = proxy.raw_auth() {
            socks = socks.with_auth(user.to_owned(), password.to_owned());
        }
        socks.call(destination).await.map_err(|error| refused(name, &error))
    } else {
        let mut tunnel = Tunnel::new(uri, connector);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        tunnel.call(destination).await.map_err(|error| refused(name, &error))
    };
    opened.map(TokioIo::into_inner)
}

/// What a proxy's failure means: something beneath it failed, or it said no.
fn refused(proxy: String, error: &(dyn std::error::Error + 'static)) -> DialError {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    // The error of SOCKS keeps to itself what it was made of.
    let said = error.to_string();
    if deepest.is::<io::Error>() || said.contains("underlying connection") {
        DialError::NoProxy(proxy, deepest.to_string())
    } else {
        DialError::ProxyRefuses(proxy, deepest.to_string())
    }
}

fn tls_config(Authorities(own): Authorities) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(own);
    // Certificates that the system has and this library does not understand vouch for nobody.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows the versions of TLS");
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

fn handshake_error(error: io::Error) -> DialError {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(cause @ rustls::Error::InvalidCertificate(_)) => DialError::Untrusted(cause.clone()),
        _ => DialError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_as_people_write_them_and_passwords_not_shown() {
        for good in ["http://proxy:3128", "socks5://10.0.0.1:1080", "socks5h://u:p@host:1/", "none"]
        {
            assert!(good.parse::<ProxyUrl>().is_ok(), "{good}");
        }
        for bad in ["", "proxy:3128", "ftp://proxy", "http://", "http://a/path", "socks4://a:1"] {
            assert_eq!(bad.parse::<ProxyUrl>(), Err(BadProxyUrl), "{bad}");
        }
        let shown = format!("{:?}", "http://user:secret@host:1".parse::<ProxyUrl>());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn this_machine_and_its_network_need_no_proxy_of_the_environment() {
        for near in ["localhost", "127.0.0.1", "10.1.2.3", "::1", "fe80::1", "::ffff:192.168.0.1"] {
            assert!(is_near(near), "{near}");
        }
        for far in ["example.org", "192.0.2.1", "2001:db8::1"] {
            assert!(!is_near(far), "{far}");
        }
    }

    #[test]
    fn a_named_proxy_is_for_everything() {
        let proxy = |url: &str| Dialer::new(Some(&url.parse().unwrap()), Authorities::default());
        let chosen = |dialer: &Dialer, host| {
            let chosen = dialer.proxy.for_destination(host, &destination(host, 1).unwrap());
            chosen.map(|proxy| proxy.uri().to_string())
        };
        let named = proxy("http://box:3128");
        assert_eq!(chosen(&named, "127.0.0.1").as_deref(), Some("http://box:3128/"));
        assert_eq!(chosen(&named, "2001:db8::1").as_deref(), Some("http://box:3128/"));
        assert_eq!(chosen(&proxy("none"), "example.org"), None);
    }
}
