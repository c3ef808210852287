//! One TCP connection: what the systems' own stacks do on the same path.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
};

use p2pshare::proto::Role;

use super::{
    contender::{Ends, Measured, Scene},
    process::Running,
};

/// Bytes that are read or written at once.
const PIECE: usize = 256 * 1024;

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nowhere.
    Memory,
    /// Into a file, which is flushed to the disk.
    File,
}

pub(crate) fn run(scene: &Scene<'_>, target: Target) -> Result<Measured, String> {
    let Scene { place, content, .. } = scene;
    let mut receiver = place.own(Role::Receiver, &["tcp-receive"]);
    receiver.arg(format!("{}:0", place.address(Role::Receiver)));
    if target == Target::File {
        receiver.arg(scene.target.join("file"));
    }
    let mut receiver = Running::start(receiver);
    let address = receiver.wait_for(address)?;
    let sender = place.own(Role::Sender, &["tcp-send", &address, &content.bytes.to_string()]);
    let measured = Ends::sender_joins(receiver, sender).finish(scene)?;
    if measured.finished && target == Target::File {
        scene.check();
    }
    Ok(measured)
}

/// What a child of this program that listens says first.
pub(crate) fn address(line: &str) -> Option<String> {
    line.strip_prefix("listening at ").map(str::to_owned)
}

/// The child that receives.
pub(crate) fn receive(listen: SocketAddr, file: Option<&Path>) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    println!("listening at {}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    let mut file = file.map(File::create).transpose()?;
    let mut piece = vec![0; PIECE];
    loop {
        match stream.read(&mut piece)? {
            0 => break,
            length => file.iter_mut().try_for_each(|file| file.write_all(&piece[..length]))?,
        }
    }
    file.iter().try_for_each(File::sync_all)?;
    stream.write_all(&[1])
}

/// The child that sends.
pub(crate) fn send(to: SocketAddr, mut bytes: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    let piece = vec![7; PIECE];
    while bytes > 0 {
        let length = usize::try_from(bytes).map_or(PIECE, |bytes| bytes.min(PIECE));
        stream.write_all(&piece[..length])?;
        bytes -= length as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])
}
