//! The public map from nameplates to waiting slots, and the rest that a nameplate is given after
//! its slot is gone. Used by `rooms::slots`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::protocol::{Nameplate, Refusal, RoomId};

/// How many nameplates may rest. More than that, and the oldest is free again early: memory stays
/// bounded, and with the default number of rooms a nameplate never needs more than five digits.
const RESTING_AT_MOST: usize = 10_000;

/// Who waits behind which nameplate.
pub(super) struct Nameplates {
    quarantine: Duration,
    live: HashMap<Nameplate, RoomId>,
    resting: HashSet<Nameplate>,
    /// When each rest ends; all rests are equally long, so the first ends first.
    rests: VecDeque<(Instant, Nameplate)>,
}

impl Nameplates {
    pub(super) fn new(quarantine: Duration) -> Self {
        Self { quarantine, live: HashMap::new(), resting: HashSet::new(), rests: VecDeque::new() }
    }

    /// The slot behind a nameplate.
    pub(super) fn slot(&self, nameplate: &Nameplate) -> Option<&RoomId> {
        self.live.get(nameplate)
    }

    /// Refuses a nameplate that is live or rests.
    pub(super) fn check_free(&mut self, wish: &Nameplate, now: Instant) -> Result<(), Refusal> {
        self.end_rests(now);
        if self.is_taken(wish) { Err(Refusal::NameplateTaken) } else { Ok(()) }
    }

    fn is_taken(&self, nameplate: &Nameplate) -> bool {
        self.live.contains_key(nameplate) || self.resting.contains(nameplate)
    }

    /// Puts a slot behind a nameplate that was chosen.
    pub(super) fn hang(&mut self, nameplate: Nameplate, slot: RoomId) {
        self.live.insert(nameplate, slot);
    }

    /// Takes a nameplate out of the map; it rests from now on.
    pub(super) fn retire(&mut self, nameplate: &Nameplate, now: Instant) {
        if self.live.remove(nameplate).is_none() {
            return;
        }
        self.resting.insert(nameplate.clone());
        self.rests.push_back((now + self.quarantine, nameplate.clone()));
        if self.rests.len() > RESTING_AT_MOST {
            self.end_first_rest();
        }
    }

    fn end_rests(&mut self, now: Instant) {
        while self.rests.front().is_some_and(|(until, _)| *until <= now) {
            self.end_first_rest();
        }
    }

    fn end_first_rest(&mut self) {
        if let Some((_, nameplate)) = self.rests.pop_front() {
            self.resting.remove(&nameplate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> RoomId {
        RoomId::from_128_bits([1; 16])
    }

    fn filled(numbers: impl IntoIterator<Item = u32>) -> Nameplates {
        let mut nameplates = Nameplates::new(Duration::from_secs(3600));
        for number in numbers {
            nameplates.hang(Nameplate::number(number), slot());
        }
        nameplates
    }

    #[test]
    fn a_wish_is_granted_unless_it_is_live_or_rests() {
        let now = Instant::now();
        let lan = Nameplate::lan(42);
        let mut nameplates = filled([]);
        assert_eq!(nameplates.check_free(&lan, now), Ok(()));
        nameplates.hang(lan.clone(), slot());
        let again = nameplates.check_free(&lan, now);
        assert_eq!(again, Err(Refusal::NameplateTaken));
        nameplates.retire(&lan, now);
        assert_eq!(nameplates.slot(&lan), None);
        let resting = nameplates.check_free(&lan, now + Duration::from_secs(3599));
        assert_eq!(resting, Err(Refusal::NameplateTaken));
        let later = nameplates.check_free(&lan, now + Duration::from_secs(3600));
        assert_eq!(later, Ok(()));
    }

    #[test]
    fn the_quarantine_is_bounded_and_forgets_the_oldest() {
        let now = Instant::now();
        let many = u32::try_from(RESTING_AT_MOST).expect("a small number");
        let mut nameplates = filled(1..=many + 1);
        for number in 1..=many + 1 {
            nameplates.retire(&Nameplate::number(number), now);
        }
        assert_eq!(nameplates.resting.len(), RESTING_AT_MOST);
        assert_eq!(nameplates.rests.len(), RESTING_AT_MOST);
        assert!(!nameplates.is_taken(&Nameplate::number(1)));
        assert!(nameplates.is_taken(&Nameplate::number(2)));
    }
}
