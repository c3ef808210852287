//! Finds out what a transfer waits for, once a second, from what was measured since the last time.
//! The receiver knows of its disk and processor, and tells the sender; the sender knows the rest,
//! and tells the receiver.

use std::time::{Duration, Instant};

use super::{figures::Figures, growth::Reason};
use crate::{
    disk::Spent,
    net::peer::Path,
    proto::{
        Role,
        frame::Frame,
        limit::{Limit, What},
    },
};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);

/// A line this short is within one machine or room: its rate is that of the processors, as long as
/// one of them is busy.
const SHORT: Duration = Duration::from_millis(3);

/// What happened in a while, in parts of that while; a part is between 0 and 1, unless several
/// processors worked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shares {
    /// Waiting for the files' bytes.
    pub for_messages: f64,
    /// Waiting for the receiver's credit.
    pub for_credit: f64,
    /// Waiting for place on the lanes.
    pub for_place: f64,
    /// Waiting because of the user's limit.
    pub for_limit: f64,
    /// Reading or writing files.
    pub disk: f64,
    /// Hashing.
    pub hashing: f64,
    /// What the process has used of a processor.
    pub processor: f64,
}

/// What the sender waits for, when the receiver has told what it waits for itself.
#[must_use]
pub fn of_sender(
    shares: &Shares,
    figures: &Figures,
    path: Path,
    told: Option<Limit>,
) -> Option<Limit> {
    let here = |what| Some(Limit { what, end: Role::Sender });
    let waits = [shares.for_limit, shares.for_credit, shares.for_messages, shares.for_place];
    let most = waits.iter().copied().fold(0.0, f64::max);
    if most < 0.2 {
        return here(What::Cpu); // It waits for nothing: sending is all it does.
    }
    #[expect(clippy::float_cmp, reason = "it is one of them")]
    let is = |wait: f64| wait == most;
    if is(shares.for_limit) {
        return here(What::Bwlimit);
    }
    if is(shares.for_credit) {
        return Some(told.unwrap_or(Limit { what: What::Disk, end: Role::Receiver }));
    }
    if is(shares.for_messages) {
        return here(if shares.disk > shares.hashing { What::Disk } else { What::Cpu });
    }
    let computing = shares.processor > 0.6 && figures.round < SHORT;
    match told {
        _ if figures.reason == Some(Reason::Lossy) && !computing => here(What::Loss),
        Some(told) if figures.round < SHORT => Some(told),
        _ if computing => here(What::Cpu),
        _ if path == Path::Relay => here(What::Relay),
        _ if figures.reason == Some(Reason::HeldBack) => here(What::Window),
        _ => here(What::Line),
    }
}

/// What the receiver waits for itself, if it does.
#[must_use]
pub fn of_receiver(shares: &Shares) -> Option<Limit> {
    let here = |what| Some(Limit { what, end: Role::Receiver });
    if shares.disk + shares.hashing > 0.8 {
        return here(if shares.disk > shares.hashing { What::Disk } else { What::Cpu });
    }
    if shares.processor > 0.9 { here(What::Cpu) } else { None }
}

/// What was measured in all, up to a moment.
#[derive(Clone, Copy, Debug)]
struct Measured {
    at: Instant,
    figures: Figures,
    disk: Duration,
    hashing: Duration,
    processor: Duration,
}

impl Measured {
    fn now(figures: Figures, spent: &Spent) -> Self {
        let (disk, hashing) = (spent.disk(), spent.hashing());
        Self { at: Instant::now(), figures, disk, hashing, processor: processor() }
    }

    /// What happened since another moment.
    fn since(&self, before: &Self) -> Shares {
        let whole = (self.at - before.at).as_secs_f64().max(f64::MIN_POSITIVE);
        let part = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / whole;
        let (now, then) = (&self.figures, &before.figures);
        Shares {
            for_messages: part(now.for_messages, then.for_messages),
            for_credit: part(now.for_credit, then.for_credit),
            for_place: part(now.for_place, then.for_place),
            for_limit: part(now.for_limit, then.for_limit),
            disk: part(self.disk, before.disk),
            hashing: part(self.hashing, before.hashing),
            processor: part(self.processor, before.processor),
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watch {
    before: Option<Measured>,
    /// What the other end has told.
    told: Option<Limit>,
    /// What is known to limit the transfer.
    pub(super) limit: Option<Limit>,
}

impl Watch {
    /// The other end tells what it knows.
    pub(super) fn hear(&mut self, told: Option<Limit>) {
        self.told = told;
    }

    /// Looks again, at the sender. What is to be told to the receiver, if anything.
    pub(super) fn look_at_sender(
        &mut self,
        figures: Figures,
        spent: &Spent,
        path: Path,
    ) -> Option<Frame> {
        let shares = self.shares(figures, spent)?;
        tracing::debug!(?figures, ?shares, "sending");
        self.found(of_sender(&shares, &figures, path, self.told))
    }

    /// Looks again, at the receiver. What is to be told to the sender, if anything.
    pub(super) fn look_at_receiver(&mut self, spent: &Spent) -> Option<Frame> {
        let shares = self.shares(Figures::NONE, spent)?;
        tracing::debug!(?shares, "receiving");
        self.found(of_receiver(&shares))
    }

    /// What limits the transfer, at an end which the other one tells that.
    pub(super) fn told(&self) -> Option<Limit> {
        self.told
    }

    fn shares(&mut self, figures: Figures, spent: &Spent) -> Option<Shares> {
        let now = Measured::now(figures, spent);
        let before = *self.before.get_or_insert(now);
        if now.at - before.at < EVERY {
            return None;
        }
        self.before = Some(now);
        Some(now.since(&before))
    }

    fn found(&mut self, limit: Option<Limit>) -> Option<Frame> {
        let before = std::mem::replace(&mut self.limit, limit);
        (before != limit).then_some(Frame::Limited(limit))
    }
}

/// The processor time that this process has used; nothing where that is not known.
#[cfg(unix)]
pub(super) fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(not(unix))]
pub(super) fn processor() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Figures = Figures { round: Duration::from_millis(20), ..Figures::NONE };
    const NEAR: Figures = Figures { round: Duration::from_micros(300), ..Figures::NONE };

    fn word(shares: Shares, figures: Figures, path: Path, told: Option<What>) -> String {
        let told = told.map(|what| Limit { what, end: Role::Receiver });
        of_sender(&shares, &figures, path, told).map_or_else(String::new, |limit| limit.to_string())
    }

    #[test]
    fn the_sender_says_what_it_waits_for_most() {
        let place = Shares { for_place: 0.9, ..Shares::default() };
        let busy = Shares { processor: 1.1, ..place };
        let credit = Shares { for_credit: 0.9, ..Shares::default() };
        let files = Shares { for_messages: 0.9, disk: 0.8, hashing: 0.1, ..Shares::default() };
        let hashes = Shares { disk: 0.1, hashing: 0.8, ..files };
        let lossy = Figures { reason: Some(Reason::Lossy), ..LONG };
        let full = Figures { reason: Some(Reason::HeldBack), ..LONG };
        for (shares, figures, path, told, expected) in [
            (Shares::default(), NEAR, Path::Lan, None, "cpu (sender)"),
            (Shares { for_limit: 0.7, ..place }, LONG, Path::Direct, None, "line"),
            (Shares { for_limit: 0.95, ..place }, LONG, Path::Direct, None, "bwlimit"),
            (credit, LONG, Path::Lan, None, "disk (receiver)"),
            (credit, LONG, Path::Lan, Some(What::Cpu), "cpu (receiver)"),
            (files, NEAR, Path::Lan, None, "disk (sender)"),
            (hashes, NEAR, Path::Lan, None, "cpu (sender)"),
            (place, LONG, Path::Direct, None, "line"),
            (place, NEAR, Path::Lan, None, "line"),
            (busy, NEAR, Path::Lan, None, "cpu (sender)"),
            (busy, NEAR, Path::Lan, Some(What::Cpu), "cpu (receiver)"),
            (place, LONG, Path::Relay, None, "relay"),
            (place, lossy, Path::Direct, None, "loss"),
            (place, full, Path::Direct, None, "window"),
        ] {
            assert_eq!(word(shares, figures, path, told), expected, "{shares:?} {figures:?}");
        }
    }

    #[test]
    fn the_receiver_knows_of_its_own_stages_only() {
        let shares =
            |disk, hashing, processor| Shares { disk, hashing, processor, ..Shares::default() };
        let word = |shares| of_receiver(&shares).map(|limit| limit.to_string());
        assert_eq!(word(shares(0.7, 0.2, 0.5)).as_deref(), Some("disk (receiver)"));
        assert_eq!(word(shares(0.2, 0.7, 0.5)).as_deref(), Some("cpu (receiver)"));
        assert_eq!(word(shares(0.1, 0.1, 1.2)).as_deref(), Some("cpu (receiver)"));
        assert_eq!(word(shares(0.1, 0.1, 0.2)), None);
    }
}
