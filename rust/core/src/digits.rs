//! Multiplicities in binary, as [`crate::panels`] looks up sums under them.
//!
//! Episodes stand in groups of six. The lowest binary digits of a group's multiplicities in one
//! replicate are the number of a subset of the group, and so are the second ones. What is above them
//! (one Poisson draw in fifty is more than 3) is kept as a list.

use crate::lanes::vectorise;
use crate::resample::OCTET;

/// Episodes to a group.
pub(crate) const GROUP: usize = 6;
/// Groups to a stretch.
pub(crate) const GROUPS: usize = 8;
const STRETCH: usize = GROUP * GROUPS;

/// The two lowest digits of a stretch's multiplicities: for each replicate of an octet a byte to each
/// group, the first group lowest, with a bit to each episode, the first lowest.
pub(crate) type Low = [[u64; OCTET]; 2];

/// What is above them, of one episode for each replicate of an octet.
#[derive(Clone, Copy)]
pub(crate) struct High {
    /// The first of the episodes.
    first: u16,
    pub(crate) episodes: [u16; OCTET],
    /// Multiples of 4, or 0 where a replicate has no more of them.
    pub(crate) multiplicities: [f64; OCTET],
}

/// The multiplicities of some episodes under some octets of replicates.
#[derive(Default)]
pub(crate) struct Digits {
    octets: usize,
    /// By stretch and octet.
    low: Vec<Low>,
    /// By octet; each replicate's episodes ascend.
    high: Vec<Vec<High>>,
}

impl Digits {
    /// Makes room for as many episodes under as many octets, all of which are to be put.
    pub(crate) fn begin(&mut self, episodes: usize, octets: usize) {
        self.octets = octets;
        let stretches = episodes.div_ceil(STRETCH);
        self.low.resize(stretches * octets, [[0; OCTET]; 2]);
        self.high.resize_with(octets, Vec::new);
    }

    /// Takes the multiplicities of all episodes under one octet.
    pub(crate) fn put(&mut self, octet: usize, multiplicities: &[[u32; OCTET]]) {
        let low = self.low[octet..].iter_mut().step_by(self.octets);
        vectorise(
            #[inline(always)]
            || {
                for (low, m) in low.zip(multiplicities.chunks(STRETCH)) {
                    *low = lowest(m);
                }
            },
        );
        let high = &mut self.high[octet];
        high.clear();
        let mut lengths = [0; OCTET];
        for (episode, m) in (0..).zip(multiplicities) {
            if m.iter().fold(0, |all, m| all | m) <= 3 {
                continue;
            }
            for (replicate, m) in m.iter().enumerate().filter(|(_, m)| **m > 3) {
                let length = &mut lengths[replicate];
                if *length == high.len() {
                    high.push(High {
                        first: episode,
                        episodes: [0; OCTET],
                        multiplicities: [0.0; OCTET],
                    });
                }
                let high = &mut high[*length];
                high.first = high.first.min(episode);
                high.episodes[replicate] = episode;
                high.multiplicities[replicate] = f64::from(m & !3);
                *length += 1;
            }
        }
    }

    /// The two lowest digits in a stretch, by octet.
    pub(crate) fn low(&self, stretch: usize) -> &[Low] {
        &self.low[stretch * self.octets..][..self.octets]
    }

    /// What is above them, by octet, as far as some of the episodes are before the `end`.
    pub(crate) fn high(&self, end: usize) -> impl Iterator<Item = &[High]> {
        let before = move |high: &High| usize::from(high.first) < end;
        self.high
            .iter()
            .map(move |high| &high[..high.partition_point(before)])
    }
}

#[inline(always)]
fn lowest(multiplicities: &[[u32; OCTET]]) -> Low {
    let mut low = [[0; OCTET]; 2];
    for (group, m) in multiplicities.chunks(GROUP).enumerate() {
        let mut subsets = [[0_u32; OCTET]; 2];
        for (episode, m) in m.iter().enumerate() {
            for (digit, subsets) in subsets.iter_mut().enumerate() {
                for (subset, m) in subsets.iter_mut().zip(m) {
                    *subset |= (m >> digit & 1) << episode;
                }
            }
        }
        for (low, subset) in low
            .as_flattened_mut()
            .iter_mut()
            .zip(subsets.as_flattened())
        {
            *low |= u64::from(*subset) << (8 * group);
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn digits_make_up_the_multiplicities(
            octets in prop::collection::vec(prop::array::uniform8(0..=u32::from(u16::MAX)), 1..120),
            most in prop_oneof![Just(4_u32), Just(13), Just(1 << 16)],
        ) {
            let wanted: Vec<_> = octets.iter().map(|m| m.map(|m| m % most)).collect();
            let mut digits = Digits::default();
            // What was there before is gone.
            digits.begin(200, 2);
            digits.put(1, &vec![[9; OCTET]; 200]);
            digits.begin(wanted.len(), 2);
            digits.put(0, &vec![[0; OCTET]; wanted.len()]);
            digits.put(1, &wanted);
            let mut found = vec![[0; OCTET]; wanted.len()];
            for (episode, found) in found.iter_mut().enumerate() {
                let [low, high] = digits.low(episode / STRETCH)[1];
                let bit = episode % STRETCH / GROUP * 8 + episode % GROUP;
                *found = std::array::from_fn(|r| (low[r] >> bit & 1 | (high[r] >> bit & 1) << 1) as u32);
            }
            for end in [0, wanted.len() / 2, wanted.len()] {
                let mut found = found.clone();
                for high in digits.high(end).nth(1).into_iter().flatten() {
                    for (replicate, more) in high.multiplicities.iter().enumerate() {
                        found[usize::from(high.episodes[replicate])][replicate] += *more as u32;
                    }
                }
                prop_assert_eq!(&found[..end], &wanted[..end]);
            }
        }
    }
}
