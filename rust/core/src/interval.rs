//! Intervals from a value and its standard error.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::erf::erfc;

/// Which side of the value an interval bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alternative {
    /// Both.
    TwoSided,
    /// From below: the value is at least `low`.
    Greater,
    /// From above: the value is at most `high`.
    Less,
}

/// What stands for the distribution of (estimate - value) / standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reference {
    /// Standard normal.
    Normal,
    /// Student's t with so many degrees of freedom.
    T(f64),
}

impl Reference {
    /// Inverse of the distribution function; NaN without degrees of freedom.
    pub fn quantile(self, p: f64) -> f64 {
        match self {
            Self::Normal => Normal::standard().inverse_cdf(p),
            Self::T(degrees) => {
                StudentsT::new(0.0, 1.0, degrees).map_or(f64::NAN, |student| student.inverse_cdf(p))
            }
        }
    }

    /// value ± quantile * standard error; an infinite value leaves both sides open.
    pub fn interval(
        self,
        value: f64,
        standard_error: f64,
        confidence_level: f64,
        alternative: Alternative,
    ) -> (f64, f64) {
        if value.is_infinite() {
            return (f64::NEG_INFINITY, f64::INFINITY);
        }
        let two_sided = alternative == Alternative::TwoSided;
        let p = if two_sided {
            0.5 + confidence_level / 2.0
        } else {
            confidence_level
        };
        let half = if standard_error.is_nan() {
            f64::NAN
        } else {
            self.quantile(p) * standard_error
        };
        match alternative {
            Alternative::TwoSided => (value - half, value + half),
            Alternative::Greater => (value - half, f64::INFINITY),
            Alternative::Less => (f64::NEG_INFINITY, value + half),
        }
    }
}

/// Standard normal distribution function.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x / std::f64::consts::SQRT_2)
}
