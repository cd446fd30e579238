//! Distributions and their statistics under the multiplicities of the joint bootstrap, from the one sort.

use super::statistics::{Statistic, Steps};
use super::{Points, Shape, Terms, monotone};
use crate::episode::Episodes;
use crate::error::Result;
use crate::pool::Work;
use crate::resample::{Draws, OCTET, Resample};
use crate::sums::BUNDLE;

/// One curve to resample.
#[derive(Debug, Clone, Copy)]
pub struct Curve<'a> {
    /// Which masses stand where.
    pub shape: Shape,
    /// Of its policy.
    pub terms: &'a Terms,
    /// The sort.
    pub points: &'a Points,
    /// F as shown.
    pub shown: &'a [f64],
}

impl Curve<'_> {
    /// F as shown, in a replicate, and the statistics asked for.
    fn resampled(&self, m: &[u32], statistics: &[Statistic], out: &mut Vec<f64>) {
        let count = |i: usize| f64::from(m[i]);
        let mut f = self.points.curve(self.shape, self.terms, count);
        if f.iter().any(|f| f.is_nan()) {
            out.resize(out.len() + statistics.len() + 1, f64::NAN);
            return;
        }
        monotone(&mut f);
        let distance = f
            .iter()
            .zip(self.shown)
            .fold(0.0, |most, (a, b)| f64::max(most, (a - b).abs()));
        out.push(distance);
        let of_statistics = self.shape.of_statistics();
        if of_statistics != self.shape {
            f = self.points.curve(of_statistics, self.terms, count);
            monotone(&mut f);
        }
        let steps = Steps {
            x: &self.points.x,
            f: &f,
        };
        out.extend(statistics.iter().map(|&s| steps.of(s)));
    }
}

/// For each replicate and curve the largest distance from the curve as shown, then its statistics.
///
/// # Errors
/// [`crate::Error::Cancelled`].
pub fn replicates(
    curves: &[Curve],
    statistics: &[Statistic],
    episodes: &Episodes,
    resample: &Resample,
    work: &Work,
) -> Result<Vec<f64>> {
    let n = episodes.len();
    let order: Vec<u16> = (0..BUNDLE as u16).collect();
    let mut all = Vec::new();
    work.fold_blocks(
        resample.replicates.div_ceil(OCTET),
        1,
        || vec![vec![0_u32; n]; OCTET],
        |drawn, octet| {
            let mut draws = Draws::new(resample, octet..octet + 1, n);
            for first in (0..n).step_by(BUNDLE) {
                work.check()?;
                let span = (first, n.min(first + BUNDLE));
                draws.each(episodes, span, &order[..span.1 - first], |_, found| {
                    for (i, m) in (first..).zip(found) {
                        for (drawn, &m) in drawn.iter_mut().zip(m) {
                            drawn[i] = m;
                        }
                    }
                });
            }
            let wanted = OCTET.min(resample.replicates - octet * OCTET);
            let mut out = Vec::new();
            for m in drawn.iter().take(wanted) {
                for curve in curves {
                    work.check()?;
                    curve.resampled(m, statistics, &mut out);
                }
            }
            Ok(out)
        },
        |found| all.extend(found),
    )?;
    Ok(all)
}
