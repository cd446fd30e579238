//! Intervals from a value and its standard error.

use statrs::distribution::{Continuous, ContinuousCDF, Normal, StudentsT};
use statrs::function::erf::erfc;

/// Degrees of freedom from which the expansion about the normal distribution is exact to rounding.
const MANY_DEGREES: f64 = 2000.0;

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
        let z = Normal::standard().inverse_cdf(p);
        match self {
            Self::Normal => z,
            Self::T(degrees) if degrees > MANY_DEGREES => from_normal(z, degrees),
            Self::T(degrees) => {
                StudentsT::new(0.0, 1.0, degrees).map_or(f64::NAN, |student| polish(&student, p))
            }
        }
    }

    /// Distribution function; NaN without degrees of freedom.
    pub fn cdf(self, x: f64) -> f64 {
        match self {
            Self::Normal => normal_cdf(x),
            Self::T(degrees) => {
                StudentsT::new(0.0, 1.0, degrees).map_or(f64::NAN, |student| student.cdf(x))
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
        if value.is_nan() {
            return (f64::NAN, f64::NAN);
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

/// Quantile of Student's t from that of the normal distribution, for many degrees of freedom, where
/// the library's distribution function loses digits (Abramowitz & Stegun 1964, 26.7.5).
fn from_normal(z: f64, degrees: f64) -> f64 {
    let s = z * z;
    let terms = [
        (s + 1.0) * z / 4.0,
        ((5.0 * s + 16.0) * s + 3.0) * z / 96.0,
        (((3.0 * s + 19.0) * s + 17.0) * s - 15.0) * z / 384.0,
        ((((79.0 * s + 776.0) * s + 1482.0) * s - 1920.0) * s - 945.0) * z / 92160.0,
    ];
    terms
        .iter()
        .rev()
        .fold(0.0, |sum, term| (sum + term) / degrees)
        + z
}

/// Quantile to the last digits of the distribution function: the library's inverse has eight.
fn polish(student: &StudentsT, p: f64) -> f64 {
    // In the upper tail, where 1 - p keeps its digits.
    let tail = p.min(1.0 - p);
    let mut x = student.inverse_cdf(1.0 - tail);
    for _ in 0..4 {
        x += (student.sf(x) - tail) / student.pdf(x);
    }
    if p < 0.5 { -x } else { x }
}

/// Standard normal distribution function.
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc(-x / std::f64::consts::SQRT_2)
}
