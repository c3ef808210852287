//! How servers are reached.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// Bytes both ways.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A stream to a server.
pub type Stream = Box<dyn Bytes>;

/// Opens streams.
#[derive(Clone, Debug, Default)]
pub struct Dialer;

impl Dialer {
    /// A TCP stream.
    pub async fn tcp(&self, host: &str, port: u16) -> io::Result<Stream> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    /// TLS.
    pub async fn tls(&self, _host: &str, _port: u16) -> io::Result<Stream> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
