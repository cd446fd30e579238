//! The largest importance weights, as many as the shape of their tail is fitted to
//! ([`crate::pareto`]); mergeable, and the same however the episodes are split.

use crate::lanes::largest;

/// Weights that are looked at together.
const STRETCH: usize = 64;

/// A collection of the largest of the weights that were offered to it.
#[derive(Debug, Clone)]
pub struct Tail {
    /// How many are wanted.
    room: usize,
    /// Weights up to here are not among them.
    floor: f64,
    kept: Vec<f64>,
}

impl Tail {
    /// For the `room` largest of the positive weights above `floor`.
    pub fn new(room: usize, floor: f64) -> Self {
        Self {
            room,
            floor,
            kept: Vec::new(),
        }
    }

    /// For none.
    pub fn none() -> Self {
        Self::new(0, f64::INFINITY)
    }

    /// Takes a weight if it may be among the largest.
    #[inline(always)]
    pub fn offer(&mut self, weight: f64) {
        if weight > self.floor {
            self.kept.push(weight);
        }
    }

    /// Takes the largest of some weights, the largest of which is `max`.
    #[inline(always)]
    pub fn offer_all(&mut self, weights: &[f64], max: f64) {
        if max <= self.floor {
            return;
        }
        // Most stretches hold none.
        for stretch in weights.chunks(STRETCH) {
            if largest(stretch) > self.floor {
                let above = stretch.iter().filter(|&&w| w > self.floor);
                self.kept.extend(above);
            }
        }
    }

    /// Takes what another one has collected.
    pub fn merge(&mut self, other: &Self) {
        let floor = self.floor;
        self.kept.extend(other.kept.iter().filter(|&&w| w > floor));
        if self.room > 0 && self.kept.len() > 2 * self.room {
            self.prune();
        }
    }

    /// Weights up to here need not be offered any more.
    pub fn floor(&self) -> f64 {
        self.floor
    }

    fn prune(&mut self) {
        let descending = |a: &f64, b: &f64| b.total_cmp(a);
        let (_, last, _) = self.kept.select_nth_unstable_by(self.room - 1, descending);
        self.floor = *last;
        self.kept.truncate(self.room);
    }

    /// The largest in descending order, with zeros where there are not so many positive ones.
    pub fn largest(mut self) -> Vec<f64> {
        self.kept.sort_unstable_by(|a, b| b.total_cmp(a));
        self.kept.resize(self.room, 0.0);
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_same_however_they_are_split(
            weights in prop::collection::vec(0_u8..40, 0..400),
            room in 1_usize..20,
            size in 1_usize..50,
        ) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let mut sorted = weights.clone();
            sorted.sort_unstable_by(|a, b| b.total_cmp(a));
            sorted.resize(room.max(sorted.len()), 0.0);
            let mut whole = Tail::new(room, 0.0);
            for (i, part) in weights.chunks(size).enumerate() {
                let mut tail = Tail::new(room, whole.floor());
                if i % 2 == 0 {
                    for &w in part {
                        tail.offer(w);
                    }
                } else {
                    tail.offer_all(part, part.iter().copied().fold(0.0, f64::max));
                }
                whole.merge(&tail);
            }
            prop_assert_eq!(&whole.largest()[..], &sorted[..room]);
        }
    }
}
