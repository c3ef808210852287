//! How many refusals one source is told of: enough for every honest client, too few to be worth
//! sending with somebody else's address. A table of fixed size, whatever the number of sources.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use crate::limits::Source;

/// Counters. Sources that share one share its budget.
const SLOTS: usize = 16 * 1024;

/// Refusals that are told between two resets, which are some seconds apart.
const BUDGET: u8 = 100;

pub(crate) struct Fuse {
    told: Vec<u8>,
    hasher: RandomState,
}

impl Default for Fuse {
    fn default() -> Self {
        Self { told: vec![0; SLOTS], hasher: RandomState::new() }
    }
}

impl Fuse {
    /// Whether a source may be told once more.
    pub(crate) fn allows(&mut self, source: IpAddr) -> bool {
        let hash = self.hasher.hash_one(Source::from(source));
        let slot = usize::try_from(hash % SLOTS as u64).unwrap_or_default();
        let told = &mut self.told[slot];
        *told = told.saturating_add(1);
        *told <= BUDGET
    }

    /// Everybody starts anew.
    pub(crate) fn reset(&mut self) {
        self.told.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_told_a_hundred_times_and_again_after_a_reset() {
        let mut fuse = Fuse::default();
        let source = "192.0.2.1".parse().unwrap();
        let told = (0..1_000).filter(|_| fuse.allows(source)).count();
        assert_eq!(told, usize::from(BUDGET));
        fuse.reset();
        assert!(fuse.allows(source));
    }
}
