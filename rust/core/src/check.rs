//! What values a column may hold, and how a value that it may not hold is reported.

use crate::column::Column;
use crate::episode::scan;
use crate::lanes::vectorise;

/// What to do about missing values. A row cannot be dropped from within an episode: its weight would
/// lack a factor.
pub const MEND_MISSING: &str = "fill them in, or leave these episodes out";
const MEND_INFINITE: &str = "mend these rows, or leave their episodes out";

/// Largest reward, q or v: its square can still be summed over any log.
pub const LARGEST: f64 = 1e150;

/// The values a column may hold. All must be finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Any finite number: timesteps.
    Finite,
    /// Any number up to [`LARGEST`] in size: rewards, q, v.
    Amount,
    /// A probability of a logged action under the behavior policy: in (0, 1].
    Propensity,
    /// A density of a logged action under the behavior policy: above 0.
    PropensityDensity,
    /// A probability under one of several loggers, not always the one that acted: in [0, 1].
    LoggerPropensity,
    /// The same as a density: 0 or more.
    LoggerPropensityDensity,
    /// A probability under an evaluation policy: in [0, 1].
    Probability,
    /// A density under an evaluation policy: 0 or more.
    Density,
    /// A marginal ratio: 0 or more.
    Ratio,
    /// 0 or 1.
    Flag,
}

impl Rule {
    #[inline(always)]
    fn holds_for(self, x: f64) -> bool {
        match self {
            Self::Finite => x.is_finite(),
            Self::Amount => x.abs() <= LARGEST,
            Self::Propensity => x > 0.0 && x <= 1.0,
            Self::PropensityDensity => x > 0.0 && x.is_finite(),
            Self::Probability | Self::LoggerPropensity => (0.0..=1.0).contains(&x),
            Self::Density | Self::LoggerPropensityDensity | Self::Ratio => {
                x >= 0.0 && x.is_finite()
            }
            Self::Flag => x == 0.0 || x == 1.0,
        }
    }

    /// Whether every value satisfies the rule.
    pub fn holds(self, values: &[f64]) -> bool {
        // One match outside the loop and no early exit, so that each loop is vectorised.
        fn all(values: &[f64], test: impl Fn(f64) -> bool) -> bool {
            vectorise(
                #[inline(always)]
                || values.iter().fold(true, |ok, &x| ok & test(x)),
            )
        }
        match self {
            Self::Finite => all(values, |x| Self::Finite.holds_for(x)),
            Self::Amount => all(values, |x| Self::Amount.holds_for(x)),
            Self::Propensity => all(values, |x| Self::Propensity.holds_for(x)),
            Self::PropensityDensity => all(values, |x| Self::PropensityDensity.holds_for(x)),
            Self::Probability | Self::LoggerPropensity => {
                all(values, |x| Self::Probability.holds_for(x))
            }
            Self::Density | Self::LoggerPropensityDensity | Self::Ratio => {
                all(values, |x| Self::Density.holds_for(x))
            }
            Self::Flag => all(values, |x| Self::Flag.holds_for(x)),
        }
    }

    fn broken(self) -> &'static str {
        match self {
            Self::Finite => "not finite",
            Self::Amount => "beyond ±1e150",
            Self::Propensity => "outside (0, 1]",
            Self::PropensityDensity => "0 or negative",
            Self::Probability | Self::LoggerPropensity => "outside [0, 1]",
            Self::Density | Self::LoggerPropensityDensity | Self::Ratio => "negative",
            Self::Flag => "neither 0 nor 1",
        }
    }

    fn advice(self, all_negative: bool) -> &'static str {
        match self {
            Self::Propensity
            | Self::PropensityDensity
            | Self::LoggerPropensity
            | Self::LoggerPropensityDensity
            | Self::Probability
            | Self::Density
                if all_negative =>
            {
                "they look like log-probabilities: pass their exponential"
            }
            Self::Propensity => {
                "a propensity is the probability with which the behavior policy took the logged \
                 action: mend the join that made them, or leave these episodes out \
                 (action_type=\"continuous\" admits densities above 1)"
            }
            Self::PropensityDensity => "a logged action must have had a positive density",
            Self::Probability => {
                "the probability of the logged action under the evaluation policy is wanted \
                 (action_type=\"continuous\" admits densities above 1)"
            }
            Self::LoggerPropensity => {
                "wanted is how likely this logger was to take the logged action, whoever took it \
                 (action_type=\"continuous\" admits densities above 1)"
            }
            Self::Density | Self::LoggerPropensityDensity => "a density cannot be negative",
            Self::Ratio => {
                "a ratio of two visit frequencies cannot be negative: cut its model's off at 0"
            }
            Self::Flag => "pass booleans",
            Self::Finite => MEND_INFINITE,
            Self::Amount => "choose a larger unit",
        }
    }

    /// What is wrong with a column, or `None`: a sentence that names it, counts the offending
    /// values and gives the first row and what to do.
    pub fn violation(self, column: &Column, label: &str) -> Option<String> {
        let mut scratch = Vec::new();
        let mut missing = Offence::default();
        let mut infinite = Offence::default();
        let mut broken = Offence::default();
        let mut positive = 0_usize;
        for rows in scan(column.len()) {
            let values = column.read(rows.clone(), &mut scratch);
            for (row, &x) in rows.zip(values) {
                positive += usize::from(x > 0.0);
                if x.is_nan() {
                    missing.note(row, x);
                } else if x.is_infinite() {
                    infinite.note(row, x);
                } else if !self.holds_for(x) {
                    broken.note(row, x);
                }
            }
        }
        let (offence, what, advice) = if missing.count > 0 {
            (missing, "null or NaN", MEND_MISSING)
        } else if infinite.count > 0 {
            (infinite, "infinite", MEND_INFINITE)
        } else if broken.count > 0 {
            (
                broken,
                self.broken(),
                self.advice(positive == 0 && broken.first < 0.0),
            )
        } else {
            return None;
        };
        Some(describe(
            label,
            offence.count,
            column.len(),
            what,
            &format!("row {} ({})", offence.row, short(offence.first)),
            advice,
        ))
    }
}

/// A number without hundreds of zeros.
fn short(x: f64) -> String {
    if x != 0.0 && x.is_finite() && !(1e-5..1e15).contains(&x.abs()) {
        format!("{x:e}")
    } else {
        x.to_string()
    }
}

/// `label: count of rows values are what, first at where; advice`.
pub fn describe(
    label: &str,
    count: usize,
    rows: usize,
    what: &str,
    place: &str,
    advice: &str,
) -> String {
    format!("{label}: {count} of {rows} values are {what}, first at {place}; {advice}")
}

#[derive(Default, Clone, Copy)]
struct Offence {
    count: usize,
    row: usize,
    first: f64,
}

impl Offence {
    fn note(&mut self, row: usize, x: f64) {
        if self.count == 0 {
            (self.row, self.first) = (row, x);
        }
        self.count += 1;
    }
}

/// A column in a few numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation, ddof 1; NaN for one row.
    pub std: f64,
    /// How many values are exactly 1.
    pub ones: usize,
    /// How many values are exactly 0.
    pub zeros: usize,
}

/// Summarises a column of finite values.
pub fn summarise(column: &Column) -> Summary {
    let mut scratch = Vec::new();
    let mut s = Summary {
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        mean: 0.0,
        std: 0.0,
        ones: 0,
        zeros: 0,
    };
    let (mut n, mut squares) = (0.0, 0.0);
    for rows in scan(column.len()) {
        let values = column.read(rows, &mut scratch);
        let m = values.len() as f64;
        let mean = values.iter().sum::<f64>() / m;
        let spread: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
        // Chan, Golub & LeVeque (1983), eq. 2.1: moments of two parts give those of the whole.
        let delta = mean - s.mean;
        squares += spread + delta * delta * n * m / (n + m);
        s.mean += delta * m / (n + m);
        n += m;
        for &x in values {
            s.min = s.min.min(x);
            s.max = s.max.max(x);
            s.ones += usize::from(x == 1.0);
            s.zeros += usize::from(x == 0.0);
        }
    }
    s.std = (squares / (n - 1.0)).sqrt();
    if s.min == s.max {
        // Without the rounding of a mean.
        (s.mean, s.std) = (s.min, if n > 1.0 { 0.0 } else { f64::NAN });
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_count_row_and_remedy() {
        let values = [0.5, 1.5, f64::NAN, 0.0];
        let text = Rule::Propensity.violation(&Column::from(&values[..]), "column \"p\"");
        assert_eq!(
            text.as_deref(),
            Some(
                "column \"p\": 1 of 4 values are null or NaN, first at row 2 (NaN); fill them \
                 in, or leave these episodes out"
            )
        );
        let logs = [-0.5, -1.5];
        let text = Rule::Propensity.violation(&Column::from(&logs[..]), "column \"p\"");
        assert!(text.is_some_and(|t| t.contains("log-probabilities")));
        assert_eq!(
            Rule::Density.violation(&Column::from(&[0.0, 7.0][..]), ""),
            None
        );
    }

    #[test]
    fn holds_agrees_with_violation() {
        let values = [
            -1.0,
            -0.0,
            0.0,
            0.5,
            1.0,
            2.0,
            1e151,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ];
        for rule in [
            Rule::Finite,
            Rule::Amount,
            Rule::Propensity,
            Rule::PropensityDensity,
            Rule::Probability,
            Rule::Density,
            Rule::Flag,
        ] {
            for x in values {
                let column = [x];
                assert_eq!(
                    rule.holds(&column),
                    rule.violation(&Column::from(&column[..]), "").is_none(),
                    "{rule:?} {x}"
                );
            }
        }
    }

    #[test]
    fn summary_of_many_blocks() {
        let values: Vec<f64> = (0..20_000).map(|i| 1e6 + f64::from(i % 7)).collect();
        let s = summarise(&Column::from(&values[..]));
        assert_eq!((s.min, s.max), (1e6, 1e6 + 6.0));
        let mean = values.iter().map(|x| x - 1e6).sum::<f64>() / 20_000.0;
        let var = values.iter().map(|x| (x - 1e6 - mean).powi(2)).sum::<f64>() / 19_999.0;
        assert!((s.mean - 1e6 - mean).abs() < 1e-8);
        assert!((s.std - var.sqrt()).abs() < 1e-9);
    }
}
