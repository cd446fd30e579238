//! A growing set of true values, and averages of its statistics over the ways to complete it.

use crate::random::{Purpose, uniforms};
use crate::top_k::noise::Noise;

/// A tied group that straddles k is averaged over all its completions up to this many, ...
const MAX_COMPLETIONS: usize = 10_000;
/// ... else over 1,000 random ones: this many times the eight draws of a block.
const SAMPLED_OCTETS: u64 = 125;

/// What a shortlist is measured against.
pub(crate) struct Measure {
    pub(crate) baseline: f64,
    pub(super) ddof: u8,
    pub(crate) threshold: f64,
    /// Whether the noise of differences is known, not that of values alone.
    pub(super) paired: bool,
}

/// A policy that joins a shortlist.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) policy: usize,
    /// Its true value.
    pub(super) value: f64,
    /// Of that value.
    pub(super) squared_error: f64,
    /// Of its differences from those that are there, summed.
    pub(super) of_pairs: f64,
}

impl Member {
    /// The same, where some others have joined before.
    pub(super) fn after(self, others: &[Self], noise: &Noise) -> Self {
        self.after_those(others.iter().map(|other| other.policy), noise)
    }

    fn after_those(mut self, others: impl Iterator<Item = usize>, noise: &Noise) -> Self {
        self.of_pairs += noise.of_pairs(self.policy, others);
        self
    }
}

/// What is said about a set of policies; the constants name the places.
pub(super) type Statistics = [f64; 7];
pub(super) const BEST: usize = 0;
pub(super) const WORST: usize = 1;
pub(super) const MEAN: usize = 2;
pub(super) const STD: usize = 3;
pub(super) const VIOLATION_RATE: usize = 4;
pub(super) const SHARPE_RATIO: usize = 5;
pub(super) const STD_DEBIASED: usize = 6;

/// A growing set of true values: Youngs & Cramer's (1971) updates of the sum and of the squared
/// deviations, in units of a power of two near the range. Values are taken relative to the first
/// one, so a large common level costs no digits, and nothing over- or underflows.
#[derive(Clone, Copy)]
pub(super) struct Shortlist {
    n: usize,
    violations: usize,
    best: f64,
    worst: f64,
    origin: f64,
    scale: f64,
    sum: f64,
    squares: f64,
    /// Sum of squared standard errors.
    errors: f64,
    /// Sum of those of differences, over all pairs.
    of_pairs: f64,
}

impl Shortlist {
    pub(super) const EMPTY: Self = Self {
        n: 0,
        violations: 0,
        best: f64::NEG_INFINITY,
        worst: f64::INFINITY,
        origin: 0.0,
        scale: f64::MIN_POSITIVE,
        sum: 0.0,
        squares: 0.0,
        errors: 0.0,
        of_pairs: 0.0,
    };

    pub(super) fn add(&mut self, member: Member, measure: &Measure) {
        let x = member.value;
        self.errors += member.squared_error;
        self.of_pairs += member.of_pairs;
        if self.n == 0 {
            self.origin = x;
        }
        self.n += 1;
        self.violations += usize::from(x < measure.threshold);
        self.best = self.best.max(x);
        self.worst = self.worst.min(x);
        // The bits of +inf are those of the exponent alone: of a float they leave a power of two.
        let range_bits = (self.best - self.worst).to_bits();
        let scale = f64::from_bits(range_bits & f64::INFINITY.to_bits());
        if scale > self.scale {
            let shrink = self.scale / scale;
            self.sum *= shrink;
            self.squares *= shrink * shrink;
            self.scale = scale;
        }
        let y = (x - self.origin) / self.scale;
        self.sum += y;
        if self.n > 1 {
            let n = self.n as f64;
            self.squares += (n * y - self.sum).powi(2) / (n * (n - 1.0));
        }
    }

    pub(super) fn mean(&self) -> f64 {
        let mean = self.origin + self.scale * (self.sum / self.n as f64);
        mean.clamp(self.worst, self.best)
    }

    pub(super) fn statistics(&self, measure: &Measure) -> Statistics {
        let n = self.n as f64;
        // Without the scale; not 0 when best > worst, and exactly 0 when they are equal.
        let std = (self.squares / (n - f64::from(measure.ddof))).sqrt();
        let excess = self.best.max(measure.baseline) - measure.baseline;
        let sharpe_ratio = match (self.n, self.best > self.worst) {
            (1, _) => f64::NAN,
            (_, true) => excess / self.scale / std,
            (_, false) if excess > 0.0 => f64::INFINITY,
            _ => f64::NAN,
        };
        let violation_rate = self.violations as f64 / n;
        // What errors put on top of the variance.
        let noise = if measure.paired {
            self.of_pairs / n / (n - f64::from(measure.ddof))
        } else {
            self.errors / n * (n - 1.0) / (n - f64::from(measure.ddof))
        };
        let debiased = ((self.scale * std).powi(2) - noise).max(0.0).sqrt();
        [
            self.best,
            self.worst,
            self.mean(),
            self.scale * std,
            violation_rate,
            sharpe_ratio,
            if self.errors > 0.0 && !std.is_nan() {
                debiased
            } else {
                self.scale * std
            },
        ]
    }

    /// The statistics of this set with j = 1, 2, .. but not all of `group` added, each averaged
    /// over which j these are.
    pub(super) fn completed_by_some(
        &self,
        group: &[Member],
        noise: &Noise,
        measure: &Measure,
    ) -> Vec<Statistics> {
        let mut sampled = None;
        (1..group.len())
            .map(|j| {
                if has_few_subsets(group.len(), j) {
                    self.completed_by_all(group, j, noise, measure).value
                } else {
                    let sampled = sampled
                        .get_or_insert_with(|| self.completed_by_sample(group, noise, measure));
                    sampled[j - 1].value
                }
            })
            .collect()
    }

    /// The average over all subsets of size j, in lexicographic order.
    fn completed_by_all(
        &self,
        group: &[Member],
        j: usize,
        noise: &Noise,
        measure: &Measure,
    ) -> Average {
        let mut average = Average::default();
        let mut chosen: Vec<usize> = (0..j).collect();
        // sets[i] holds the first i chosen, so that a step redoes only what it changes.
        let mut sets = vec![*self; j + 1];
        let mut changed = 0;
        loop {
            for i in changed..j {
                sets[i + 1] = sets[i];
                let others = chosen[..i].iter().map(|&other| group[other].policy);
                let next = group[chosen[i]].after_those(others, noise);
                sets[i + 1].add(next, measure);
            }
            average.add(sets[j].statistics(measure));
            let Some(i) = (0..j).rfind(|&i| chosen[i] < group.len() - j + i) else {
                return average;
            };
            chosen[i] += 1;
            for later in i + 1..j {
                chosen[later] = chosen[later - 1] + 1;
            }
            changed = i;
        }
    }

    /// The averages for j = 1, 2, .. over the first j of random permutations. Draw r of member m
    /// is replicate r of item m under seed 0; a permutation sorts the members by their draws.
    fn completed_by_sample(
        &self,
        group: &[Member],
        noise: &Noise,
        measure: &Measure,
    ) -> Vec<Average> {
        let mut averages = vec![Average::default(); group.len() - 1];
        let mut permutation = Vec::with_capacity(group.len());
        for octet in 0..SAMPLED_OCTETS {
            let draws: Vec<[u32; 8]> = (0..group.len() as u64)
                .map(|member| uniforms(0, member, octet, Purpose::Ties))
                .collect();
            for replicate in 0..8 {
                let keyed = |(member, draw): (usize, &[u32; 8])| (draw[replicate], member);
                permutation.clear();
                permutation.extend(draws.iter().enumerate().map(keyed));
                permutation.sort_unstable();
                let mut set = *self;
                for (j, average) in averages.iter_mut().enumerate() {
                    let others = permutation[..j]
                        .iter()
                        .map(|&(_, other)| group[other].policy);
                    let next = group[permutation[j].1].after_those(others, noise);
                    set.add(next, measure);
                    average.add(set.statistics(measure));
                }
            }
        }
        averages
    }
}

/// Whether n choose j is at most [`MAX_COMPLETIONS`].
fn has_few_subsets(n: usize, j: usize) -> bool {
    (1..=j.min(n - j))
        .try_fold(1, |subsets, i| {
            Some(subsets * (n + 1 - i) / i).filter(|&subsets| subsets <= MAX_COMPLETIONS)
        })
        .is_some()
}

/// A running mean of statistics.
#[derive(Clone, Copy, Default)]
struct Average {
    n: f64,
    value: Statistics,
}

impl Average {
    fn add(&mut self, row: Statistics) {
        self.n += 1.0;
        for (mean, x) in self.value.iter_mut().zip(row) {
            // The mean of equal values is that value exactly; +inf and NaN stay what they are.
            if x != *mean {
                let step = (x - *mean) / self.n;
                *mean += if step.is_finite() { step } else { x };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURE: Measure = Measure {
        baseline: 0.0,
        ddof: 0,
        threshold: 0.5,
        paired: false,
    };

    fn member(value: f64) -> Member {
        Member {
            policy: 0,
            value,
            squared_error: 0.0,
            of_pairs: 0.0,
        }
    }

    fn of(values: &[f64]) -> Shortlist {
        let mut set = Shortlist::EMPTY;
        for &x in values {
            set.add(member(x), &MEASURE);
        }
        set
    }

    #[test]
    fn spread_keeps_its_digits_at_any_level_and_size() {
        // Levels and steps that floats hold exactly: the spread is that of 1, 2, 3, 4 to the digit.
        for (level, unit) in [
            (0.0, 1.0),
            (2_f64.powi(50), 1.0),
            (-2_f64.powi(50), 0.25),
            (0.0, 2_f64.powi(1000)),
            (0.0, 2_f64.powi(-1000)),
            (0.0, f64::from_bits(4)),
        ] {
            let set = of(&[1.0, 4.0, 2.0, 3.0].map(|x| level + unit * x));
            let [best, _, mean, std, _, sharpe_ratio, _] = set.statistics(&MEASURE);
            assert_eq!(mean, level + 2.5 * unit);
            assert!(
                (std / unit - 1.25_f64.sqrt()).abs() < 0.25,
                "{level} {unit} {std}"
            );
            if unit > f64::MIN_POSITIVE {
                assert!(
                    (std / unit - 1.25_f64.sqrt()).abs() < 1e-15,
                    "{level} {unit} {std}"
                );
            }
            if best > 0.0 {
                let wanted = best / unit / 1.25_f64.sqrt();
                assert!(
                    (sharpe_ratio / wanted - 1.0).abs() < 1e-15,
                    "{level} {unit}"
                );
            }
        }
    }

    #[test]
    fn spread_is_zero_only_among_equals() {
        assert_eq!(of(&[0.1; 7]).statistics(&MEASURE)[STD], 0.0);
        assert_eq!(of(&[0.1; 7]).statistics(&MEASURE)[MEAN], 0.1);
        assert!(of(&[0.1, 0.1, 0.1_f64.next_up()]).statistics(&MEASURE)[STD] > 0.0);
        assert!(of(&[0.0, f64::from_bits(1), 1e300]).statistics(&MEASURE)[STD] > 0.0);
    }

    #[test]
    fn few_subsets() {
        assert!(has_few_subsets(15, 7) && !has_few_subsets(16, 8));
        assert!(has_few_subsets(10_000, 1) && has_few_subsets(10_000, 9_999));
        assert!(!has_few_subsets(10_001, 1) && !has_few_subsets(100_000, 50_000));
        assert!(has_few_subsets(141, 139) && !has_few_subsets(142, 2));
    }

    #[test]
    fn a_sample_stands_for_all_completions() {
        let base = of(&[0.3, 0.9]);
        let group: Vec<_> = (0..16).map(|i| member(f64::from(i) / 15.0)).collect();
        let noise = Noise::default();
        let sampled = base.completed_by_sample(&group, &noise, &MEASURE);
        for (j, sample) in (1..).zip(&sampled) {
            assert_eq!(sample.n, 1_000.0);
            let all = base.completed_by_all(&group, j, &noise, &MEASURE);
            for i in [BEST, WORST, MEAN, STD, VIOLATION_RATE] {
                // Each spreads by less than 0.31 among completions: four standard errors.
                let gap = (sample.value[i] - all.value[i]).abs();
                assert!(gap < 4.0 * 0.31 / 1_000_f64.sqrt(), "{j} {i} {gap}");
            }
        }
        // Where there are too many, and only there, the sample is what is given.
        let given = base.completed_by_some(&group, &noise, &MEASURE);
        assert_eq!(given[7], sampled[7].value);
        let all = base.completed_by_all(&group, 1, &noise, &MEASURE);
        assert_eq!(given[0], all.value);
    }

    #[test]
    fn an_average_keeps_what_is_equal_infinite_or_undefined() {
        let mut average = Average::default();
        for x in [f64::INFINITY, 1.0, f64::INFINITY] {
            average.add([0.1, x, f64::NAN, 1.0, 0.0, -x, 2.0]);
        }
        let [equal, infinite, undefined, ..] = average.value;
        assert_eq!((equal, infinite), (0.1, f64::INFINITY));
        assert!(undefined.is_nan());
    }
}
