//! Invariants of the two passes, on random logs of unequal episodes.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use counterfolio_core::column::{Chunk, Column};
use counterfolio_core::episode::Episodes;
use counterfolio_core::estimate::finish;
use counterfolio_core::estimator::Estimator;
use counterfolio_core::evaluate::{Errors, Evaluation, evaluate};
use counterfolio_core::form::ALL_FORMS;
use counterfolio_core::pool::Work;
use counterfolio_core::sums::{Discount, Sums};
use counterfolio_core::terms::episodes::{Reads, add};
use counterfolio_core::tiles::{Input, Log, Policy, Tile};
use counterfolio_core::weighting::{Ratio, Transform, Weighting};
use counterfolio_core::weights::{Extended, Weight};
use proptest::prelude::*;

/// Rows of prob, propensity, reward, q, v, and the episodes' lengths.
#[derive(Debug, Clone)]
struct Rows {
    lengths: Vec<usize>,
    columns: [Vec<f64>; 6],
}

/// Every estimator of any length of episodes, marginal ones one step back too, and some transforms.
fn all() -> Vec<Estimator> {
    let plain = Estimator::all(&["basic", "marginal"]);
    let named = |name| Estimator::named(name).expect("a known name");
    let stepped = plain.iter().filter(|e| e.entry.options.contains(&"n_step"));
    let mut all: Vec<_> = plain
        .iter()
        .copied()
        .chain(stepped.map(|e| e.stepped(2)))
        .collect();
    all.push(named("sndr").transformed(Transform::Clip(2.0)));
    all.push(named("dros").transformed(Transform::Shrinkage(1.5)));
    all
}

fn rows(lengths: impl Strategy<Value = Vec<usize>>) -> impl Strategy<Value = Rows> {
    lengths.prop_flat_map(|lengths| {
        let n = lengths.iter().sum::<usize>();
        let column = |range: std::ops::Range<f64>| prop::collection::vec(range, n);
        let prob = prop::collection::vec(prop_oneof![4 => 0.01..1.0, 1 => Just(0.0)], n);
        (
            prob,
            column(0.05..1.0),
            column(-2.0..2.0),
            column(-2.0..2.0),
            column(-2.0..2.0),
            column(0.0..2.0),
        )
            .prop_map(move |(prob, b, r, q, v, ratio)| Rows {
                lengths: lengths.clone(),
                columns: [prob, b, r, q, v, ratio],
            })
    })
}

/// A few long episodes, or enough short ones for several blocks.
fn any_rows() -> impl Strategy<Value = Rows> {
    rows(prop_oneof![
        prop::collection::vec(1_usize..30, 1..20),
        prop::collection::vec(1_usize..3, 1500..2500),
    ])
}

impl Rows {
    fn episodes(&self) -> Episodes {
        let mut offsets = vec![0];
        offsets.extend(self.lengths.iter().scan(0, |end, n| {
            *end += n;
            Some(*end)
        }));
        Episodes::Offsets(offsets)
    }

    /// Evaluates with columns cut into chunks of `chunk` rows.
    fn evaluate(&self, episodes: &Episodes, threads: usize, chunk: usize) -> Evaluation {
        let columns = self.columns.each_ref();
        let [prob, propensity, reward, q, v, ratio] =
            columns.map(|c| c.chunks(chunk).map(Chunk::F64).collect::<Column>());
        let input = |column| {
            Some(Input {
                label: "column".into(),
                column,
            })
        };
        let log = Log {
            episodes,
            reward,
            propensity: Some(propensity),
            density: false,
        };
        let policy = Policy {
            prob: input(prob),
            q: input(q),
            v: input(v),
            state_ratio: input(ratio.clone()),
            state_action_ratio: input(ratio),
            occupancy: false,
        };
        let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let work = Work {
            threads,
            cancel: &cancel,
            done: &done,
        };
        evaluate(
            &log,
            &[policy.clone(), policy],
            &all(),
            0.9,
            Errors::default(),
            &work,
        )
        .expect("valid columns")
    }

    /// The state of the episodes from `first` to before `last`, as one part.
    fn sums<W: Weight>(
        &self,
        episodes: &Episodes,
        span: (usize, usize),
        ratio_kind: Ratio,
    ) -> Sums<W> {
        let rows = episodes.rows(span.0, span.1);
        let [prob, propensity, reward, q, v, ratio] =
            self.columns.each_ref().map(|c| &c[rows.clone()]);
        let rho: Vec<_> = prob.iter().zip(propensity).map(|(p, b)| p / b).collect();
        let discount = Discount::<W>::new(0.9, episodes.longest());
        let mut tile = Tile {
            episodes,
            span,
            prob,
            propensity,
            rho: &rho,
            reward,
            q,
            v,
            state_ratio: ratio,
            state_action_ratio: ratio,
            returns: &[],
        };
        let returns: Vec<_> = tile
            .rows()
            .map(|rows| reward[rows].iter().rev().fold(0.0, |g, r| r + 0.9 * g))
            .collect();
        tile.returns = &returns;
        let mut sums = Sums::new(episodes.longest());
        sums.v0 = tile.rows().map(|rows| v[rows.start]).sum();
        let weighting = Weighting {
            n_step: 1,
            ..Weighting::new(ratio_kind)
        };
        let mut weights = Vec::new();
        assert!(weighting.fill::<W>(&tile, &mut weights, &mut Vec::new()));
        add(&tile, &weights, Reads::of(&ALL_FORMS), &discount, &mut sums);
        sums
    }
}

fn bits(evaluation: &Evaluation) -> Vec<u64> {
    let rows = evaluation.estimates.iter().chain([&evaluation.behavior]);
    rows.flat_map(|row| [row.value, row.standard_error])
        .chain(evaluation.variances.iter().copied())
        .map(f64::to_bits)
        .collect()
}

fn close(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a - b).abs() <= 1e-10 * (1.0 + a.abs())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn threads_and_chunks_change_no_bit(rows in any_rows(), chunk in 1_usize..4000) {
        let episodes = rows.episodes();
        let once = bits(&rows.evaluate(&episodes, 1, usize::MAX));
        for threads in [1, 2, 3] {
            prop_assert_eq!(&bits(&rows.evaluate(&episodes, threads, chunk)), &once);
        }
    }

    #[test]
    fn one_step_logs_agree_with_the_general_way(rows in rows(prop::collection::vec(Just(1), 1..3000))) {
        let short = rows.evaluate(&Episodes::EachRow(rows.lengths.len()), 2, 700);
        let long = rows.evaluate(&rows.episodes(), 2, 700);
        for (a, b) in short.estimates.iter().zip(&long.estimates) {
            prop_assert!(close(a.value, b.value) && close(a.standard_error, b.standard_error));
            prop_assert_eq!(&a.note, &b.note);
        }
        for (a, b) in short.variances.iter().zip(&long.variances) {
            prop_assert!(close(*a, *b));
        }
    }

    #[test]
    fn merged_parts_equal_one_pass(rows in any_rows(), cut in 0.0..1.0_f64) {
        let episodes = rows.episodes();
        let n = episodes.len();
        let middle = (cut * n as f64) as usize;
        let mut parts = rows.sums::<f64>(&episodes, (0, middle), Ratio::Cumulative).widen();
        parts.merge(&rows.sums::<f64>(&episodes, (middle, n), Ratio::Cumulative).widen());
        let whole = rows.sums::<f64>(&episodes, (0, n), Ratio::Cumulative).widen();
        let discount = Discount::new(0.9, episodes.longest());
        let done = |sums: &_| finish(sums, &discount, n as f64, Weighting::CUMULATIVE, false);
        let (parts, whole) = (done(&parts), done(&whole));
        prop_assert_eq!(parts.totals.dead_step, whole.totals.dead_step);
        for (a, b) in parts.totals.value.iter().zip(&whole.totals.value) {
            prop_assert!(close(a.to_f64(), b.to_f64()));
        }
    }

    #[test]
    fn both_representations_give_the_same_bits(rows in any_rows(), state in any::<bool>()) {
        let ratio = if state { Ratio::State } else { Ratio::Cumulative };
        let episodes = rows.episodes();
        let span = (0, episodes.len());
        let narrow = rows.sums::<f64>(&episodes, span, ratio).widen();
        let wide = rows.sums::<Extended>(&episodes, span, ratio);
        for (a, b) in narrow.steps.iter().zip(&wide.steps) {
            prop_assert_eq!(a.w, b.w);
            prop_assert_eq!(a.wr, b.wr);
            prop_assert_eq!(a.wd, b.wd);
        }
        prop_assert_eq!(narrow.last_return, wide.last_return);
        prop_assert_eq!(narrow.square_return, wide.square_return);
        prop_assert_eq!(narrow.discounted.squares, wide.discounted.squares);
    }

    #[test]
    fn the_behavior_policy_itself_earns_the_mean_return(rows in any_rows()) {
        let mut rows = rows;
        rows.columns[0] = rows.columns[1].clone();
        rows.columns[5].fill(1.0);
        let found = rows.evaluate(&rows.episodes(), 2, 100);
        let unmodelled = |e: &Estimator| e.entry.weighted() && !e.entry.needs.contains(&"q");
        for (row, _) in found.estimates.iter().zip(all()).filter(|(_, e)| unmodelled(e)) {
            prop_assert!(close(row.value, found.behavior.value));
            prop_assert!(close(row.standard_error, found.behavior.standard_error));
            prop_assert!(close(row.effective_sample_size.unwrap_or(0.0), rows.lengths.len() as f64));
        }
    }
}
