//! Statistics of a distribution that steps at some values, all from one pass over them.
//!
//! ```text
//! mean, variance        sum x dF, sum (x - mean)^2 dF
//! quantile(a)           inf { x : F(x) >= a }
//! cvar(a)               (1/a) int_0^a quantile(u) du: the mean of the worst share a
//! interquantile(a)      quantile(1 - a) - quantile(a)
//! ```

/// F reaches a level to within rounding.
const ROUNDING: f64 = 1e-12;

/// One number of a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// Of the return.
    Mean,
    /// Of the return.
    Variance,
    /// The lower quantile at a level.
    Quantile(f64),
    /// The mean below it.
    Cvar(f64),
    /// Between the quantiles at a level and at 1 less it.
    Interquantile(f64),
}

impl Statistic {
    /// By name, at a level where it has one.
    pub fn named(name: &str, alpha: f64) -> Option<Self> {
        Some(match name {
            "mean" => Self::Mean,
            "variance" => Self::Variance,
            "quantile" => Self::Quantile(alpha),
            "cvar" => Self::Cvar(alpha),
            "interquantile_range" => Self::Interquantile(alpha),
            _ => return None,
        })
    }
}

/// A distribution: its values, ascending, and monotone probabilities up to each, of which the last counts as 1.
#[derive(Debug, Clone, Copy)]
pub struct Steps<'a> {
    /// Where it steps.
    pub x: &'a [f64],
    /// F there.
    pub f: &'a [f64],
}

impl Steps<'_> {
    /// The place of the lower quantile.
    fn place(&self, alpha: f64) -> usize {
        let level = alpha - ROUNDING;
        self.f.partition_point(|&f| f < level).min(self.x.len() - 1)
    }

    /// The lower quantile.
    pub fn quantile(&self, alpha: f64) -> f64 {
        self.x[self.place(alpha)]
    }

    /// sum of `value(x)` dF over the worst share `alpha`.
    fn integral(&self, alpha: f64, value: impl Fn(f64) -> f64) -> f64 {
        let last = self.x.len() - 1;
        let (mut sum, mut below) = (0.0, 0.0);
        for (j, (&x, &f)) in self.x.iter().zip(self.f).enumerate() {
            let f = if j == last { 1.0 } else { f.min(1.0) }.min(alpha);
            if f > below {
                sum += value(x) * (f - below);
                below = f;
            }
            if below >= alpha {
                break;
            }
        }
        sum
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.integral(1.0, |x| x)
    }

    /// One statistic; NaN where probabilities are.
    pub fn of(&self, statistic: Statistic) -> f64 {
        if self.f.iter().any(|f| f.is_nan()) {
            return f64::NAN;
        }
        match statistic {
            Statistic::Mean => self.mean(),
            Statistic::Variance => {
                let mean = self.mean();
                self.integral(1.0, |x| (x - mean) * (x - mean))
            }
            Statistic::Quantile(a) => self.quantile(a),
            Statistic::Cvar(a) => self.integral(a, |x| x) / a,
            Statistic::Interquantile(a) => self.quantile(1.0 - a) - self.quantile(a),
        }
    }
}

/// The least and the largest value of a statistic among all distributions within a band; NaN for the variance.
///
/// `floor` and `ceiling` are the band's ends at each x, `left` its upper end before the first. What it leaves open
/// to either side may stand at the ends of `range`, the least and the largest return that could occur.
pub fn bounds(
    x: &[f64],
    (floor, ceiling): (&[f64], &[f64]),
    left: f64,
    range: (f64, f64),
    statistic: Statistic,
) -> (f64, f64) {
    let monotone = |mut f: Vec<f64>| {
        super::monotone(&mut f);
        f
    };
    // The more of F there is on the left, the smaller are its values.
    let (low_x, low_f) = (
        [&[range.0], x].concat(),
        monotone([&[left], ceiling].concat()),
    );
    let (high_x, high_f) = ([x, &[range.1]].concat(), monotone([floor, &[1.0]].concat()));
    let low = Steps {
        x: &low_x,
        f: &low_f,
    };
    let high = Steps {
        x: &high_x,
        f: &high_f,
    };
    match statistic {
        Statistic::Variance => (f64::NAN, f64::NAN),
        Statistic::Interquantile(a) => {
            let least = low.quantile(1.0 - a) - high.quantile(a);
            let most = high.quantile(1.0 - a) - low.quantile(a);
            (least.max(0.0), most)
        }
        _ => (low.of(statistic), high.of(statistic)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atom_that_straddles_the_level_counts_with_its_fraction() {
        let steps = Steps {
            x: &[1.0, 2.0, 10.0],
            f: &[0.1, 0.5, 0.9999],
        };
        assert!((steps.of(Statistic::Cvar(0.2)) - 1.5).abs() < 1e-15);
        assert_eq!(steps.of(Statistic::Quantile(0.1)), 1.0);
        assert_eq!(steps.of(Statistic::Quantile(0.1 + 1e-9)), 2.0);
        assert_eq!(steps.of(Statistic::Quantile(1.0)), 10.0);
        assert!((steps.of(Statistic::Mean) - (0.1 + 0.8 + 5.0)).abs() < 1e-15);
        assert_eq!(steps.of(Statistic::Interquantile(0.1)), 9.0);
    }

    #[test]
    fn bounds_stand_where_the_band_lets_them() {
        let (x, f) = ([-1.0, 2.0, 5.0], [0.25, 0.5, 1.0]);
        let floor = f.map(|f: f64| f - 0.1);
        let ceiling = f.map(|f: f64| (f + 0.1).min(1.0));
        let within = |range, statistic| bounds(&x, (&floor, &ceiling), 0.1, range, statistic);
        let open = (f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(within(open, Statistic::Mean), open);
        assert_eq!(within(open, Statistic::Quantile(0.25)), (-1.0, 2.0));
        assert_eq!(within(open, Statistic::Quantile(0.05)).0, f64::NEG_INFINITY);
        assert_eq!(within(open, Statistic::Cvar(0.5)).0, f64::NEG_INFINITY);
        let near = |found: (f64, f64), wanted: (f64, f64)| {
            assert!((found.0 - wanted.0).abs() < 1e-12, "{found:?}");
            assert!((found.1 - wanted.1).abs() < 1e-12, "{found:?}");
        };
        let low = -3.0 * 0.1 - 0.25 + 2.0 * 0.25 + 5.0 * 0.4;
        let high = -0.15 + 2.0 * 0.25 + 5.0 * 0.5 + 6.0 * 0.1;
        near(within((-3.0, 6.0), Statistic::Mean), (low, high));
        let low = (-3.0 * 0.1 - 0.15) / 0.25;
        let high = (-0.15 + 2.0 * 0.1) / 0.25;
        near(within((-3.0, 6.0), Statistic::Cvar(0.25)), (low, high));
        assert_eq!(within(open, Statistic::Interquantile(0.25)), (3.0, 6.0));
    }
}
