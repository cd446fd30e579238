//! The one table of estimators: names, inputs, family, source. Python reads it as data.
//!
//! To add an estimator: a variant and a row here, and its term in `terms/`.

/// An estimator, in the order of [`REGISTRY`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Estimator {
    /// Direct method.
    Dm,
    /// Trajectory-wise importance sampling.
    Tis,
    /// Per-decision importance sampling.
    Pdis,
    /// Doubly robust.
    Dr,
    /// Self-normalised trajectory-wise importance sampling.
    Sntis,
    /// Self-normalised per-decision importance sampling.
    Snpdis,
    /// Self-normalised doubly robust.
    Sndr,
}

/// Number of estimators.
pub const ESTIMATORS: usize = 7;

/// What is to be known about an estimator without its formula.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Which one.
    pub estimator: Estimator,
    /// Canonical name, as results carry it.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// In words.
    pub title: &'static str,
    /// The group it belongs to.
    pub family: &'static str,
    /// Columns it needs of each evaluation policy.
    pub needs: &'static [&'static str],
    /// Whether it divides by a sum of weights, and so is undefined when that is 0.
    pub self_normalised: bool,
    /// Paper and equation.
    pub source: &'static str,
}

impl Entry {
    /// Whether it uses importance weights, and so the log's propensities.
    pub fn weighted(&self) -> bool {
        self.needs.contains(&"prob")
    }

    /// Whether it corrects a Q-model by weighted residuals.
    pub fn doubly_robust(&self) -> bool {
        self.needs.contains(&"q")
    }
}

/// Every estimator, in the order in which defaults list them.
pub const REGISTRY: [Entry; ESTIMATORS] = [
    Entry {
        estimator: Estimator::Dm,
        name: "dm",
        aliases: &[],
        title: "direct method",
        family: "basic",
        needs: &["v"],
        self_normalised: false,
        source: "Beygelzimer & Langford 2009; Le, Voloshin & Yue 2019",
    },
    Entry {
        estimator: Estimator::Tis,
        name: "tis",
        aliases: &["ips"],
        title: "trajectory-wise importance sampling",
        family: "basic",
        needs: &["prob"],
        self_normalised: false,
        source: "Precup, Sutton & Singh 2000, section 3",
    },
    Entry {
        estimator: Estimator::Pdis,
        name: "pdis",
        aliases: &[],
        title: "per-decision importance sampling",
        family: "basic",
        needs: &["prob"],
        self_normalised: false,
        source: "Precup, Sutton & Singh 2000, section 4",
    },
    Entry {
        estimator: Estimator::Dr,
        name: "dr",
        aliases: &[],
        title: "doubly robust",
        family: "basic",
        needs: &["prob", "q", "v"],
        self_normalised: false,
        source: "Jiang & Li 2016, eq. 10; Thomas & Brunskill 2016, section 4",
    },
    Entry {
        estimator: Estimator::Sntis,
        name: "sntis",
        aliases: &["snips", "wis"],
        title: "self-normalised trajectory-wise importance sampling",
        family: "basic",
        needs: &["prob"],
        self_normalised: true,
        source: "Precup, Sutton & Singh 2000, section 3; Swaminathan & Joachims 2015",
    },
    Entry {
        estimator: Estimator::Snpdis,
        name: "snpdis",
        aliases: &[],
        title: "self-normalised per-decision importance sampling (CWPDIS)",
        family: "basic",
        needs: &["prob"],
        self_normalised: true,
        source: "Thomas 2015, section 3.9 (consistent weighted per-decision)",
    },
    Entry {
        estimator: Estimator::Sndr,
        name: "sndr",
        aliases: &["wdr"],
        title: "self-normalised (weighted) doubly robust",
        family: "basic",
        needs: &["prob", "q", "v"],
        self_normalised: true,
        source: "Thomas & Brunskill 2016, section 5",
    },
];

impl Estimator {
    /// Its row in the table.
    pub fn entry(self) -> &'static Entry {
        &REGISTRY[self as usize]
    }

    /// By canonical name.
    pub fn from_name(name: &str) -> Option<Self> {
        REGISTRY
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| entry.estimator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_where_their_estimator_says() {
        for (i, entry) in REGISTRY.iter().enumerate() {
            assert_eq!(entry.estimator as usize, i);
            assert_eq!(Estimator::from_name(entry.name), Some(entry.estimator));
        }
        assert_eq!(Estimator::from_name("ips"), None);
    }
}
