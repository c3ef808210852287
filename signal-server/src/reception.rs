//! What a TCP connection speaks: the first byte tells TLS, HTTP and STUN apart (RFC 9443 does the
//! same for UDP). Lets connections in, takes TLS off, and hands them to `http` or `turn`. Started
//! by `run`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::admission::{Bytes, Guest, Guests, REQUEST_TIME, Socket, Stopping, Welcome};
use crate::tls::Tls;
use crate::turn::Turn;

/// A connection of either kind.
pub(crate) type Stream = Box<dyn Bytes>;

/// The first byte of a TLS handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Larger reads go past the buffer, which is there for the first byte.
const PEEK_BUFFER: usize = 256;

/// How long to wait when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything that a connection may be handed to.
#[derive(Clone)]
pub(crate) struct Reception {
    pub(crate) guests: Arc<Guests>,
    pub(crate) tls: Option<Tls>,
    pub(crate) http: mpsc::Sender<(Socket, std::net::SocketAddr)>,
    pub(crate) turn: Option<Arc<Turn>>,
    pub(crate) stopping: Stopping,
}

/// What a first byte announces.
enum Speech {
    Tls,
    Http,
    Stun,
}

impl Reception {
    /// Lets in whoever comes to a listener. Runs until it is dropped.
    pub(crate) async fn serve(self, listener: TcpListener) {
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "nobody was let in");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(guest) = self.guests.admit(address) else {
                tracing::debug!("a connection too many");
                continue;
            };
            tokio::spawn(self.clone().receive(stream, guest));
        }
    }

    async fn receive(self, stream: TcpStream, guest: Guest) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let mut stopping = self.stopping.clone();
        let sorted = tokio::select! {
            sorted = timeout(REQUEST_TIME, self.sort(stream)) => sorted,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        match (sorted, &self.turn) {
            (Ok(Ok((Speech::Http, stream))), _) => {
                let address = guest.address;
                let socket = Socket::new(stream, guest, self.stopping);
                // An error means that the server ends.
                let _ = self.http.send((socket, address)).await;
            }
            (Ok(Ok((Speech::Stun, stream))), Some(turn)) if guest.welcome == Welcome::Come => {
                turn.serve_stream(stream, guest.address, self.stopping).await;
            }
            (Ok(Err(error)), _) => tracing::debug!(%error, "a connection that makes no sense"),
            _ => {}
        }
    }

    /// Finds out what a connection speaks, under TLS if it is under that.
    async fn sort(&self, stream: TcpStream) -> io::Result<(Speech, Stream)> {
        let mut plain = BufReader::with_capacity(PEEK_BUFFER, stream);
        let speech = listen(&mut plain).await?;
        let (Speech::Tls, Some(Tls(acceptor))) = (&speech, &self.tls) else {
            return Ok((speech, Box::new(plain)));
        };
        let inside = acceptor.accept(plain).await?;
        let mut inside = BufReader::with_capacity(PEEK_BUFFER, inside);
        let speech = listen(&mut inside).await?;
        Ok((speech, Box::new(inside)))
    }
}

async fn listen(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Speech> {
    match stream.fill_buf().await?.first() {
        Some(&TLS_HANDSHAKE) => Ok(Speech::Tls),
        Some(0..=3) => Ok(Speech::Stun),
        Some(_) => Ok(Speech::Http),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
