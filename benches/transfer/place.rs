//! Where the two ends of a transfer are: on one machine, on a LAN, or at the ends of a line.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use p2pshare::proto::Role;

use super::{
    line::{Line, Shape},
    namespace::Namespace,
};

/// Addresses that are nobody's (RFC 5737).
const ADDRESSES: [&str; 2] = ["198.51.100.1", "198.51.100.2"];

/// What kind of place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// One machine.
    Loopback,
    /// Two, joined by a cable.
    Lan,
    /// Two, with a line between them.
    Line(Shape),
}

/// A place; it is gone when it is dropped. The line is the first to go.
pub(crate) struct Place {
    pub(crate) line: Option<Line>,
    namespaces: Option<[Namespace; 2]>,
}

impl Place {
    /// Makes one; the seed is that of a line's losses.
    ///
    /// # Errors
    /// Why it cannot be made here.
    pub(crate) fn new(kind: Kind, seed: u64) -> Result<Self, String> {
        if kind == Kind::Loopback {
            return Ok(Self { line: None, namespaces: None });
        }
        let namespaces = [Namespace::new()?, Namespace::new()?];
        let [first, second] = &namespaces;
        let ends = [(first, ADDRESSES[0]), (second, ADDRESSES[1])];
        let line = match kind {
            Kind::Line(shape) => Some(Line::new(shape, seed, ends)),
            Kind::Loopback | Kind::Lan => {
                Namespace::join(ends);
                None
            }
        };
        namespaces.iter().for_each(Namespace::wait_until_usable);
        Ok(Self { line, namespaces: Some(namespaces) })
    }

    /// A program that is to run at one end.
    pub(crate) fn command(&self, end: Role, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        match &self.namespaces {
            None => Command::new(program),
            Some(namespaces) => {
                let program = program.to_str().expect("the folder of the project is UTF-8");
                namespaces[index(end)].command(program)
            }
        }
    }

    /// This benchmark itself, which is to play a part at one end.
    pub(crate) fn own(&self, end: Role, part: &[&str]) -> Command {
        let program = std::env::current_exe().expect("the system knows what it runs");
        let mut command = self.command(end, program);
        command.args(part);
        command
    }

    /// The address of one end.
    pub(crate) fn address(&self, end: Role) -> &'static str {
        if self.namespaces.is_some() { ADDRESSES[index(end)] } else { "127.0.0.1" }
    }
}

fn index(end: Role) -> usize {
    match end {
        Role::Sender => 0,
        Role::Receiver => 1,
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Lan => f.write_str("two machines and a cable"),
            Self::Line(Shape { round_trip, rate, queue, loss }) => write!(
                f,
                "{} ms, {} Mbit/s, queue {} KiB, loss {} %",
                round_trip.as_millis(),
                rate / 1_000_000,
                queue / 1024,
                loss * 100.0,
            ),
        }
    }
}

/// Settings of the system, all over the machine; what they were is put back when this is dropped.
pub(crate) struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// Has the system grant socket buffers of at most so many bytes.
    ///
    /// # Errors
    /// Why that cannot be done: it takes root.
    pub(crate) fn socket_buffers(bytes: u32) -> Result<Self, String> {
        let bytes = bytes.to_string();
        Self::set([("core/rmem_max", &bytes), ("core/wmem_max", &bytes)])
    }

    /// TCP as most systems have it, in the places that are made from now on: CUBIC, and BBR for
    /// nobody but root.
    ///
    /// # Errors
    /// As of [`Settings::socket_buffers`].
    pub(crate) fn usual_tcp() -> Result<Self, String> {
        Self::set([
            ("ipv4/tcp_congestion_control", "cubic"),
            ("ipv4/tcp_allowed_congestion_control", "reno cubic"),
        ])
    }

    fn set<const N: usize>(settings: [(&'static str, &str); N]) -> Result<Self, String> {
        // One may change another.
        let before = settings.map(|(name, _)| {
            let was = fs::read_to_string(path(name)).map_err(|error| format!("{name}: {error}"))?;
            Ok((name, was))
        });
        let before = Self(before.into_iter().collect::<Result<_, String>>()?);
        for (name, value) in settings {
            fs::write(path(name), value).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(before)
    }
}

fn path(setting: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(setting)
}

impl Drop for Settings {
    fn drop(&mut self) {
        for (name, before) in &self.0 {
            if let Err(error) = fs::write(path(name), before) {
                super::note(&format!("{name} was {}: {error}", before.trim()));
            }
        }
    }
}
