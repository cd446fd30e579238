//! The propensities of a mixture of loggers (Agarwal et al. 2017, "Effective evaluation using logged
//! bandit feedback from multiple loggers"; over several steps Kallus, Saito & Uehara 2021, "Optimal
//! off-policy evaluation from multiple logging policies").
//!
//! An episode comes from logger j with probability `alpha_j`, its share of the episodes. Whoever does
//! not look at which one it was sees one behavior policy, which depends on history:
//!
//! `b(a_t | history)` = `M_t / M_{t-1}`, `M_t` = sum over j of `alpha_j` prod over s <= t of `b_j(a_s | s_s)`.
//!
//! The products are never formed. The ratio is the mean of the loggers' propensities by their
//! posterior probabilities, which start at `alpha_j` and are updated by Bayes' rule.

use crate::column::Column;
use crate::episode::Episodes;
use crate::error::Result;
use crate::pool::Work;
use crate::sums::BLOCK;

/// The mixture's propensity of each row. `loggers` has a column of propensities, or densities, to each
/// logger and `shares` its share of the episodes. 0 where no logger that may have made the episode
/// could have done what was logged.
///
/// # Errors
/// [`crate::error::Error::Cancelled`].
pub fn propensities(
    episodes: &Episodes,
    loggers: &[Column],
    shares: &[f64],
    work: &Work,
) -> Result<Vec<f64>> {
    let mut out = Vec::with_capacity(episodes.rows(0, episodes.len()).len());
    work.fold_blocks(
        episodes.len().div_ceil(BLOCK),
        1,
        || vec![Vec::new(); loggers.len()],
        |scratch, block| {
            let last = episodes.len().min((block + 1) * BLOCK);
            let rows = episodes.rows(block * BLOCK, last);
            let columns: Vec<&[f64]> = loggers
                .iter()
                .zip(scratch)
                .map(|(column, scratch)| column.read(rows.clone(), scratch))
                .collect();
            let mut found = Vec::with_capacity(rows.len());
            for i in block * BLOCK..last {
                let mut posterior = shares.to_vec();
                for row in episodes.rows(i, i + 1) {
                    let at: Vec<f64> = columns.iter().map(|c| c[row - rows.start]).collect();
                    found.push(step(&mut posterior, &at));
                }
            }
            Ok(found)
        },
        |found| out.extend(found),
    )?;
    Ok(out)
}

/// The mean of `propensities` by the posterior, which then takes them in.
fn step(posterior: &mut [f64], propensities: &[f64]) -> f64 {
    let pairs = || posterior.iter().zip(propensities);
    let (mass, sum) = pairs().fold((0.0, 0.0), |(mass, sum), (p, b)| (mass + p, sum + p * b));
    // A mean lies between what it is of; rounding must not make it 1 + 2e-16.
    let possible = || pairs().filter(|(p, _)| **p > 0.0).map(|(_, &b)| b);
    let low = possible().fold(f64::INFINITY, f64::min);
    let high = possible().fold(0.0, f64::max);
    let mean = (sum / mass).max(low).min(high);
    if sum > 0.0 {
        for (p, b) in posterior.iter_mut().zip(propensities) {
            *p *= b / sum;
        }
    }
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_loggers_are_one() {
        for b in [1.0, 0.1, 1e-300, 7.5] {
            let mut posterior = vec![0.1, 0.2, 0.3, 0.4];
            for _ in 0..50 {
                assert_eq!(step(&mut posterior, &[b; 4]).to_bits(), b.to_bits());
            }
            assert!((posterior.iter().sum::<f64>() - 1.0).abs() < 1e-14);
        }
    }

    #[test]
    fn products_that_no_float_holds() {
        // The second logger is soon ruled out; the first alone is left.
        let mut posterior = vec![0.5, 0.5];
        assert!((step(&mut posterior, &[0.02, 0.01]) - 0.015).abs() < 1e-17);
        for _ in 0..5000 {
            step(&mut posterior, &[0.02, 0.01]);
        }
        assert!((step(&mut posterior, &[0.02, 0.01]) - 0.02).abs() < 1e-17);
        assert_eq!(step(&mut posterior, &[0.0, 0.5]), 0.0);
    }
}
