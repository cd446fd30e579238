//! Importance weights that cannot under- or overflow.
//!
//! Products of propensities are never formed: ratios are, and their running product is a
//! [`Weight`]. Two representations exist. `f64` is what nearly every block of episodes needs. Where
//! a product leaves 2^±480 the block is run again in [`Extended`], a mantissa with a binary exponent
//! of its own. Rescaling by powers of two is exact, so a weight has the same bits
//! either way.

use std::cmp::Ordering;

/// Within 2^±`SAFE_EXPONENT` a weight can be squared and summed over 2^60 episodes in `f64`.
pub(crate) const SAFE_EXPONENT: i64 = 480;
const SAFE_LOW: f64 = f64::from_bits(((1023 - SAFE_EXPONENT) as u64) << 52);
const SAFE_HIGH: f64 = f64::from_bits(((1023 + SAFE_EXPONENT) as u64) << 52);

/// A running product of importance ratios, and sums of such products.
pub trait Weight: Copy + Send + Sync {
    /// The additive identity.
    const ZERO: Self;
    /// The weight before the first step, w_{-1}.
    const ONE: Self;
    /// From a number.
    fn from_f64(x: f64) -> Self;
    /// w_t = w_{t-1} rho_t, where rho_t = prob / propensity has been divided beforehand.
    #[must_use]
    fn step(self, rho: f64, prob: f64, propensity: f64) -> Self;
    /// Product with a number.
    #[must_use]
    fn times(self, x: f64) -> Self;
    /// Product of two.
    #[must_use]
    fn product(self, other: Self) -> Self;
    /// Sum of two.
    #[must_use]
    fn plus(self, other: Self) -> Self;
    /// The larger of two.
    #[must_use]
    fn larger(self, other: Self) -> Self;
    /// Whether it is exactly 0.
    fn is_zero(self) -> bool;
    /// Whether the representation is still exact to rounding; otherwise use [`Extended`].
    fn is_safe(self) -> bool;
    /// From the wide representation (caller has checked [`Extended::fits_f64`]).
    fn narrow(x: Extended) -> Self;
    /// To the wide representation, exactly.
    fn widen(self) -> Extended;
    /// x 2^-`exponent` as `f64`.
    fn scaled(self, exponent: i64) -> f64;
    /// Quotient.
    #[must_use]
    fn divided_by(self, denominator: Self) -> Self;
    /// Whether it is larger than a number.
    fn exceeds(self, x: f64) -> bool;
    /// Power, of a weight that is not negative.
    #[must_use]
    fn powf(self, exponent: f64) -> Self;
    /// ln(1 + x), for x of -1 or more.
    fn ln_1p(self) -> f64;
    /// Quotient as `f64`.
    fn ratio(self, denominator: Self) -> f64 {
        self.divided_by(denominator).scaled(0)
    }
}

impl Weight for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn step(self, rho: f64, _prob: f64, _propensity: f64) -> Self {
        self * rho
    }
    #[inline(always)]
    fn times(self, x: f64) -> Self {
        self * x
    }
    #[inline(always)]
    fn product(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
    #[inline(always)]
    fn is_zero(self) -> bool {
        self == 0.0
    }
    #[inline(always)]
    fn is_safe(self) -> bool {
        (SAFE_LOW..=SAFE_HIGH).contains(&self)
    }
    fn narrow(x: Extended) -> Self {
        x.to_f64()
    }
    fn widen(self) -> Extended {
        Extended::from(self)
    }
    #[inline(always)]
    fn scaled(self, exponent: i64) -> f64 {
        if exponent == 0 {
            self
        } else {
            Extended::from(self).scaled(exponent)
        }
    }
    #[inline(always)]
    fn divided_by(self, denominator: Self) -> Self {
        self / denominator
    }
    #[inline(always)]
    fn exceeds(self, x: f64) -> bool {
        self > x
    }
    #[inline(always)]
    fn powf(self, exponent: f64) -> Self {
        f64::powf(self, exponent)
    }
    #[inline(always)]
    fn ln_1p(self) -> f64 {
        f64::ln_1p(self)
    }
}

/// `mantissa` * 2^`exponent`, with |mantissa| in [1/2, 1) or both 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extended {
    mantissa: f64,
    exponent: i64,
}

/// 2^`exponent` for an exponent of normal numbers.
fn power_of_two(exponent: i64) -> f64 {
    debug_assert!((-1022..=1023).contains(&exponent));
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// `x` 2^`exponent`, rounded once.
fn load_exponent(x: f64, exponent: i64) -> f64 {
    if x == 0.0 || exponent < -2200 {
        return 0.0 * x;
    }
    if exponent > 2200 {
        return x * f64::INFINITY;
    }
    // Two factors whose intermediate product is exact: the first never makes a normal subnormal.
    let half = if exponent < -1000 {
        -900
    } else {
        exponent.clamp(-1000, 1000)
    };
    let rest = exponent - half;
    let first = x * power_of_two(half);
    if rest.abs() <= 1000 {
        first * power_of_two(rest)
    } else {
        first * power_of_two(rest / 2) * power_of_two(rest - rest / 2)
    }
}

impl From<f64> for Extended {
    fn from(x: f64) -> Self {
        Self::new(x, 0)
    }
}

impl Extended {
    /// `x` 2^`exponent`, normalised.
    pub fn new(x: f64, exponent: i64) -> Self {
        if x == 0.0 || !x.is_finite() {
            return Self {
                mantissa: x,
                exponent: 0,
            };
        }
        let (x, exponent) = if x.is_subnormal() {
            (x * power_of_two(64), exponent - 64)
        } else {
            (x, exponent)
        };
        let bits = x.to_bits();
        let shift = ((bits >> 52) & 0x7ff) as i64 - 1022;
        Self {
            mantissa: f64::from_bits(bits & !(0x7ff << 52) | 1022 << 52),
            exponent: exponent + shift,
        }
    }

    /// The nearest `f64`: ±infinity or 0 beyond its range.
    pub fn to_f64(self) -> f64 {
        self.scaled(0)
    }

    /// Exponent of the power of two just above |x|; 0 for 0.
    pub fn exponent(self) -> i64 {
        self.exponent
    }

    /// Whether `f64` holds it with room to multiply by a safe weight.
    pub fn fits_f64(self) -> bool {
        self.mantissa == 0.0 || self.exponent.abs() < SAFE_EXPONENT
    }
}

impl Weight for Extended {
    const ZERO: Self = Self {
        mantissa: 0.0,
        exponent: 0,
    };
    const ONE: Self = Self {
        mantissa: 0.5,
        exponent: 1,
    };
    fn from_f64(x: f64) -> Self {
        Self::from(x)
    }
    fn step(self, rho: f64, prob: f64, propensity: f64) -> Self {
        if rho.is_normal() {
            return self.times(rho);
        }
        // The quotient itself leaves the range: divide the mantissas.
        self.product(Self::from(prob).divided_by(Self::from(propensity)))
    }
    fn times(self, x: f64) -> Self {
        self.product(Self::from(x))
    }
    fn product(self, other: Self) -> Self {
        Self::new(
            self.mantissa * other.mantissa,
            self.exponent + other.exponent,
        )
    }
    fn plus(self, other: Self) -> Self {
        if self.mantissa == 0.0 {
            return other;
        }
        if other.mantissa == 0.0 {
            return self;
        }
        let (high, low) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        Self::new(
            high.mantissa + load_exponent(low.mantissa, low.exponent - high.exponent),
            high.exponent,
        )
    }
    fn larger(self, other: Self) -> Self {
        let positive = |x: Self| x.mantissa > 0.0;
        let order = match (positive(self), positive(other)) {
            (true, true) => self.exponent.cmp(&other.exponent).then(
                self.mantissa
                    .partial_cmp(&other.mantissa)
                    .unwrap_or(Ordering::Equal),
            ),
            (a, b) => a.cmp(&b),
        };
        if order == Ordering::Less { other } else { self }
    }
    fn is_zero(self) -> bool {
        self.mantissa == 0.0
    }
    fn is_safe(self) -> bool {
        true
    }
    fn narrow(x: Extended) -> Self {
        x
    }
    fn widen(self) -> Extended {
        self
    }
    fn scaled(self, exponent: i64) -> f64 {
        load_exponent(self.mantissa, self.exponent - exponent)
    }
    fn divided_by(self, denominator: Self) -> Self {
        Self::new(
            self.mantissa / denominator.mantissa,
            self.exponent - denominator.exponent,
        )
    }
    fn exceeds(self, x: f64) -> bool {
        self.plus(Self::from(-x)).mantissa > 0.0
    }
    fn powf(self, exponent: f64) -> Self {
        if self.mantissa == 0.0 || exponent == 0.0 {
            return Self::from(self.mantissa.powf(exponent));
        }
        let power = exponent * self.exponent as f64;
        let whole = power.floor();
        Self::from(self.mantissa.powf(exponent) * (power - whole).exp2())
            .product(Self::new(1.0, whole as i64))
    }
    fn ln_1p(self) -> f64 {
        let x = self.to_f64();
        if x.is_finite() {
            x.ln_1p()
        } else {
            self.mantissa.ln() + self.exponent as f64 * std::f64::consts::LN_2
        }
    }
}

/// Effective sample size (sum c)^2 / sum c^2; 0 when every weight is 0.
pub fn effective_sample_size(sum: Extended, sum_of_squares: Extended) -> f64 {
    if sum_of_squares.is_zero() {
        return 0.0;
    }
    sum.product(sum).ratio(sum_of_squares)
}

/// Below it the squared coefficient of variation is rounding: the weights are constant.
pub(crate) const CONSTANT: f64 = 1e-13;
/// Below it the weights are so alike that the mean's own rounding, [`ROUNDING`], may be many
/// standard errors.
const ALIKE: f64 = 1e-6;
/// Probabilities kept in single precision put the mean this far from 1.
const ROUNDING: f64 = 1e-6;

/// The mean of `n` weights, which is 1 in expectation, and by how many of its standard errors it
/// differs from 1: NaN for n = 1; infinite where the weights are constant and not 1.
///
/// With n / ESS = 1 + cv^2 the standard error is mean sqrt((n / ESS - 1) / (n - 1)), so weights of
/// any size have their z.
pub fn mean_weight(sum: Extended, sum_of_squares: Extended, n: usize) -> (f64, f64) {
    let count = n as f64;
    let mean = sum.ratio(Extended::from(count));
    if n < 2 {
        return (mean, f64::NAN);
    }
    let size = effective_sample_size(sum, sum_of_squares);
    let variation = if size > 0.0 { count / size - 1.0 } else { 0.0 };
    let z = if variation < ALIKE && (mean - 1.0).abs() <= ROUNDING {
        0.0
    } else if variation > CONSTANT {
        (1.0 - 1.0 / mean) / (variation / (count - 1.0)).sqrt()
    } else {
        (mean - 1.0).signum() * f64::INFINITY
    };
    (mean, z)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn finite() -> impl Strategy<Value = f64> {
        any::<f64>().prop_filter("finite", |x| x.is_finite())
    }

    #[test]
    fn products_beyond_f64() {
        let mut w = Extended::ONE;
        for _ in 0..10_000 {
            w = w.step(0.9 / 1e-3, 0.9, 1e-3);
        }
        assert!(w.to_f64().is_infinite());
        for _ in 0..10_000 {
            w = w.step(1e-3 / 0.9, 1e-3, 0.9);
        }
        assert!((w.to_f64() - 1.0).abs() < 1e-10);
        let tiny = Extended::ONE.step(f64::INFINITY, 1.0, 1e-320);
        assert!((tiny.times(1e-320).to_f64() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn scaling_rounds_once_and_saturates() {
        assert_eq!(load_exponent(1.0, -1074), f64::from_bits(1));
        assert_eq!(load_exponent(1.0, -1076), 0.0);
        assert_eq!(load_exponent(f64::from_bits(1), 1074), 1.0);
        assert_eq!(load_exponent(-1.0, 5000), f64::NEG_INFINITY);
        assert_eq!(load_exponent(1.5, 1023), 1.5 * power_of_two(1023));
        assert_eq!(load_exponent(f64::from_bits(1), 2097), power_of_two(1023));
    }

    proptest! {
        #[test]
        fn round_trip(x in finite()) {
            prop_assert_eq!(Extended::from(x).to_f64(), x);
        }

        #[test]
        fn agrees_with_f64_bit_for_bit(a in -1e50_f64..1e50, b in 1e-50_f64..1e50, p in 0.0_f64..1.0) {
            let (x, y) = (Extended::from(a), Extended::from(b));
            prop_assert_eq!(x.plus(y).to_f64(), a + b);
            prop_assert_eq!(x.product(y).to_f64(), a * b);
            prop_assert_eq!(x.ratio(y), a / b);
            prop_assert_eq!(y.step(p / 0.3, p, 0.3).to_f64(), Weight::step(b, p / 0.3, p, 0.3));
            prop_assert_eq!(Extended::from(p).larger(y).to_f64(), p.max(b));
            prop_assert_eq!(y.exceeds(p), b > p);
            prop_assert_eq!(y.ln_1p(), b.ln_1p());
            let (root, plain) = (y.powf(p).to_f64(), b.powf(p));
            prop_assert!((root - plain).abs() <= 1e-13 * plain);
        }

        #[test]
        fn addition_commutes(a in finite(), b in finite(), e in -3000_i64..3000) {
            let (x, y) = (Extended::new(a, e), Extended::from(b));
            prop_assert_eq!(x.plus(y), y.plus(x));
        }
    }
}
