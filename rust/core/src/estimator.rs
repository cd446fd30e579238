//! An estimator with its options.

use crate::form::Form;
use crate::registry::{Entry, REGISTRY};
use crate::weighting::{Transform, Weighting};

/// An estimator with its options.
#[derive(Debug, Clone, Copy)]
pub struct Estimator {
    /// Its row in the table.
    pub entry: &'static Entry,
    /// What it sums.
    pub form: Form,
    /// Its weights.
    pub weighting: Weighting,
}

impl Estimator {
    /// Per-decision importance sampling, the simplest with w_t.
    pub const PDIS: Self = Self {
        entry: &REGISTRY[2],
        form: Form::Reward,
        weighting: Weighting::CUMULATIVE,
    };

    /// Without options, by canonical name.
    pub fn named(name: &str) -> Option<Self> {
        let entry = Entry::named(name)?;
        Some(Self {
            entry,
            form: entry.form?,
            weighting: Weighting::new(entry.ratio),
        })
    }

    /// Every estimator that needs no option, of the families given.
    pub fn all(families: &[&str]) -> Vec<Self> {
        REGISTRY
            .iter()
            .filter(|entry| families.contains(&entry.family) && entry.required.is_none())
            .filter_map(|entry| Self::named(entry.name))
            .collect()
    }

    /// With a transform of its weights.
    #[must_use]
    pub fn transformed(mut self, transform: Transform) -> Self {
        self.weighting.transform = transform;
        self
    }

    /// With so many steps back to the marginal ratio.
    #[must_use]
    pub fn stepped(mut self, n_step: usize) -> Self {
        self.weighting.n_step = n_step;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simplest_is_per_decision() {
        assert_eq!(Estimator::PDIS.entry.name, "pdis");
        assert_eq!(Some(Estimator::PDIS.form), Estimator::PDIS.entry.form);
        assert!(Estimator::named("delta").is_none());
    }
}
