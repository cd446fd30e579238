//! The state of some replicates: the sums of [`crate::sums::Sums`] under each one's multiplicities.
//!
//! Columns of terms stand eight to a panel: those without a step (1, G, and for each policy and kind of
//! weights v_0, W_{T-1}, W_{T-1} G, W_{T-1}^2, W_{T-1}^2 G), those of each one's steps (W_t, W_t r_t,
//! W_t d_t), and the last weights by length. Only those are kept that an estimator asks for.

use std::ops::Range;

use crate::digits::Digits;
use crate::form::Form;
use crate::panels::{Cells, Exponents, Row, Sum, Tables, WIDTH};
use crate::plan::{Group, Plan};
use crate::resample::OCTET;
use crate::sums::Sums;
use crate::weights::{Extended, Weight};

/// Terms are scaled where the largest of a bundle leaves 2^±300.
const PLAIN_EXPONENT: i64 = 300;
/// Columns before those of the policies: 1 and G.
const OWN: usize = 2;

/// Which sums one kind of weights needs.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "a set of columns")]
pub(crate) struct Columns {
    /// sum v_0.
    v0: bool,
    /// sum W_{T-1} and sum W_{T-1} G.
    last: bool,
    /// sum W_{T-1}^2 and sum W_{T-1}^2 G.
    squares: bool,
    /// sum W_{T-1} by length.
    ended: bool,
    /// By step: sum W_t, sum W_t r_t, sum W_t d_t.
    pub(crate) steps: [bool; 3],
}

impl Columns {
    fn new(group: &Group, plan: &Plan) -> Self {
        use Form::{Centred, NormalisedResidual, NormalisedReturn, NormalisedReward, Residual};
        let one_step = plan.one_step();
        let any = |wanted: &[Form]| group.forms.iter().any(|form| wanted.contains(form));
        let reads = group.reads;
        // With one step the last weight is the first.
        let steps = if one_step {
            [
                any(&[NormalisedReturn, NormalisedResidual, Centred]),
                reads.returned,
                reads.residual,
            ]
        } else {
            [
                any(&[NormalisedReward, NormalisedResidual]),
                reads.reward,
                any(&[Residual, NormalisedResidual]),
            ]
        };
        Self {
            v0: reads.v0,
            last: !one_step && reads.returned,
            squares: reads.squares,
            ended: steps[0] && plan.log.episodes.lengths_differ(),
            steps,
        }
    }

    /// Columns to a step.
    pub(crate) fn per_step(self) -> usize {
        self.steps.iter().filter(|used| **used).count()
    }

    /// Columns that have no step.
    fn single(self) -> usize {
        usize::from(self.v0) + 2 * usize::from(self.last) + 2 * usize::from(self.squares)
    }
}

/// Where the columns of each policy and kind of weights stand.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// By kind of weights.
    pub(crate) groups: Vec<Columns>,
}

impl Layout {
    pub(crate) fn new(plan: &Plan) -> Self {
        let columns = |group| Columns::new(group, plan);
        Self {
            groups: plan.groups.iter().map(columns).collect(),
        }
    }

    /// Columns of a unit.
    fn of(&self, unit: usize) -> Columns {
        self.groups[unit % self.groups.len()]
    }

    /// Where those without a step begin.
    fn single(&self, unit: usize) -> usize {
        OWN + self.before(unit, Columns::single)
    }

    /// Which column of last weights it has.
    fn ended(&self, unit: usize) -> Option<usize> {
        let own = self.of(unit).ended;
        own.then(|| self.before(unit, |columns| usize::from(columns.ended)))
    }

    /// The sum of `count` over the units before one.
    fn before(&self, unit: usize, count: impl Fn(Columns) -> usize) -> usize {
        let kinds = self.groups.len();
        let sum = |groups: &[Columns]| groups.iter().map(|&c| count(c)).sum::<usize>();
        unit / kinds * sum(&self.groups) + sum(&self.groups[..unit % kinds])
    }

    /// Panels of columns without a step, of each kind's steps, and of last weights.
    fn panels(&self, policies: usize, horizon: usize) -> (usize, Vec<usize>, usize) {
        let units = policies * self.groups.len();
        let steps = |columns: &Columns| (horizon * columns.per_step()).div_ceil(WIDTH);
        (
            self.single(units).div_ceil(WIDTH),
            self.groups.iter().map(steps).collect(),
            self.before(units, |columns| usize::from(columns.ended))
                .div_ceil(WIDTH),
        )
    }

    /// Memory of the sums of an octet of replicates.
    pub(crate) fn bytes(&self, policies: usize, horizon: usize) -> usize {
        let (single, steps, ended) = self.panels(policies, horizon);
        let steps = steps.iter().sum::<usize>();
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
    layout: Layout,
    single: Vec<Cells>,
    /// By unit and panel.
    pub(crate) steps: Vec<Vec<Cells>>,
    /// By panel of units, and by length less 1.
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
    pub(crate) fn new(layout: Layout, policies: usize, horizon: usize, octets: usize) -> Self {
        let (single, steps, ended) = layout.panels(policies, horizon);
        let cells = |n| vec![Cells::new(octets); n];
        let units = (0..policies).flat_map(|_| &steps);
        Self {
            single: cells(single),
            steps: units.map(|&n| cells(n)).collect(),
            ended: vec![cells(horizon - 1); ended],
            layout,
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

    /// Takes what a unit has of the bundle beside its steps.
    pub(crate) fn take(
        &mut self,
        single: &mut Single,
        unit: usize,
        v0: impl Iterator<Item = f64> + Clone,
        last: &[Extended],
        returns: &[f64],
    ) {
        let columns = self.layout.of(unit);
        let mut column = self.layout.single(unit);
        if columns.v0 {
            self.put(single, column, v0.map(Extended::from));
            column += 1;
        }
        let with_returns = last.iter().zip(returns);
        if columns.last {
            self.put(single, column, last.iter().copied());
            self.put(
                single,
                column + 1,
                with_returns.clone().map(|(w, g)| w.times(*g)),
            );
            column += 2;
        }
        if columns.squares {
            self.put(single, column, last.iter().map(|w| w.product(*w)));
            let terms = with_returns.map(|(w, g)| w.product(*w).times(*g));
            self.put(single, column + 1, terms);
        }
        if let Some(place) = self.layout.ended(unit) {
            let rows = &mut single.last[place / WIDTH * single.n..];
            for (row, w) in rows.iter_mut().zip(last) {
                row[place % WIDTH] = *w;
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

    /// The columns of one unit, each as a place in a panel.
    fn columns_of(&self, unit: usize) -> impl Iterator<Item = (&Cells, usize)> {
        let first = self.layout.single(unit);
        let single = (0..OWN).chain(first..first + self.layout.of(unit).single());
        let single = single.map(|column| (&self.single[column / WIDTH], column % WIDTH));
        let steps = self.steps[unit].iter();
        let steps = steps.flat_map(|cells| (0..WIDTH).map(move |slot| (cells, slot)));
        let place = self.layout.ended(unit);
        let lengths = place.into_iter().flat_map(|place| {
            let cells = self.ended[place / WIDTH].iter();
            cells.map(move |cells| (cells, place % WIDTH))
        });
        single.chain(steps).chain(lengths)
    }

    /// Whether the sums of one unit need no exponents.
    pub(crate) fn is_plain(&self, unit: usize) -> bool {
        self.columns_of(unit)
            .all(|(cells, slot)| cells.is_plain(slot))
    }

    /// Whether some sum of one unit under a replicate may miss terms that it would show.
    pub(crate) fn is_faint(&self, unit: usize, replicate: usize) -> bool {
        self.columns_of(unit)
            .any(|(cells, slot)| cells.is_faint(slot, replicate))
    }

    /// The sums of one unit under one replicate; `get` is [`Cells::get`], or where there are no exponents
    /// [`Cells::plain`].
    pub(crate) fn read<W: Weight>(
        &self,
        unit: usize,
        replicate: usize,
        get: impl Fn(&Cells, usize, usize) -> W,
        sums: &mut Sums<W>,
    ) {
        let at = |cells: &Cells, column| get(cells, column, replicate);
        let single = |column: usize| at(&self.single[column / WIDTH], column % WIDTH);
        let columns = self.layout.of(unit);
        let mut column = self.layout.single(unit);
        let (panels, per_step) = (&self.steps[unit], columns.per_step());
        for (t, step) in sums.steps.iter_mut().enumerate() {
            let into = [&mut step.w, &mut step.wr, &mut step.wd];
            let used = into.into_iter().zip(columns.steps);
            let sums = used.filter_map(|(sum, used)| used.then_some(sum));
            for (column, sum) in (t * per_step..).zip(sums) {
                *sum = at(&panels[column / WIDTH], column % WIDTH);
            }
        }
        if columns.v0 {
            sums.v0 = single(column).scaled(0);
            column += 1;
        }
        if columns.last {
            sums.last.sum = single(column);
            sums.last_return = single(column + 1);
            column += 2;
        } else if let [first] = &sums.steps[..] {
            sums.last.sum = first.w;
            sums.last_return = first.wr;
        }
        if columns.squares {
            sums.last.squares = single(column);
            sums.square_return = single(column + 1);
        }
        if let Some(place) = self.layout.ended(unit) {
            let lengths = &self.ended[place / WIDTH];
            for (sum, cells) in sums.ended[1..].iter_mut().zip(lengths) {
                *sum = at(cells, place % WIDTH);
            }
        }
    }
}
