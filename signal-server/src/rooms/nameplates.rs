//! The public map from nameplates to waiting slots, and the rest that a nameplate is given after
//! its slot is gone. Draws no random numbers itself; used by `rooms::slots`.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::protocol::{Nameplate, Refusal, RoomId};

/// How many nameplates may rest. More than that, and the oldest is free again early: memory stays
/// bounded, and with the default number of rooms a nameplate never needs more than five digits.
const RESTING_AT_MOST: usize = 10_000;

/// The longest number, in digits.
const MOST_DIGITS: u32 = 7;

/// Who waits behind which nameplate.
pub(super) struct Nameplates {
    quarantine: Duration,
    live: HashMap<Nameplate, RoomId>,
    resting: HashSet<Nameplate>,
    /// When each rest ends; all rests are equally long, so the first ends first.
    rests: VecDeque<(Instant, Nameplate)>,
    /// The live and resting nameplates that are plain numbers.
    numbers: BTreeSet<u32>,
}

impl Nameplates {
    pub(super) fn new(quarantine: Duration) -> Self {
        Self {
            quarantine,
            live: HashMap::new(),
            resting: HashSet::new(),
            rests: VecDeque::new(),
            numbers: BTreeSet::new(),
        }
    }

    /// The slot behind a nameplate.
    pub(super) fn slot(&self, nameplate: &Nameplate) -> Option<&RoomId> {
        self.live.get(nameplate)
    }

    /// A nameplate for a new slot: the one that was asked for, or a free number.
    pub(super) fn choose(
        &mut self,
        wish: Option<Nameplate>,
        random: u64,
        now: Instant,
    ) -> Result<Nameplate, Refusal> {
        self.end_rests(now);
        match wish {
            Some(nameplate) if self.is_taken(&nameplate) => Err(Refusal::NameplateTaken),
            Some(nameplate) => Ok(nameplate),
            None => self.free_number(random).map(Nameplate::number).ok_or(Refusal::Full),
        }
    }

    fn is_taken(&self, nameplate: &Nameplate) -> bool {
        self.live.contains_key(nameplate) || self.resting.contains(nameplate)
    }

    /// Puts a slot behind a nameplate that was chosen.
    pub(super) fn hang(&mut self, nameplate: Nameplate, slot: RoomId) {
        self.numbers.extend(plain_number(&nameplate));
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
            if let Some(number) = plain_number(&nameplate) {
                self.numbers.remove(&number);
            }
        }
    }

    /// Any of the free numbers of the shortest length that has at least half of its numbers free,
    /// each as likely as the other: short to type, and the next one cannot be foretold.
    fn free_number(&self, random: u64) -> Option<u32> {
        (1..=MOST_DIGITS).find_map(|digits| {
            let first = 10_u32.pow(digits - 1);
            let all = first * 9;
            let taken = self.numbers.range(first..first * 10);
            let free = all.checked_sub(u32::try_from(taken.clone().count()).ok()?)?;
            if free < all.div_ceil(2) {
                return None;
            }
            let choice = u32::try_from(random % u64::from(free)).ok()?;
            // The number with `choice` free ones before it: each taken one on the way shifts it.
            Some(taken.fold(first + choice, |at, taken| at + u32::from(*taken <= at)))
        })
    }
}

fn plain_number(nameplate: &Nameplate) -> Option<u32> {
    nameplate.as_str().parse().ok()
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
    fn every_free_number_of_the_shortest_length_can_be_drawn_and_no_taken_one() {
        let nameplates = filled([1, 2, 5, 9]);
        let drawn: Vec<_> = (0..5).map(|random| nameplates.free_number(random)).collect();
        assert_eq!(drawn, [3, 4, 6, 7, 8].map(Some));
    }

    #[test]
    fn a_length_is_left_when_more_than_half_of_it_is_taken() {
        assert_eq!(filled(1..=4).free_number(0), Some(5));
        assert_eq!(filled(1..=5).free_number(0), Some(10));
        assert_eq!(filled(1..=54).free_number(0), Some(55));
        assert_eq!(filled(1..=55).free_number(0), Some(100));
    }

    #[test]
    fn a_wish_is_granted_unless_it_is_live_or_rests() {
        let now = Instant::now();
        let lan = Nameplate::lan(42);
        let mut nameplates = filled([]);
        assert_eq!(nameplates.choose(Some(lan.clone()), 0, now), Ok(lan.clone()));
        nameplates.hang(lan.clone(), slot());
        let again = nameplates.choose(Some(lan.clone()), 0, now);
        assert_eq!(again, Err(Refusal::NameplateTaken));
        nameplates.retire(&lan, now);
        assert_eq!(nameplates.slot(&lan), None);
        let resting = nameplates.choose(Some(lan.clone()), 0, now + Duration::from_secs(3599));
        assert_eq!(resting, Err(Refusal::NameplateTaken));
        let later = nameplates.choose(Some(lan.clone()), 0, now + Duration::from_secs(3600));
        assert_eq!(later, Ok(lan));
    }

    #[test]
    fn a_resting_number_is_not_drawn() {
        let now = Instant::now();
        let mut nameplates = filled([1]);
        nameplates.retire(&Nameplate::number(1), now);
        assert_eq!(nameplates.choose(None, 0, now), Ok(Nameplate::number(2)));
        let later = now + Duration::from_secs(3600);
        assert_eq!(nameplates.choose(None, 0, later), Ok(Nameplate::number(1)));
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
        assert_eq!(nameplates.numbers.len(), RESTING_AT_MOST);
        assert!(!nameplates.is_taken(&Nameplate::number(1)));
        assert!(nameplates.is_taken(&Nameplate::number(2)));
    }
}
