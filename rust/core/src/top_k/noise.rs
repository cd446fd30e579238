//! The noise of true values that come from roll-outs, and how much of it is in the variance of a shortlist.
//!
//! ```text
//! E of it among k     sum over pairs of Var(J_i - J_j) / (k (k - ddof))
//! independent errors  mean se^2 (k - 1) / (k - ddof), as Var(J_i - J_j) = se_i^2 + se_j^2
//! ```
//!
//! With C the covariances of the k errors and ddof 0 it is tr(C) / k - 1'C1 / k^2. Roll-outs under common random
//! numbers have positive ones: policies then differ by less noise than their standard errors say.

/// Squared standard errors of true values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Noise<'a> {
    /// One to each policy; none where the values are exact.
    pub squared_errors: &'a [f64],
    /// Those of the difference of each two policies, row by row; None where errors are independent.
    pub of_differences: Option<&'a [f64]>,
}

impl Noise<'_> {
    /// Of one policy.
    pub(super) fn squared_error(&self, policy: usize) -> f64 {
        self.squared_errors.get(policy).copied().unwrap_or(0.0)
    }

    /// The sum over the differences of a policy from others; 0 where none are given.
    pub(super) fn of_pairs(&self, policy: usize, others: impl Iterator<Item = usize>) -> f64 {
        let Some(squares) = self.of_differences else {
            return 0.0;
        };
        let n = self.squared_errors.len();
        let row = &squares[policy * n..][..n];
        others.map(|other| row[other]).sum()
    }
}
