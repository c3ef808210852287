//! The rendezvous server inside the sender's own process, for when no server is configured.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4},
};

use p2pshare_signal::{Config, Hosts, protocol::DEFAULT_PORT};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Ports tried in turn, before any free one is taken. A receiver on the same machine knocks at
/// all of them.
pub const PORTS: std::ops::Range<u16> = DEFAULT_PORT..DEFAULT_PORT + 8;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// A running server; it ends when this is [stopped](Embedded::stop) or dropped.
#[derive(Debug)]
pub struct Embedded {
    port: u16,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Embedded {
    /// Listens on all addresses, IPv6 and IPv4, at the preferred port or the next free one.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start() -> io::Result<Self> {
        let listener = PORTS.chain([0]).find_map(|port| listen(port).ok());
        let listener = listener.map_or_else(|| listen(0), Ok)?;
        let port = listener.local_addr()?.port();
        let listener = TcpListener::from_std(listener)?;
        let (shutdown, stopped) = oneshot::channel();
        let stopped = async {
            // A sender that was dropped means the same as one that spoke.
            let _ = stopped.await;
        };
        // It has no name, and a browser of this network must not be led to it by one.
        let config = Config { hosts: Hosts::Local, ..Config::default() };
        let task = tokio::spawn(p2pshare_signal::run(listener, config, stopped));
        Ok(Self { port, shutdown, task })
    }

    /// The TCP port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address at which this process reaches it.
    #[must_use]
    pub fn own_address(&self) -> SocketAddr {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Ends the server and waits until its sockets are closed.
    pub async fn stop(self) {
        drop(self.shutdown);
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "embedded server"),
            Err(error) => tracing::error!(%error, "embedded server"),
        }
    }
}

/// Both families on one socket, or IPv4 alone where there is no IPv6.
fn listen(port: u16) -> io::Result<std::net::TcpListener> {
    bind(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into())
        .or_else(|_| bind(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into()))
}

fn bind(domain: Domain, address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
