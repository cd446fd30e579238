//! The final weights w_{T-1} of one policy: shares, the largest of them, their histogram.

use crate::weights::{Extended, Weight};

/// Episodes named for carrying most of the weight.
const LARGEST: usize = 5;
/// Bins of the histogram to a power of ten, fewer where that would make too many.
const BINS_PER_DECADE: f64 = 5.0;
const MOST_BINS: f64 = 60.0;

/// A bin of the histogram of w_{T-1} / mean; `low` = `high` = 0 counts the weights that are 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Lower edge, inclusive.
    pub low: f64,
    /// Upper edge, exclusive but for the last bin.
    pub high: f64,
    /// Episodes in it.
    pub episodes: usize,
}

/// w / sum w, for weights of any size; all 0 where every weight is.
pub(crate) fn shares(weights: &[Extended]) -> Vec<f64> {
    let sum = weights.iter().fold(Extended::ZERO, |a, &b| a.plus(b));
    let share = |w: &Extended| {
        if w.is_zero() {
            0.0
        } else {
            // Never 0, so that what is counted as no weight has none.
            w.ratio(sum).max(f64::MIN_POSITIVE)
        }
    };
    weights.iter().map(share).collect()
}

/// The episodes with the largest shares, the earlier first where they are equal.
pub(crate) fn largest(shares: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shares.len()).filter(|&i| shares[i] > 0.0).collect();
    let before = |&i: &usize, &j: &usize| shares[j].total_cmp(&shares[i]).then(i.cmp(&j));
    if order.len() > LARGEST {
        order.select_nth_unstable_by(LARGEST, before);
        order.truncate(LARGEST);
    }
    order.sort_unstable_by(before);
    order
}

/// Bins of equal width on a logarithmic scale, of w / mean w.
pub(crate) fn histogram(shares: &[f64]) -> Vec<Bin> {
    let n = shares.len() as f64;
    let logs: Vec<f64> = shares
        .iter()
        .filter(|&&s| s > 0.0)
        .map(|s| (s * n).log10())
        .collect();
    let mut bins = Vec::new();
    if logs.len() < shares.len() {
        bins.push(Bin {
            low: 0.0,
            high: 0.0,
            episodes: shares.len() - logs.len(),
        });
    }
    let (min, max) = logs
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &x| {
            (a.min(x), b.max(x))
        });
    if logs.is_empty() {
        return bins;
    }
    let width = (1.0 / BINS_PER_DECADE).max((max - min) / MOST_BINS);
    let first = (min / width).floor();
    let count = (max / width).floor() - first + 1.0;
    let mut counts = vec![0; count as usize];
    for x in logs {
        let at = ((x / width).floor() - first) as usize;
        counts[at.min(count as usize - 1)] += 1;
    }
    let edge = |i: usize| 10.0_f64.powf((first + i as f64) * width);
    bins.extend(counts.into_iter().enumerate().map(|(i, episodes)| Bin {
        low: edge(i),
        high: edge(i + 1),
        episodes,
    }));
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_weights_beyond_f64() {
        let huge = |x: f64| Extended::new(x, 5000);
        let found = shares(&[huge(1.0), huge(3.0), Extended::ZERO, Extended::ONE]);
        assert_eq!(&found[..3], &[0.25, 0.75, 0.0]);
        assert_eq!(found[3], f64::MIN_POSITIVE);
    }

    #[test]
    fn the_largest_come_first_and_ties_in_order() {
        let found = largest(&[0.1, 0.0, 0.2, 0.2, 0.1, 0.1, 0.1, 0.2]);
        assert_eq!(found, [2, 3, 7, 0, 4]);
        assert!(largest(&[0.0, 0.0]).is_empty());
    }

    #[test]
    fn every_weight_is_in_one_bin() {
        let shares: Vec<f64> = (0..1000)
            .map(|i| {
                if i % 10 == 0 {
                    0.0
                } else {
                    f64::from(i).exp2()
                }
            })
            .map(|x| x / 1e3)
            .collect();
        let bins = histogram(&shares);
        assert_eq!(bins.iter().map(|b| b.episodes).sum::<usize>(), 1000);
        assert_eq!(
            (bins[0].low, bins[0].high, bins[0].episodes),
            (0.0, 0.0, 100)
        );
        assert!(bins.len() <= 63);
        assert!(bins[1..].windows(2).all(|w| w[0].high == w[1].low));
        let one = histogram(&[0.5, 0.5]);
        assert_eq!(one.len(), 1);
        assert_eq!((one[0].low, one[0].episodes), (1.0, 2));
    }
}
