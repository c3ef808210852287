//! What a transfer waits for, in one word.

use super::Role;

/// What limits a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// Reading or writing files.
    Disk,
    /// Computing: hashes, encryption, packets.
    Cpu,
    /// The window of a lane: it would take more lanes, or larger socket buffers.
    Window,
    /// Lost packets, after which a lane slows down.
    Loss,
    /// The rate of the network.
    Line,
    /// The rate of the relay between the two ends.
    Relay,
    /// The user's own limit.
    Bwlimit,
}

const WHATS: [(What, &str); 7] = [
    (What::Disk, "disk"),
    (What::Cpu, "cpu"),
    (What::Window, "window"),
    (What::Loss, "loss"),
    (What::Line, "line"),
    (What::Relay, "relay"),
    (What::Bwlimit, "bwlimit"),
];

impl What {
    /// Its number on the wire.
    #[must_use]
    pub fn code(self) -> u16 {
        let position = WHATS.iter().position(|(what, _)| *what == self);
        position.and_then(|position| u16::try_from(position).ok()).map_or(0, |code| code + 1)
    }

    /// What has a number; `None` for one of a later version.
    #[must_use]
    pub fn of_code(code: u16) -> Option<Self> {
        WHATS.get(usize::from(code.checked_sub(1)?)).map(|(what, _)| *what)
    }

    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        WHATS.iter().find(|(what, _)| *what == self).map_or("", |(_, word)| *word)
    }
}

/// What limits a transfer, and at which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// What it is.
    pub what: What,
    /// The end where it is; the sender for what lies between the two.
    pub end: Role,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.what {
            What::Disk | What::Cpu => write!(f, "{} ({})", self.what.word(), self.end.label()),
            _ => f.write_str(self.what.word()),
        }
    }
}
