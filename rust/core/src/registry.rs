//! The one table of estimators: names, what weighs what, inputs, family, source. Python reads it as data.
//!
//! An estimator is a *form*, what is multiplied by weights and summed ([`crate::terms`]), under a *weighting*,
//! what the weights are ([`crate::weighting`]). To add one that is made of both: a row here, and nothing else.

use crate::form::Form;
use crate::weighting::Ratio;

/// What is to be known about an estimator.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Canonical name, as results carry it.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// In words.
    pub title: &'static str,
    /// The group it belongs to.
    pub family: &'static str,
    /// What is summed; `None` where the result is no value of a policy, which `evaluate` gives.
    pub form: Option<Form>,
    /// What the weights are made of.
    pub ratio: Ratio,
    /// Columns it needs of each evaluation policy; with `n_step` above 0 also prob.
    pub needs: &'static [&'static str],
    /// Options it takes, by name; of transforms one at a time.
    pub options: &'static [&'static str],
    /// The option that it must be given.
    pub required: Option<&'static str>,
    /// Whether it is for single decisions alone.
    pub one_step: bool,
    /// Paper and equation.
    pub source: &'static str,
}

/// Transforms of any weight.
const TRANSFORMS: &[&str] = &[
    "clip",
    "exponent",
    "shrinkage",
    "harmonic",
    "switch",
    "per_step",
];
/// The same of marginal weights, which have no single step to transform.
const MARGINAL: &[&str] = &[
    "n_step",
    "clip",
    "exponent",
    "shrinkage",
    "harmonic",
    "switch",
];
/// The same where the marginal ratio is the whole weight.
const RATIO: &[&str] = &["clip", "exponent", "shrinkage", "harmonic", "switch"];

const PLAIN: Entry = Entry {
    name: "",
    aliases: &[],
    title: "",
    family: "basic",
    form: Some(Form::Direct),
    ratio: Ratio::Cumulative,
    needs: &["prob"],
    options: TRANSFORMS,
    required: None,
    one_step: false,
    source: "",
};
const STATE: Entry = Entry {
    family: "marginal",
    ratio: Ratio::State,
    needs: &["prob", "state_ratio"],
    options: MARGINAL,
    ..PLAIN
};
const STATE_ACTION: Entry = Entry {
    family: "marginal",
    ratio: Ratio::StateAction,
    needs: &["state_action_ratio"],
    options: MARGINAL,
    ..PLAIN
};
const BANDIT: Entry = Entry {
    family: "bandit",
    ..PLAIN
};
const DISTRIBUTION: Entry = Entry {
    family: "distribution",
    form: None,
    options: &[],
    ..PLAIN
};
const DOUBLY: &[&str] = &["prob", "q", "v"];
const SOPE: &str = "Yuan, Chandak, Giguere, Thomas & Niekum 2021 (SOPE)";

/// Every estimator, in the order in which documents list them.
pub const REGISTRY: [Entry; 30] = [
    Entry {
        name: "dm",
        title: "direct method",
        form: Some(Form::Direct),
        ratio: Ratio::None,
        needs: &["v"],
        options: &[],
        source: "Beygelzimer & Langford 2009; Le, Voloshin & Yue 2019",
        ..PLAIN
    },
    Entry {
        name: "tis",
        aliases: &["ips"],
        title: "trajectory-wise importance sampling",
        form: Some(Form::Return),
        source: "Precup, Sutton & Singh 2000, section 3",
        ..PLAIN
    },
    Entry {
        name: "pdis",
        title: "per-decision importance sampling",
        form: Some(Form::Reward),
        source: "Precup, Sutton & Singh 2000, section 4",
        ..PLAIN
    },
    Entry {
        name: "dr",
        title: "doubly robust",
        form: Some(Form::Residual),
        needs: DOUBLY,
        source: "Jiang & Li 2016, eq. 10; Thomas & Brunskill 2016, section 4",
        ..PLAIN
    },
    Entry {
        name: "sntis",
        aliases: &["snips", "wis"],
        title: "self-normalised trajectory-wise importance sampling",
        form: Some(Form::NormalisedReturn),
        source: "Precup, Sutton & Singh 2000, section 3; Swaminathan & Joachims 2015",
        ..PLAIN
    },
    Entry {
        name: "snpdis",
        title: "self-normalised per-decision importance sampling (CWPDIS)",
        form: Some(Form::NormalisedReward),
        source: "Thomas 2015, section 3.9 (consistent weighted per-decision)",
        ..PLAIN
    },
    Entry {
        name: "sndr",
        aliases: &["wdr"],
        title: "self-normalised (weighted) doubly robust",
        form: Some(Form::NormalisedResidual),
        needs: DOUBLY,
        source: "Thomas & Brunskill 2016, section 5",
        ..PLAIN
    },
    Entry {
        name: "drl",
        title: "double reinforcement learning",
        form: Some(Form::Residual),
        needs: &["state_action_ratio", "q", "v"],
        options: RATIO,
        source: "Kallus & Uehara 2020, eq. 9",
        ..STATE_ACTION
    },
    Entry {
        name: "sm_dm",
        title: "direct method with a marginal learner's v",
        form: Some(Form::Direct),
        ratio: Ratio::None,
        needs: &["v"],
        options: &[],
        source: "Uehara, Huang & Jiang 2020",
        ..STATE
    },
    Entry {
        name: "sm_is",
        title: "state-marginal importance sampling",
        form: Some(Form::Reward),
        source: "Liu, Li, Tang & Zhou 2018; Yuan et al. 2021 (SOPE)",
        ..STATE
    },
    Entry {
        name: "sm_dr",
        title: "state-marginal doubly robust",
        form: Some(Form::Residual),
        needs: &["prob", "state_ratio", "q", "v"],
        source: "Liu, Bacon & Brunskill 2020; Yuan et al. 2021 (SOPE)",
        ..STATE
    },
    Entry {
        name: "sm_snis",
        title: "self-normalised state-marginal importance sampling",
        form: Some(Form::NormalisedReward),
        source: SOPE,
        ..STATE
    },
    Entry {
        name: "sm_sndr",
        title: "self-normalised state-marginal doubly robust",
        form: Some(Form::NormalisedResidual),
        needs: &["prob", "state_ratio", "q", "v"],
        source: SOPE,
        ..STATE
    },
    Entry {
        name: "sam_is",
        title: "state-action-marginal importance sampling",
        form: Some(Form::Reward),
        source: "Uehara, Huang & Jiang 2020; Yuan et al. 2021 (SOPE)",
        ..STATE_ACTION
    },
    Entry {
        name: "sam_dr",
        title: "state-action-marginal doubly robust",
        form: Some(Form::Residual),
        needs: &["state_action_ratio", "q", "v"],
        source: "Kallus & Uehara 2020; Yuan et al. 2021 (SOPE)",
        ..STATE_ACTION
    },
    Entry {
        name: "sam_snis",
        title: "self-normalised state-action-marginal importance sampling",
        form: Some(Form::NormalisedReward),
        source: SOPE,
        ..STATE_ACTION
    },
    Entry {
        name: "sam_sndr",
        title: "self-normalised state-action-marginal doubly robust",
        form: Some(Form::NormalisedResidual),
        needs: &["state_action_ratio", "q", "v"],
        source: SOPE,
        ..STATE_ACTION
    },
    Entry {
        name: "switch_dr",
        title: "doubly robust, without the largest weights",
        form: Some(Form::Residual),
        needs: DOUBLY,
        options: &["switch"],
        required: Some("switch"),
        source: "Wang, Agarwal & Dudik 2017",
        ..BANDIT
    },
    Entry {
        name: "dros",
        title: "doubly robust with optimistic shrinkage",
        form: Some(Form::Residual),
        needs: DOUBLY,
        options: &["shrinkage"],
        required: Some("shrinkage"),
        source: "Su, Dimakopoulou, Krishnamurthy & Dudik 2020, section 4.2",
        ..BANDIT
    },
    Entry {
        name: "drps",
        title: "doubly robust with pessimistic shrinkage",
        form: Some(Form::Residual),
        needs: DOUBLY,
        options: &["clip"],
        required: Some("clip"),
        source: "Su, Dimakopoulou, Krishnamurthy & Dudik 2020, section 4.1",
        ..BANDIT
    },
    Entry {
        name: "mrdr",
        title: "more robust doubly robust",
        form: Some(Form::Residual),
        needs: DOUBLY,
        source: "Farajtabar, Chow & Ghavamzadeh 2018",
        ..BANDIT
    },
    Entry {
        name: "beta_ips",
        title: "importance sampling less its best control variate",
        form: Some(Form::Centred),
        one_step: true,
        options: &[],
        source: "Gupta, Jeunen, Oosterhuis & de Rijke 2024",
        ..BANDIT
    },
    Entry {
        name: "ix",
        title: "implicit exploration",
        form: Some(Form::Return),
        one_step: true,
        options: &["exploration"],
        required: Some("exploration"),
        source: "Kocak, Neu, Valko & Munos 2014; Gabbianelli, Neu & Papini 2024",
        ..BANDIT
    },
    Entry {
        name: "ls",
        title: "logarithmic smoothing",
        form: Some(Form::Return),
        one_step: true,
        options: &["smoothing"],
        required: Some("smoothing"),
        source: "Sakhi, Aouali, Alquier & Chopin 2024",
        ..BANDIT
    },
    Entry {
        name: "delta",
        title: "difference of two policies less its best control variate",
        form: None,
        one_step: true,
        options: &[],
        source: "Jeunen & Ustimenko 2024",
        ..BANDIT
    },
    Entry {
        name: "cd_dm",
        title: "distribution of v_0: between initial states only",
        ratio: Ratio::None,
        needs: &["v"],
        source: "Huang, Leqi, Lipton & Azizzadenesheli 2021",
        ..DISTRIBUTION
    },
    Entry {
        name: "cd_tis",
        title: "cumulative distribution by importance sampling",
        ratio: Ratio::Cumulative,
        needs: &["prob"],
        source: "Huang, Leqi, Lipton & Azizzadenesheli 2021; Chandak et al. 2021",
        ..DISTRIBUTION
    },
    Entry {
        name: "cd_tdr",
        title: "doubly robust cumulative distribution",
        ratio: Ratio::Cumulative,
        needs: &["prob", "v"],
        source: "Huang, Leqi, Lipton & Azizzadenesheli 2021, 2022",
        ..DISTRIBUTION
    },
    Entry {
        name: "cd_sntis",
        title: "self-normalised cumulative distribution",
        ratio: Ratio::Cumulative,
        needs: &["prob"],
        source: "Chandak et al. 2021",
        ..DISTRIBUTION
    },
    Entry {
        name: "cd_sntdr",
        title: "self-normalised doubly robust cumulative distribution",
        ratio: Ratio::Cumulative,
        needs: &["prob", "v"],
        source: "Huang, Leqi, Lipton & Azizzadenesheli 2021, 2022",
        ..DISTRIBUTION
    },
];

impl Entry {
    /// By canonical name.
    pub fn named(name: &str) -> Option<&'static Self> {
        REGISTRY.iter().find(|entry| entry.name == name)
    }

    /// Whether it uses importance weights.
    pub fn weighted(&self) -> bool {
        self.ratio != Ratio::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_needs_follow_from_the_form() {
        for (i, entry) in REGISTRY.iter().enumerate() {
            let names = |e: &Entry| [&[e.name], e.aliases].concat();
            for earlier in &REGISTRY[..i] {
                assert!(names(entry).iter().all(|n| !names(earlier).contains(n)));
            }
            let residual = matches!(entry.form, Some(Form::Residual | Form::NormalisedResidual));
            assert_eq!(residual, entry.needs.contains(&"q"), "{}", entry.name);
            let direct = entry.form == Some(Form::Direct) || entry.name == "cd_dm";
            assert_eq!(entry.weighted(), !direct, "{}", entry.name);
            let ratio = match entry.ratio {
                Ratio::None => "v",
                Ratio::Cumulative => "prob",
                Ratio::State => "state_ratio",
                Ratio::StateAction => "state_action_ratio",
            };
            assert!(entry.needs.contains(&ratio), "{}", entry.name);
        }
        assert!(Entry::named("ips").is_none());
    }
}
