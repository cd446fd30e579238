//! What an evaluation computes, fixed before the first row is read: which weights, and which forms of each.
//!
//! Estimators whose weights are alike share them, and those of one form besides share every number: `drl` is
//! `sam_dr`, and with one step to an episode `pdis` is `tis`.

use crate::episode::Episodes;
use crate::estimator::Estimator;
use crate::form::Form;
use crate::sums::Discount;
use crate::terms::episodes::Reads;
use crate::tiles::{Log, Policy};
use crate::weighting::{Ratio, Transform, Weighting};
use crate::weights::Extended;

/// One kind of weights, and what is summed with them.
pub(crate) struct Group {
    pub(crate) weighting: Weighting,
    /// Each once.
    pub(crate) forms: Vec<Form>,
    pub(crate) reads: Reads,
    /// Place of the first form's influence values among those of all groups.
    pub(crate) first: usize,
}

impl Group {
    /// Whether the weights of single decisions are their ratios as read.
    pub(crate) fn is_ratio(&self) -> bool {
        self.weighting.ratio == Ratio::Cumulative && self.weighting.transform == Transform::Identity
    }
}

/// An estimator as asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) estimator: Estimator,
    /// Whose weights it has.
    pub(crate) group: usize,
    /// What is summed; that of the registry but where there is one step.
    pub(crate) form: Form,
    /// Place of its influence values.
    pub(crate) slot: usize,
}

/// Columns of a policy that any estimator reads.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "a set of columns")]
pub(crate) struct Columns {
    pub(crate) prob: bool,
    pub(crate) q: bool,
    pub(crate) v: bool,
    pub(crate) state_ratio: bool,
    pub(crate) state_action_ratio: bool,
}

/// What is computed.
pub(crate) struct Plan<'a> {
    pub(crate) log: &'a Log<'a>,
    pub(crate) policies: &'a [Policy<'a>],
    pub(crate) groups: Vec<Group>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) reads: Columns,
    pub(crate) narrow: Discount<f64>,
    pub(crate) wide: Discount<Extended>,
}

impl<'a> Plan<'a> {
    /// For every policy with every estimator.
    pub(crate) fn new(
        log: &'a Log<'a>,
        policies: &'a [Policy<'a>],
        estimators: &[Estimator],
        gamma: f64,
    ) -> Self {
        let horizon = log.episodes.longest();
        let one_step = matches!(log.episodes, Episodes::EachRow(_));
        let mut weightings: Vec<Weighting> = Vec::new();
        for weighting in estimators.iter().map(|e| e.weighting) {
            if weighting.ratio != Ratio::None && !weightings.contains(&weighting) {
                weightings.push(weighting);
            }
        }
        if weightings.is_empty() {
            weightings.push(Weighting::new(Ratio::None));
        }
        // What has no weights goes with the first.
        let group_of = |e: &Estimator| {
            weightings
                .iter()
                .position(|w| *w == e.weighting)
                .unwrap_or(0)
        };
        let form_of = |e: &Estimator| {
            if one_step {
                e.form.with_one_step()
            } else {
                e.form
            }
        };
        let mut first = 0;
        let groups: Vec<Group> = weightings
            .iter()
            .enumerate()
            .map(|(group, &weighting)| {
                let mut forms = Vec::new();
                for e in estimators.iter().filter(|e| group_of(e) == group) {
                    if !forms.contains(&form_of(e)) {
                        forms.push(form_of(e));
                    }
                }
                let reads = Reads::of(&forms);
                first += forms.len();
                Group {
                    weighting,
                    first: first - forms.len(),
                    reads,
                    forms,
                }
            })
            .collect();
        let asked = estimators
            .iter()
            .map(|&estimator| {
                let (group, form) = (group_of(&estimator), form_of(&estimator));
                let Group { forms, first, .. } = &groups[group];
                let place = forms.iter().position(|f| *f == form).unwrap_or(0);
                Asked {
                    estimator,
                    group,
                    form,
                    slot: first + place,
                }
            })
            .collect();
        let any = |test: &dyn Fn(&Group) -> bool| groups.iter().any(test);
        let of = |ratio: Ratio| any(&|g: &Group| g.weighting.ratio == ratio);
        Self {
            log,
            policies,
            asked,
            reads: Columns {
                prob: any(&|g: &Group| g.weighting.reads_prob()),
                q: any(&|g: &Group| g.reads.residual),
                v: any(&|g: &Group| g.reads.v0),
                state_ratio: of(Ratio::State),
                state_action_ratio: of(Ratio::StateAction),
            },
            groups,
            narrow: Discount::new(gamma, horizon),
            wide: Discount::new(gamma, horizon),
        }
    }

    /// How many forms there are in all groups.
    pub(crate) fn slots(&self) -> usize {
        self.groups.iter().map(|group| group.forms.len()).sum()
    }

    /// Policies times kinds of weights; of one policy they stand together.
    pub(crate) fn units(&self) -> usize {
        self.policies.len() * self.groups.len()
    }

    /// The place of a policy's kind of weights among all.
    pub(crate) fn unit(&self, policy: usize, group: usize) -> usize {
        policy * self.groups.len() + group
    }
}
