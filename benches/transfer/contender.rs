//! Who is measured. Each sends the same content from one end of a place to the other; the clock
//! starts when the second of two ends is started, as with Enter, and stops when both have ended.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use p2pshare::proto::Role;

use super::{
    channel, others, p2pshare as product,
    place::{Place, Settings},
    process::{Line, Running, Used, last, wait_for_all},
    scp, tcp,
};

/// Who is measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Contender {
    /// The product.
    P2pshare(Variant),
    /// One TCP connection.
    Tcp(tcp::Target),
    /// A data channel of the library's, with nothing above it.
    Channel(channel::Packets),
    /// OpenSSH's scp.
    Scp,
    /// Another tool.
    Other(others::Tool),
}

/// How the product is used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Variant {
    /// What is said of it in the table.
    pub(crate) name: Option<String>,
    /// The sender's `--connections`.
    pub(crate) connections: Option<String>,
    /// The sender's `--lanes`.
    pub(crate) lanes: Option<&'static str>,
    /// The largest socket buffers that the system grants, where they are not left as they are.
    pub(crate) buffers: Option<u32>,
    /// One file is sent that is as large as all of the others.
    pub(crate) one_file: bool,
}

/// What is sent.
#[derive(Debug)]
pub(crate) struct Content {
    /// A file or a folder.
    pub(crate) path: PathBuf,
    /// One file of the same size.
    pub(crate) one_file: PathBuf,
    /// Of all files together.
    pub(crate) bytes: u64,
}

/// One run's surroundings.
pub(crate) struct Scene<'a> {
    pub(crate) place: &'a Place,
    pub(crate) content: &'a Content,
    /// An empty folder, for what arrives.
    pub(crate) target: &'a Path,
    /// A folder for keys and settings.
    pub(crate) home: &'a Path,
    /// After so long a run is broken off.
    pub(crate) patience: Duration,
}

/// What a run took.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) time: Duration,
    /// It was not broken off.
    pub(crate) finished: bool,
    /// At the sender and the receiver.
    pub(crate) used: [Used; 2],
    /// What the receiver said.
    pub(crate) said: Vec<Line>,
    pub(crate) started: Instant,
}

impl Contender {
    /// Why it cannot be measured here, if so.
    pub(crate) fn missing(&self) -> Option<String> {
        match self {
            Self::P2pshare(_) | Self::Tcp(_) | Self::Channel(_) => None,
            Self::Scp => scp::missing(),
            Self::Other(tool) => tool.missing(),
        }
    }

    /// Lets it send.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn run(&self, scene: &Scene<'_>) -> Result<Measured, String> {
        match self {
            Self::P2pshare(variant) => {
                let _granted = variant.buffers.map(Settings::socket_buffers).transpose()?;
                product::run(scene, variant)
            }
            Self::Tcp(target) => tcp::run(scene, *target),
            Self::Channel(packets) => channel::run(scene, *packets),
            Self::Scp => scp::run(scene),
            Self::Other(tool) => tool.run(scene),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P2pshare(Variant { name: None, .. }) => f.write_str("p2pshare"),
            Self::P2pshare(Variant { name: Some(name), .. }) => write!(f, "p2pshare, {name}"),
            Self::Tcp(tcp::Target::Memory) => f.write_str("TCP, memory to memory"),
            Self::Tcp(tcp::Target::File) => f.write_str("TCP, memory to file"),
            Self::Channel(channel::Packets::Safe) => f.write_str("bare data channel, 1,280"),
            Self::Channel(channel::Packets::Path) => f.write_str("bare data channel, path's MTU"),
            Self::Scp => f.write_str("scp"),
            Self::Other(tool) => f.write_str(tool.name()),
        }
    }
}

/// Both ends, running.
pub(crate) struct Ends {
    pub(crate) sender: Running,
    pub(crate) receiver: Running,
    pub(crate) started: Instant,
    /// The end that waits for more when everything has arrived.
    pub(crate) stays: Option<Role>,
}

impl Ends {
    /// Starts the receiver of a sender that waits.
    pub(crate) fn receiver_joins(sender: Running, receiver: Command) -> Self {
        let started = Instant::now();
        Self { sender, receiver: Running::start(receiver), started, stays: None }
    }

    /// Starts the sender to a receiver that waits.
    pub(crate) fn sender_joins(receiver: Running, sender: Command) -> Self {
        let started = Instant::now();
        Self { sender: Running::start(sender), receiver, started, stays: None }
    }

    /// Waits until everything has arrived.
    ///
    /// # Errors
    /// What was said last, when an end fails.
    pub(crate) fn finish(mut self, scene: &Scene<'_>) -> Result<Measured, String> {
        let until = self.started + scene.patience;
        let mut both = match self.stays {
            None => vec![&mut self.sender, &mut self.receiver],
            Some(Role::Sender) => vec![&mut self.receiver],
            Some(Role::Receiver) => vec![&mut self.sender],
        };
        let finished = wait_for_all(&mut both, until);
        let time = self.started.elapsed();
        if self.stays.is_some() || !finished {
            self.sender.stop();
            self.receiver.stop();
        }
        let stays = self.stays;
        let (sender, sender_well, sender_said) = self.sender.end();
        let (receiver, receiver_well, said) = self.receiver.end();
        let well = (sender_well || stays == Some(Role::Sender))
            && (receiver_well || stays == Some(Role::Receiver));
        if finished && !well {
            return Err(format!("it says {:?} and {:?}", last(&sender_said), last(&said)));
        }
        Ok(Measured { time, finished, used: [sender, receiver], said, started: self.started })
    }
}

impl Scene<'_> {
    /// Whether everything has arrived.
    ///
    /// # Panics
    /// When it has not.
    pub(crate) fn check(&self) {
        let arrived = size(self.target).expect("the folder is there");
        assert_eq!(arrived, self.content.bytes, "bytes in {}", self.target.display());
    }
}

/// Bytes of all files beneath a folder.
fn size(folder: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(total)
}
