//! Bootstrap intervals from an estimate's replicates: percentile, basic, bias-corrected and accelerated.
//!
//! ```text
//! percentile   [q(a), q(1 - a)]                          Efron 1979; a = (1 - level) / 2
//! basic        [2 e - q(1 - a), 2 e - q(a)]              Davison & Hinkley 1997, section 5.2
//! bca          [q(b(a)), q(b(1 - a))],  b(p) = Phi(z0 + (z0 + z_p) / (1 - c (z0 + z_p)))   Efron 1987
//! ```
//!
//! with q the quantile of the replicates (interpolated linearly), e the estimate, z0 = Phi^-1 of the share of
//! replicates below it, half of those equal to it included, and c the acceleration ([`crate::pairs`]).

use std::cmp::Ordering;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::interval::{Alternative, Reference, normal_cdf};

/// Replicates that differ from the estimate by no more than this share of it are equal to it.
const ROUNDING: f64 = 1e-13;
/// Undefined replicates beyond this share leave no interval.
const MOST_UNDEFINED: f64 = 0.01;

/// How replicates become an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Their quantiles.
    Percentile,
    /// The quantiles mirrored at the estimate.
    Basic,
    /// Quantiles corrected for bias and skewness.
    Bca,
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "percentile" => Ok(Self::Percentile),
            "basic" => Ok(Self::Basic),
            "bca" => Ok(Self::Bca),
            _ => Err(Error::InvalidArgument(format!("no method {name:?}"))),
        }
    }
}

/// An interval, and what has to be known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Why there is none, or how many replicates were left out.
    pub note: Option<String>,
}

/// Quantiles for probabilities in ascending order, interpolated linearly; none of the values is NaN.
pub fn quantiles(values: &mut [f64], probabilities: &[f64]) -> Vec<f64> {
    let Some(last) = values.len().checked_sub(1) else {
        return vec![f64::NAN; probabilities.len()];
    };
    // No total order is asked for, which takes a machine longer: -0 and 0 are equal.
    let ascending = |a: &f64, b: &f64| a.partial_cmp(b).unwrap_or(Ordering::Equal);
    let mut done = 0;
    let of = |&p: &f64| {
        let at = p.clamp(0.0, 1.0) * last as f64;
        let below = at.floor() as usize;
        // What stands before the last one found is no larger.
        let (_, &mut low, above) = values[done..].select_nth_unstable_by(below - done, ascending);
        done = below;
        let high = above.iter().copied().reduce(f64::min);
        between(low, high.unwrap_or(low), at - at.floor())
    };
    probabilities.iter().map(of).collect()
}

/// The point a share of the way from one value to the next.
fn between(low: f64, high: f64, share: f64) -> f64 {
    if low == high || share == 0.0 {
        return low;
    }
    // numpy's way, whose value at the next order statistic is that statistic.
    if share < 0.5 {
        low + (high - low) * share
    } else {
        high - (high - low) * (1.0 - share)
    }
}

/// The interval of one estimate.
pub fn interval(
    estimate: f64,
    replicates: &[f64],
    method: Method,
    acceleration: f64,
    level: f64,
    side: Alternative,
) -> Interval {
    let nothing = |note: Option<String>| Interval {
        low: f64::NAN,
        high: f64::NAN,
        note,
    };
    if estimate.is_nan() {
        return nothing(None);
    }
    let mut defined: Vec<f64> = replicates.iter().copied().filter(|x| !x.is_nan()).collect();
    let undefined = replicates.len() - defined.len();
    let said = (undefined > 0).then(|| {
        format!(
            "{undefined} of {} replicates are undefined",
            replicates.len()
        )
    });
    if undefined as f64 > MOST_UNDEFINED * replicates.len() as f64 || defined.is_empty() {
        return nothing(said.map(|said| format!("{said}: no interval")));
    }
    let wrong = 1.0 - level;
    let tail = if side == Alternative::TwoSided {
        wrong / 2.0
    } else {
        wrong
    };
    let mut ends = [tail, 1.0 - tail];
    if method == Method::Bca {
        match corrected(estimate, &defined, acceleration, ends) {
            Ok(found) => ends = found,
            Err(why) => {
                let why = format!("no bca interval: {why}");
                return nothing(Some(
                    said.map_or(why.clone(), |said| format!("{said}; {why}")),
                ));
            }
        }
    }
    let found = quantiles(&mut defined, &ends);
    let (low, high) = match method {
        Method::Basic => (2.0 * estimate - found[1], 2.0 * estimate - found[0]),
        _ => (found[0], found[1]),
    };
    Interval {
        low: if side == Alternative::Less {
            f64::NEG_INFINITY
        } else {
            low
        },
        high: if side == Alternative::Greater {
            f64::INFINITY
        } else {
            high
        },
        note: said,
    }
}

fn corrected(
    estimate: f64,
    replicates: &[f64],
    acceleration: f64,
    ends: [f64; 2],
) -> std::result::Result<[f64; 2], &'static str> {
    let rounding = ROUNDING * estimate.abs();
    let is_equal = |x: &f64| (x - estimate).abs() <= rounding;
    let equal = replicates.iter().filter(|x| is_equal(x)).count();
    let below = replicates
        .iter()
        .filter(|&x| *x < estimate && !is_equal(x))
        .count();
    let share = (below as f64 + equal as f64 / 2.0) / replicates.len() as f64;
    let z0 = Reference::Normal.quantile(share);
    if equal == replicates.len() {
        return Ok(ends); // nothing varies, and nothing is to be corrected
    }
    if !z0.is_finite() {
        return Err("every replicate is on one side of the estimate");
    }
    if !acceleration.is_finite() {
        return Err("the acceleration is undefined");
    }
    let z = ends.map(|p| z0 + Reference::Normal.quantile(p));
    // Beyond 1 the correction turns round, and the ends would cross.
    if !z.iter().all(|z| acceleration * z < 1.0) {
        return Err("it cannot be corrected for so much skewness");
    }
    Ok(z.map(|z| normal_cdf(z0 + z / (1.0 - acceleration * z))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let mut x = [4.0, 1.0, 8.0, 2.0];
        let found = quantiles(&mut x, &[0.0, 1.0 / 3.0, 0.5, 0.9, 1.0, 1.0]);
        assert_eq!(found[..3], [1.0, 2.0, 3.0]);
        assert!((found[3] - 6.8).abs() < 1e-12);
        assert_eq!(found[4..], [8.0, 8.0]);
        assert!(quantiles(&mut [], &[0.5])[0].is_nan());
    }

    #[test]
    fn few_undefined_replicates_are_left_out_and_counted() {
        let mut replicates: Vec<f64> = (0..200).map(f64::from).collect();
        replicates[7] = f64::NAN;
        let find = |replicates: &[f64]| {
            interval(
                100.0,
                replicates,
                Method::Percentile,
                0.0,
                0.9,
                Alternative::TwoSided,
            )
        };
        let found = find(&replicates);
        assert!(found.low.is_finite());
        assert_eq!(
            found.note.as_deref(),
            Some("1 of 200 replicates are undefined")
        );
        replicates[..10].fill(f64::NAN);
        let found = find(&replicates);
        assert!(found.low.is_nan());
        assert!(
            found
                .note
                .is_some_and(|note| note.ends_with(": no interval"))
        );
    }

    #[test]
    fn bca_has_its_reasons() {
        let replicates: Vec<f64> = (0..99).map(f64::from).collect();
        let find = |estimate, a| {
            interval(
                estimate,
                &replicates,
                Method::Bca,
                a,
                0.9,
                Alternative::TwoSided,
            )
            .note
        };
        assert_eq!(find(49.0, 0.0), None);
        assert!(find(-1.0, 0.0).is_some_and(|note| note.contains("one side")));
        assert!(find(49.0, 0.7).is_some_and(|note| note.contains("skewness")));
        assert!(find(49.0, f64::NAN).is_some_and(|note| note.contains("acceleration")));
        let constant = [2.0; 9];
        let found = interval(2.0, &constant, Method::Bca, 0.0, 0.9, Alternative::TwoSided);
        assert_eq!((found.low, found.high), (2.0, 2.0));
    }
}
