//! The state of some replicates: the sums of [`crate::sums::Sums`] under each one's multiplicities.
//!
//! Columns of terms stand eight to a panel: those without a step (1, G, and for each policy v_0, w_{T-1},
//! w_{T-1} G), those of each policy's steps (w_t, w_t r_t, w_t d_t), and the last weights by length.
//! Only those are kept that an estimator asks for.

use std::ops::Range;

use crate::digits::Digits;
use crate::panels::{Cells, Exponents, Row, Sum, Tables, WIDTH};
use crate::registry::Estimator;
use crate::resample::OCTET;
use crate::sums::Sums;
use crate::terms::one_step::twin;
use crate::tiles::Plan;
use crate::weights::{Extended, Weight};

/// Terms are scaled where the largest of a bundle leaves 2^±300.
const PLAIN_EXPONENT: i64 = 300;
/// Columns before those of the policies: 1 and G.
const OWN: usize = 2;

/// Which sums the estimators need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    /// sum v_0.
    v0: bool,
    /// sum w_{T-1} and sum w_{T-1} G.
    last: bool,
    /// sum w_{T-1} by length.
    ended: bool,
    /// By step: sum w_t, sum w_t r_t, sum w_t d_t.
    pub(crate) steps: [bool; 3],
}

impl Columns {
    pub(crate) fn new(plan: &Plan) -> Self {
        use Estimator::{Dm, Dr, Pdis, Sndr, Snpdis, Sntis, Tis};
        let one_step = plan.one_step();
        let any = |wanted: &[Estimator]| {
            let asked = plan.estimators.iter();
            asked
                .copied()
                .any(|e| wanted.contains(&if one_step { twin(e) } else { e }))
        };
        // With one step the last weight is the first.
        let steps = if one_step {
            [any(&[Sntis, Sndr]), any(&[Tis, Sntis]), any(&[Dr, Sndr])]
        } else {
            [any(&[Snpdis, Sndr]), any(&[Pdis, Snpdis]), any(&[Dr, Sndr])]
        };
        Self {
            v0: any(&[Dm, Dr, Sndr]),
            last: !one_step && any(&[Tis, Sntis]),
            ended: steps[0] && plan.log.episodes.lengths_differ(),
            steps,
        }
    }

    /// Columns to a step.
    pub(crate) fn per_step(self) -> usize {
        self.steps.iter().filter(|used| **used).count()
    }

    /// Columns of a policy that have no step.
    fn single(self) -> usize {
        usize::from(self.v0) + 2 * usize::from(self.last)
    }

    /// Panels of columns without a step, of a policy's steps, and of last weights.
    fn panels(self, policies: usize, horizon: usize) -> [usize; 3] {
        let ended = if self.ended {
            policies.div_ceil(WIDTH)
        } else {
            0
        };
        [
            (OWN + policies * self.single()).div_ceil(WIDTH),
            (horizon * self.per_step()).div_ceil(WIDTH),
            ended,
        ]
    }

    /// Memory of the sums of an octet of replicates.
    pub(crate) fn bytes(self, policies: usize, horizon: usize) -> usize {
        let [single, steps, ended] = self.panels(policies, horizon);
        (single + policies * steps + ended * horizon) * size_of::<[Sum; OCTET]>()
    }
}

/// The smallest exponent of some terms, and the power of two that brings the largest to about 1, or 0
/// where it is of plain size; `None` where all are 0.
fn exponents_of(terms: impl Iterator<Item = Extended>) -> Option<Exponents> {
    terms
        .filter(|x| !x.is_zero())
        .map(Extended::exponent)
        .fold(None, |found: Option<Exponents>, e| {
            Some(found.map_or((e, e), |(low, high)| (low.min(e), high.max(e))))
        })
        .map(|(low, high)| (low, if high.abs() > PLAIN_EXPONENT { high } else { 0 }))
}

/// Writes a column of terms into the rows of a panel, scaled as its sums are.
pub(crate) fn write(
    terms: impl Iterator<Item = Extended> + Clone,
    cells: &mut Cells,
    slot: usize,
    rows: &mut [Row<f64>],
) {
    let shift = cells.fit(slot, exponents_of(terms.clone()));
    for (row, term) in rows.iter_mut().zip(terms) {
        row[slot] = term.scaled(shift);
    }
}

/// The sums of some octets of replicates.
pub(crate) struct ReplicateSums {
    columns: Columns,
    single: Vec<Cells>,
    /// By policy and panel.
    pub(crate) steps: Vec<Vec<Cells>>,
    /// By panel of policies, and by length less 1.
    ended: Vec<Vec<Cells>>,
}

/// Columns without a step of a bundle, and the last weights, before they are added up.
#[derive(Default)]
pub(crate) struct Single {
    /// Rows to a panel.
    n: usize,
    rows: Vec<Row<f64>>,
    last: Vec<Row<Extended>>,
    scaled: Vec<Row<f64>>,
}

impl ReplicateSums {
    pub(crate) fn new(columns: Columns, policies: usize, horizon: usize, octets: usize) -> Self {
        let [single, steps, ended] = columns.panels(policies, horizon);
        let cells = |n| vec![Cells::new(octets); n];
        Self {
            columns,
            single: cells(single),
            steps: vec![cells(steps); policies],
            ended: vec![cells(horizon - 1); ended],
        }
    }

    /// Begins a bundle with the returns of its episodes, to be written to panels of `n` rows.
    pub(crate) fn begin(&mut self, single: &mut Single, returns: &[f64], n: usize) {
        single.n = n;
        single.rows.clear();
        single.rows.resize(self.single.len() * n, [0.0; WIDTH]);
        single.last.clear();
        let rows = self.ended.len() * n;
        single.last.resize(rows, [Extended::ZERO; WIDTH]);
        single.scaled.clear();
        single.scaled.resize(n, [0.0; WIDTH]);
        self.put(single, 0, returns.iter().map(|_| Extended::ONE));
        self.put(single, 1, returns.iter().map(|g| Extended::from(*g)));
    }

    /// Takes what a policy has of the bundle beside its steps.
    pub(crate) fn take(
        &mut self,
        single: &mut Single,
        policy: usize,
        v0: impl Iterator<Item = f64> + Clone,
        last: &[Extended],
        returns: &[f64],
    ) {
        let mut column = OWN + policy * self.columns.single();
        if self.columns.v0 {
            self.put(single, column, v0.map(Extended::from));
            column += 1;
        }
        if self.columns.last {
            self.put(single, column, last.iter().copied());
            self.put(
                single,
                column + 1,
                last.iter().zip(returns).map(|(w, g)| w.times(*g)),
            );
        }
        if self.columns.ended {
            let rows = &mut single.last[policy / WIDTH * single.n..];
            for (row, w) in rows.iter_mut().zip(last) {
                row[policy % WIDTH] = *w;
            }
        }
    }

    fn put(
        &mut self,
        single: &mut Single,
        column: usize,
        terms: impl Iterator<Item = Extended> + Clone,
    ) {
        let n = single.n;
        let (panel, slot) = (column / WIDTH, column % WIDTH);
        let rows = &mut single.rows[panel * n..(panel + 1) * n];
        write(terms, &mut self.single[panel], slot, rows);
    }

    /// Adds up what was put; `runs` are ranges of one length.
    pub(crate) fn add(
        &mut self,
        single: &mut Single,
        drawn: &Digits,
        tables: &mut Tables,
        runs: impl Iterator<Item = (Range<usize>, usize)>,
    ) {
        let Single {
            n,
            rows,
            last,
            scaled,
        } = single;
        for (cells, rows) in self.single.iter_mut().zip(rows.chunks_exact(*n)) {
            cells.add(drawn, tables, 0..*n, rows);
        }
        if self.ended.is_empty() {
            return;
        }
        for (run, length) in runs {
            for (lengths, last) in self.ended.iter_mut().zip(last.chunks_exact(*n)) {
                // What has the greatest length is carried through no step.
                let Some(cells) = lengths.get_mut(length - 1) else {
                    continue;
                };
                let rows = &mut scaled[run.clone()];
                for slot in 0..WIDTH {
                    write(
                        last[run.clone()].iter().map(|row| row[slot]),
                        cells,
                        slot,
                        rows,
                    );
                }
                cells.add(drawn, tables, run.clone(), scaled);
                scaled[run.clone()].fill([0.0; WIDTH]);
            }
        }
    }

    /// sum m, and the sum of m G.
    pub(crate) fn own(&self, replicate: usize) -> (f64, f64) {
        let get = |column| self.single[0].get(column, replicate).to_f64();
        (get(0), get(1))
    }

    /// The columns of one policy, each as a place in a panel.
    fn columns_of(&self, policy: usize) -> impl Iterator<Item = (&Cells, usize)> {
        let first = OWN + policy * self.columns.single();
        let single = (0..OWN).chain(first..first + self.columns.single());
        let single = single.map(|column| (&self.single[column / WIDTH], column % WIDTH));
        let steps = self.steps[policy].iter();
        let steps = steps.flat_map(|cells| (0..WIDTH).map(move |slot| (cells, slot)));
        let lengths = self.ended.get(policy / WIDTH).into_iter().flatten();
        let lengths = lengths.map(move |cells| (cells, policy % WIDTH));
        single.chain(steps).chain(lengths)
    }

    /// Whether the sums of one policy need no exponents.
    pub(crate) fn is_plain(&self, policy: usize) -> bool {
        self.columns_of(policy)
            .all(|(cells, slot)| cells.is_plain(slot))
    }

    /// Whether some sum of one policy under a replicate may miss terms that it would show.
    pub(crate) fn is_faint(&self, policy: usize, replicate: usize) -> bool {
        self.columns_of(policy)
            .any(|(cells, slot)| cells.is_faint(slot, replicate))
    }

    /// The sums of one policy under one replicate; `get` is [`Cells::get`], or where there are no exponents
    /// [`Cells::plain`].
    pub(crate) fn read<W: Weight>(
        &self,
        policy: usize,
        replicate: usize,
        get: impl Fn(&Cells, usize, usize) -> W,
        sums: &mut Sums<W>,
    ) {
        let at = |cells: &Cells, column| get(cells, column, replicate);
        let single = |column: usize| at(&self.single[column / WIDTH], column % WIDTH);
        let mut column = OWN + policy * self.columns.single();
        if self.columns.v0 {
            sums.v0 = single(column).scaled(0);
            column += 1;
        }
        if self.columns.last {
            sums.last.sum = single(column);
            sums.last_return = single(column + 1);
        }
        let (panels, per_step) = (&self.steps[policy], self.columns.per_step());
        for (t, step) in sums.steps.iter_mut().enumerate() {
            let into = [&mut step.w, &mut step.wr, &mut step.wd];
            let used = into.into_iter().zip(self.columns.steps);
            let sums = used.filter_map(|(sum, used)| used.then_some(sum));
            for (column, sum) in (t * per_step..).zip(sums) {
                *sum = at(&panels[column / WIDTH], column % WIDTH);
            }
        }
        if let Some(lengths) = self.ended.get(policy / WIDTH) {
            for (sum, cells) in sums.ended[1..].iter_mut().zip(lengths) {
                *sum = at(cells, policy % WIDTH);
            }
        }
        if let ([first], false) = (&sums.steps[..], self.columns.last) {
            sums.last.sum = first.w;
            sums.last_return = first.wr;
        }
    }
}
