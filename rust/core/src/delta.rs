//! The difference between two policies by their weights' difference, less its best control variate.
//!
//! ```text
//! delta   mean_i d (r - c),  d = w_1 - w_2 = (pi_1 - pi_2) / b,  c = sum d^2 r / sum d^2
//! psi     d (r - c) - value                                         Jeunen & Ustimenko 2024 (Δ-OPE)
//! ```
//!
//! d has mean 0 where both policies are supported, so that any c leaves the estimate unbiased; this one makes
//! the mean of (d (r - c))^2 least. It is a contrast, of no policy alone, and so no form of
//! [`crate::registry`]; its sums are its own.

use crate::episode::Episodes;
use crate::error::Result;
use crate::lanes::sum_of;
use crate::pairs::{acceleration, variance_factor};
use crate::pool::Work;
use crate::resample::{Clusters, Draws, OCTET, Resample};
use crate::sums::BUNDLE;

/// A difference, with what its interval needs.
#[derive(Debug, Clone)]
pub struct Delta {
    /// The estimate.
    pub value: f64,
    /// Of the estimate.
    pub variance: f64,
    /// Of the BCa bootstrap.
    pub acceleration: f64,
    /// By replicate; empty without any.
    pub replicates: Vec<f64>,
}

/// sum m, sum m d, sum m d r, sum m d^2, sum m d^2 r.
type Sums = [f64; 5];

fn terms(d: f64, r: f64) -> Sums {
    [1.0, d, d * r, d * d, d * d * r]
}

/// The value and c.
fn finish([n, d, dr, dd, ddr]: Sums) -> (f64, f64) {
    let c = if dd > 0.0 { ddr / dd } else { 0.0 };
    ((dr - c * d) / n, c)
}

/// Estimates the difference of two policies with these weights of single decisions.
///
/// # Errors
/// [`crate::Error::Cancelled`].
pub fn delta(
    weights: [&[f64]; 2],
    rewards: &[f64],
    clusters: Option<Clusters>,
    resample: Option<&Resample>,
    work: &Work,
) -> Result<Delta> {
    let [first, second] = weights;
    let d: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
    let n = d.len();
    let columns = [&d[..], &rewards[..n]];
    let sums: [f64; 5] = std::array::from_fn(|i| sum_of(columns, |[d, r]| terms(d, r)[i]));
    let (value, c) = finish(sums);
    let mut psi: Vec<f64> = d
        .iter()
        .zip(rewards)
        .map(|(d, r)| d * (r - c) - value)
        .collect();
    if let Some(clusters) = clusters {
        let mut sums = vec![0.0; clusters.count];
        for (&cluster, psi) in clusters.of.iter().zip(&psi) {
            sums[cluster as usize] += psi;
        }
        psi = sums;
    }
    let square = sum_of([&psi[..]], |[x]| x * x);
    let cube = sum_of([&psi[..]], |[x]| x * x * x);
    let replicates = match resample {
        Some(resample) => replicate(&d, rewards, resample, work)?,
        None => Vec::new(),
    };
    Ok(Delta {
        value,
        variance: square * variance_factor(n, clusters.map(|c| c.count)),
        acceleration: acceleration(square, cube),
        replicates,
    })
}

/// The estimate in every replicate.
fn replicate(d: &[f64], rewards: &[f64], resample: &Resample, work: &Work) -> Result<Vec<f64>> {
    let (n, episodes) = (d.len(), Episodes::EachRow(d.len()));
    let order: Vec<u16> = (0..BUNDLE as u16).collect();
    let mut out = Vec::with_capacity(resample.replicates);
    work.fold_blocks(
        resample.replicates.div_ceil(OCTET),
        1,
        || (),
        |(), octet| {
            let mut draws = Draws::new(resample, octet..octet + 1, n);
            let mut sums = [[0.0; 5]; OCTET];
            for first in (0..n).step_by(BUNDLE) {
                work.check()?;
                let span = (first, n.min(first + BUNDLE));
                draws.each(&episodes, span, &order[..span.1 - first], |_, drawn| {
                    for (i, m) in drawn.iter().enumerate() {
                        let terms = terms(d[first + i], rewards[first + i]);
                        for (sums, &m) in sums.iter_mut().zip(m) {
                            for (sum, term) in sums.iter_mut().zip(terms) {
                                *sum += f64::from(m) * term;
                            }
                        }
                    }
                });
            }
            Ok(sums.map(|sums| finish(sums).0))
        },
        |values| out.extend(values),
    )?;
    out.truncate(resample.replicates);
    Ok(out)
}
