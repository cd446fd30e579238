//! How shortlists are measured, and the options' names and limits.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::top_k::shortlist::Measure;

/// Beyond this size the difference of two values might not be a float.
pub(super) const LARGEST: f64 = f64::MAX / 2.0;

/// How candidates with exactly equal estimates are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ties {
    /// In the order given.
    #[default]
    First,
    /// In reverse order, as a stable ascending sort read backwards has them.
    Last,
    /// In the order given, and what then depends on that order is averaged over the alternatives.
    Average,
}

impl FromStr for Ties {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "first" => Ok(Self::First),
            "last" => Ok(Self::Last),
            "average" => Ok(Self::Average),
            _ => invalid(format!(
                "ties must be \"first\", \"last\" or \"average\", got {name:?}"
            )),
        }
    }
}

/// Below which true value a policy is unsafe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Safety {
    /// Below this value.
    Threshold(f64),
    /// Below this share c of the behavior policy's value: below `J_b - (1 - c) |J_b|`, so that c < 1
    /// is a concession for negative values too.
    Relative(f64),
}

/// How the shortlists are measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options {
    /// What std@k subtracts from k: 0 is the paper's formula, 1 its published figures.
    pub ddof: u8,
    /// The order of equal estimates.
    pub ties: Ties,
    /// The safety criterion, if any.
    pub safety: Option<Safety>,
    /// A limit put on `SharpeRatio@k`; +inf falls under it, NaN stays.
    pub clip: Option<f64>,
    /// Whether an undefined `SharpeRatio@k` is 0 for k >= 2.
    pub undefined_as_zero: bool,
}

impl Options {
    /// The conventions of SCOPE-RL's published figures, in place of the default ones.
    ///
    /// # Errors
    /// If an option contradicts them.
    pub fn scope_rl(self) -> Result<Self> {
        let given = match (self.ties, self.clip) {
            (Ties::Average, _) => "ties=\"average\"".to_owned(),
            (_, Some(clip)) if clip != 100.0 => format!("clip={clip:?}"),
            _ => {
                return Ok(Self {
                    ddof: 1,
                    ties: Ties::Last,
                    clip: Some(100.0),
                    undefined_as_zero: true,
                    ..self
                });
            }
        };
        invalid(format!(
            "compat=\"scope_rl\" means ddof=1, ties=\"last\", clip=100, which {given} \
             contradicts: leave one of the two out"
        ))
    }

    /// `SharpeRatio@k` as these options give it.
    pub(super) fn finished(&self, ratio: f64, k: usize) -> f64 {
        let ratio = if self.undefined_as_zero && k > 1 && ratio.is_nan() {
            0.0
        } else {
            ratio
        };
        self.clip.filter(|limit| ratio > *limit).unwrap_or(ratio)
    }

    /// What these options measure against this behavior policy's value.
    pub(super) fn measure(&self, behavior_value: f64) -> Result<Measure> {
        let (criterion, level, threshold) = match self.safety {
            None => ("safety", 0.0, f64::NEG_INFINITY),
            Some(Safety::Threshold(x)) => ("safety_threshold", x, x),
            Some(Safety::Relative(c)) => (
                "relative_safety",
                c,
                behavior_value - (1.0 - c) * behavior_value.abs(),
            ),
        };
        for (name, x) in [("behavior_value", behavior_value), (criterion, level)] {
            let finite = x.abs() <= LARGEST;
            if !finite {
                return invalid(format!("{name} must be a finite number, got {x:?}"));
            }
        }
        if self.ddof > 1 {
            return invalid(format!("ddof must be 0 or 1, got {}", self.ddof));
        }
        if let Some(clip) = self.clip
            && (clip.is_nan() || clip < 0.0)
        {
            return invalid(format!("clip must be a number of 0 or more, got {clip:?}"));
        }
        Ok(Measure {
            baseline: behavior_value,
            ddof: self.ddof,
            threshold,
            paired: false,
        })
    }
}

pub(super) fn invalid<T>(text: String) -> Result<T> {
    Err(Error::InvalidArgument(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ties() {
        assert_eq!("first".parse(), Ok(Ties::First));
        assert_eq!("last".parse(), Ok(Ties::Last));
        assert_eq!("average".parse(), Ok(Ties::Average));
        assert!("lest".parse::<Ties>().is_err());
    }

    #[test]
    fn a_relative_criterion_concedes_below_zero_too() {
        let safety = Some(Safety::Relative(0.75));
        let options = Options {
            safety,
            ..Options::default()
        };
        assert_eq!(options.measure(100.0).unwrap().threshold, 75.0);
        assert_eq!(options.measure(-100.0).unwrap().threshold, -125.0);
    }

    #[test]
    fn contradictions() {
        let plain = Options::default();
        assert_eq!(plain.scope_rl().unwrap().scope_rl(), plain.scope_rl());
        for (options, given) in [
            (
                Options {
                    ties: Ties::Average,
                    ..plain
                },
                "which ties=\"average\" contradicts",
            ),
            (
                Options {
                    clip: Some(9.0),
                    ..plain
                },
                "which clip=9.0 contradicts",
            ),
        ] {
            assert!(options.scope_rl().unwrap_err().to_string().contains(given));
        }
    }

    #[test]
    fn refusals() {
        let plain = Options::default();
        let safety = |safety| Options {
            safety: Some(safety),
            ..plain
        };
        for (behavior_value, options, text) in [
            (
                f64::NAN,
                plain,
                "behavior_value must be a finite number, got NaN",
            ),
            (
                0.0,
                safety(Safety::Threshold(f64::INFINITY)),
                "safety_threshold must be a finite",
            ),
            (
                0.0,
                safety(Safety::Relative(f64::NAN)),
                "relative_safety must be a finite number",
            ),
            (
                0.0,
                Options { ddof: 2, ..plain },
                "ddof must be 0 or 1, got 2",
            ),
            (
                0.0,
                Options {
                    clip: Some(f64::NAN),
                    ..plain
                },
                "clip must be a number of 0 or more",
            ),
            (
                0.0,
                Options {
                    clip: Some(-1.0),
                    ..plain
                },
                "clip must be a number of 0 or more",
            ),
        ] {
            let message = options.measure(behavior_value).err().unwrap().to_string();
            assert!(message.starts_with(text), "{message}");
        }
    }
}
