//! Product kernels: what stands for the density of a policy that takes one action for sure.
//!
//! ```text
//! K_h(a - c) = prod_j K((a_j - c_j) / h_j) / h_j
//!
//! gaussian      exp(-u^2 / 2) / sqrt(2 pi)
//! triangular    1 - |u|                    for |u| <= 1, as the following
//! epanechnikov  3/4 (1 - u^2)
//! cosine        pi/4 cos(pi u / 2)
//! uniform       1/2
//! ```
//!
//! Each is a density in every number of dimensions, so weights K_h(a - pi(s)) / b(a|s) have mean 1. Within
//! bounds of the actions each factor is divided by its integral over them, in closed form. Kallus & Zhou 2018.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_PI_2, FRAC_PI_4, PI};

use statrs::function::erf::erfc;

use crate::error::Result;
use crate::pool::Work;

/// Rows of a block, which one thread does at a time.
const ROWS: usize = 4096;

/// The shape of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Of all numbers.
    Gaussian,
    /// The others are 0 beyond one bandwidth.
    Triangular,
    /// See [`Kernel::Triangular`].
    Epanechnikov,
    /// See [`Kernel::Triangular`].
    Cosine,
    /// See [`Kernel::Triangular`]; the edge is inside.
    Uniform,
}

/// Names and shapes.
pub const KERNELS: [(&str, Kernel); 5] = [
    ("gaussian", Kernel::Gaussian),
    ("triangular", Kernel::Triangular),
    ("epanechnikov", Kernel::Epanechnikov),
    ("cosine", Kernel::Cosine),
    ("uniform", Kernel::Uniform),
];

impl Kernel {
    /// By name.
    pub fn from_name(name: &str) -> Option<Self> {
        KERNELS.iter().find(|(n, _)| *n == name).map(|(_, k)| *k)
    }

    /// K(u).
    fn at(self, u: f64) -> f64 {
        if self == Self::Gaussian {
            return (-u * u / 2.0).exp() / (2.0 * PI).sqrt();
        }
        if u.abs() > 1.0 {
            return 0.0;
        }
        match self {
            Self::Triangular => 1.0 - u.abs(),
            Self::Epanechnikov => 0.75 * (1.0 - u * u),
            Self::Cosine => FRAC_PI_4 * (FRAC_PI_2 * u).cos(),
            Self::Uniform | Self::Gaussian => 0.5,
        }
    }

    /// The integral of K up to u.
    fn below(self, u: f64) -> f64 {
        if self == Self::Gaussian {
            return 0.5 * erfc(-u * FRAC_1_SQRT_2);
        }
        let u = u.clamp(-1.0, 1.0);
        match self {
            Self::Triangular if u < 0.0 => 0.5 * (1.0 + u) * (1.0 + u),
            Self::Triangular => 1.0 - 0.5 * (1.0 - u) * (1.0 - u),
            Self::Epanechnikov => 0.5 + 0.75 * (u - u * u * u / 3.0),
            Self::Cosine => 0.5 * (1.0 + (FRAC_PI_2 * u).sin()),
            Self::Uniform | Self::Gaussian => 0.5 * (1.0 + u),
        }
    }

    /// The density of one coordinate `a` about `c`, with bandwidth `h`, within bounds.
    fn density(self, a: f64, c: f64, h: f64, bounds: Option<(f64, f64)>) -> f64 {
        let density = self.at((a - c) / h) / h;
        match bounds {
            None => density,
            Some((low, high)) => density / (self.below((high - c) / h) - self.below((low - c) / h)),
        }
    }
}

/// K_h(a - c) of each row, of actions and centres row by row, with a bandwidth, and bounds if any, for each
/// dimension.
///
/// # Errors
/// [`crate::error::Error::Cancelled`].
pub fn densities(
    kernel: Kernel,
    actions: &[f64],
    centres: &[f64],
    bandwidths: &[f64],
    bounds: Option<&[(f64, f64)]>,
    work: &Work,
) -> Result<Vec<f64>> {
    let d = bandwidths.len();
    let density = |(a, c): (&[f64], &[f64])| -> f64 {
        let own = |j: usize| kernel.density(a[j], c[j], bandwidths[j], bounds.map(|b| b[j]));
        (0..d).map(own).product()
    };
    let mut out = Vec::with_capacity(actions.len() / d);
    work.fold_blocks(
        actions.len().div_ceil(ROWS * d),
        1,
        || (),
        |(), block| {
            let own = block * ROWS * d..actions.len().min((block + 1) * ROWS * d);
            let rows = actions[own.clone()].chunks_exact(d);
            let pairs = rows.zip(centres[own].chunks_exact(d));
            Ok(pairs.map(density).collect::<Vec<_>>())
        },
        |found| out.extend(found),
    )?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The integral over a range by Simpson's rule, cut where kernels have corners.
    fn integral(f: impl Fn(f64) -> f64, low: f64, high: f64) -> f64 {
        const STEPS: usize = 20_000;
        let h = (high - low) / STEPS as f64;
        let weight = |i: usize| match i {
            0 | STEPS => 1.0,
            i if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        (0..=STEPS)
            .map(|i| weight(i) * f(low + i as f64 * h))
            .sum::<f64>()
            * h
            / 3.0
    }

    #[test]
    fn each_is_a_density_with_and_without_bounds() {
        for (name, kernel) in KERNELS {
            let all = integral(|u| kernel.at(u), -10.0, 10.0);
            // Simpson's rule sees the corner of the uniform one.
            assert!((all - 1.0).abs() < 1e-3, "{name}: {all}");
            for c in [0.0, 0.1, 0.7, 1.0] {
                let density = |a: f64| kernel.density(a, c, 0.4, Some((0.0, 1.0)));
                let mass = integral(density, 0.0, 1.0);
                assert!((mass - 1.0).abs() < 1e-3, "{name} about {c}: {mass}");
            }
            for u in [-2.0, -1.0, -0.3, 0.0, 0.6, 1.0, 3.0] {
                let below = integral(|x| kernel.at(x), -10.0, u);
                assert!((below - kernel.below(u)).abs() < 1e-3, "{name} below {u}");
            }
        }
    }
}
