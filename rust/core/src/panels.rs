//! Sums of eight columns under the multiplicities of many replicates, by the method of four Russians
//! (Arlazarov, Dinic, Kronrod and Faradzev 1970, there for Boolean matrices).
//!
//! All replicates add up the same rows, nearly all of them 0 to 3 times. So the sums of all 64 subsets
//! of six rows are tabulated, once for all replicates, and each replicate looks up two of them, one for
//! either binary digit of its multiplicities ([`crate::digits`]), where it would have to multiply and
//! add six times. Rows that it does not draw have no part in its sums. A row is a cache line, and the
//! tables of a stretch fill the nearest cache.

use std::ops::Range;

use crate::digits::{Digits, GROUP, GROUPS, Low};
use crate::lanes::vectorise;
use crate::resample::OCTET;
use crate::weights::Extended;

/// Columns of a panel.
pub(crate) const WIDTH: usize = 8;

/// One episode's part of a panel.
pub(crate) type Row<W> = [W; WIDTH];

/// Terms this many powers of two below a column's largest are not held in full by `f64`.
const DEPTH: i64 = 1000;
/// What such terms can add to a sum of this size is rounding.
const FAINT: f64 = f64::from_bits((1023 - 900) << 52);

/// The smallest and the largest exponent of some terms that are not 0.
pub(crate) type Exponents = (i64, i64);

/// The sum of some rows, on a cache line of its own.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Sum([f64; WIDTH]);

impl Sum {
    const ZERO: Self = Self([0.0; WIDTH]);

    #[inline(always)]
    fn plus(self, row: &Row<f64>) -> Self {
        Self(std::array::from_fn(|column| self.0[column] + row[column]))
    }

    #[inline(always)]
    fn plus_times(self, factor: f64, row: &Row<f64>) -> Self {
        Self(std::array::from_fn(|column| {
            self.0[column] + factor * row[column]
        }))
    }
}

/// The sums of all subsets of a group's rows: bit i of its number says whether a subset has row i.
type Table = [Sum; 1 << GROUP];

/// Room for those of a stretch. The sums of no rows are 0 from the first.
pub(crate) struct Tables(Vec<Table>);

impl Default for Tables {
    fn default() -> Self {
        Self(vec![[Sum::ZERO; 1 << GROUP]; GROUPS])
    }
}

#[inline(always)]
fn tabulate(rows: &[Row<f64>; GROUP], table: &mut Table) {
    for (i, row) in rows.iter().enumerate() {
        let (without, with) = table.split_at_mut(1 << i);
        for (with, without) in with.iter_mut().zip(without) {
            *with = without.plus(row);
        }
    }
}

/// Adds up the groups of some tables for each replicate: from the bit `shift` on, either digit of its
/// multiplicities has a byte for each of them.
#[inline(always)]
fn look_up(tables: &[Table], digits: &[Low], shift: usize, sums: &mut [[Sum; OCTET]]) {
    for (sums, [low, high]) in sums.iter_mut().zip(digits) {
        for ((sum, low), high) in sums.iter_mut().zip(low).zip(high) {
            let (low, high) = (low >> shift, high >> shift);
            let [mut once, mut twice] = [Sum::ZERO; 2];
            for (group, table) in tables.iter().enumerate() {
                let of = |subsets: u64| &table[(subsets >> (8 * group)) as usize % table.len()].0;
                once = once.plus(of(low));
                twice = twice.plus(of(high));
            }
            *sum = sum.plus(&once.plus_times(2.0, &twice.0).0);
        }
    }
}

/// The sums of a panel's columns under some octets of replicates.
#[derive(Clone)]
pub(crate) struct Cells {
    /// By octet and replicate.
    sums: Vec<[Sum; OCTET]>,
    /// Power of two by which a column's sums are to be multiplied, and the smallest exponent of a term;
    /// `None` while all terms are 0.
    exponents: [Option<Exponents>; WIDTH],
}

impl Cells {
    pub(crate) fn new(octets: usize) -> Self {
        Self {
            sums: vec![[Sum::ZERO; OCTET]; octets],
            exponents: [None; WIDTH],
        }
    }

    /// Makes room in a column for terms; the second of the exponents is that of the sums, as large as the
    /// largest term or 0. Returns the power of two by which terms are to be divided before they are added.
    ///
    /// What is 2^1000 times smaller than the largest term so far vanishes, which shows in replicates that
    /// draw none of the larger ones: see [`Cells::is_faint`].
    pub(crate) fn fit(&mut self, column: usize, terms: Option<Exponents>) -> i64 {
        let held = self.exponents[column];
        let Some((lowest, exponent)) = terms else {
            return held.map_or(0, |(_, held)| held);
        };
        let Some((below, held)) = held else {
            self.exponents[column] = Some((lowest, exponent));
            return exponent;
        };
        if held < exponent {
            let factor = Extended::new(1.0, held - exponent).to_f64();
            for sum in self.sums.as_flattened_mut() {
                sum.0[column] *= factor;
            }
        }
        let exponent = held.max(exponent);
        self.exponents[column] = Some((below.min(lowest), exponent));
        exponent
    }

    /// Whether a column has no exponent.
    pub(crate) fn is_plain(&self, column: usize) -> bool {
        self.exponents[column].is_none_or(|(_, held)| held == 0)
    }

    /// Whether a sum is so small beside its column's scale that terms which it would show may have vanished.
    pub(crate) fn is_faint(&self, column: usize, replicate: usize) -> bool {
        self.exponents[column].is_some_and(|(lowest, held)| {
            held - lowest > DEPTH && self.plain(column, replicate).abs() < FAINT
        })
    }

    /// The sum of a column under one replicate, without its exponent.
    pub(crate) fn plain(&self, column: usize, replicate: usize) -> f64 {
        self.sums[replicate / OCTET][replicate % OCTET].0[column]
    }

    /// Adds, for each replicate, the sum over i of its multiplicity times row i. Rows fill up whole
    /// groups, and those that are not of the `episodes` are 0.
    pub(crate) fn add(
        &mut self,
        drawn: &Digits,
        tables: &mut Tables,
        episodes: Range<usize>,
        rows: &[Row<f64>],
    ) {
        let groups = episodes.start / GROUP..episodes.end.div_ceil(GROUP);
        let (grouped, _) = rows.as_chunks::<GROUP>();
        vectorise(
            #[inline(always)]
            || {
                for stretch in groups.start / GROUPS..groups.end.div_ceil(GROUPS) {
                    let first = stretch * GROUPS;
                    let own = groups.start.max(first)..groups.end.min(first + GROUPS);
                    let shift = 8 * (own.start - first);
                    let tables = &mut tables.0[..own.len()];
                    for (table, rows) in tables.iter_mut().zip(&grouped[own]) {
                        tabulate(rows, table);
                    }
                    let sums = &mut self.sums;
                    // The length of most loops is known beforehand: they unroll.
                    match tables.first_chunk::<GROUPS>() {
                        Some(all) => look_up(all, drawn.low(stretch), 0, sums),
                        None => look_up(tables, drawn.low(stretch), shift, sums),
                    }
                }
                for (sums, high) in self.sums.iter_mut().zip(drawn.high(episodes.end)) {
                    for (replicate, sum) in sums.iter_mut().enumerate() {
                        let more = high.iter().fold(Sum::ZERO, |more, high| {
                            let row = &rows[usize::from(high.episodes[replicate])];
                            more.plus_times(high.multiplicities[replicate], row)
                        });
                        *sum = sum.plus(&more.0);
                    }
                }
            },
        );
    }

    /// The sum of a column under one replicate.
    pub(crate) fn get(&self, column: usize, replicate: usize) -> Extended {
        let exponent = self.exponents[column].map_or(0, |(_, held)| held);
        Extended::new(self.plain(column, replicate), exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Multiplicities of as many episodes, which repeat with the period of `counts`, by octet.
    fn drawn(episodes: usize, octets: usize, counts: &[u32]) -> Vec<Vec<[u32; OCTET]>> {
        let mut counts = counts.iter().copied().cycle();
        let mut octet = || std::array::from_fn(|_| counts.next().unwrap_or(0));
        let mut all = || (0..episodes).map(|_| octet()).collect();
        (0..octets).map(|_| all()).collect()
    }

    fn sums(drawn: &[Vec<[u32; OCTET]>], episodes: Range<usize>, rows: &[Row<f64>]) -> Cells {
        let mut digits = Digits::default();
        digits.begin(drawn[0].len(), drawn.len());
        for (octet, m) in drawn.iter().enumerate() {
            digits.put(octet, m);
        }
        let mut cells = Cells::new(drawn.len());
        cells.add(&digits, &mut Tables::default(), episodes, rows);
        cells
    }

    fn any_count() -> impl Strategy<Value = u32> {
        prop_oneof![9 => 0_u32..4, 2 => 4_u32..13, 1 => 0..=u32::from(u16::MAX)]
    }

    proptest! {
        #[test]
        fn sums_are_those_of_a_plain_loop(
            terms in prop::collection::vec(prop::array::uniform8(-9.0_f64..9.0), 1..120),
            counts in prop::collection::vec(any_count(), 1..1000),
            (start, end) in (0.0_f64..1.0, 0.0_f64..1.0),
        ) {
            let n = terms.len();
            let place = |share: f64| (share * (n + 1) as f64) as usize;
            let episodes = place(start.min(end))..place(start.max(end));
            let mut rows = vec![[0.0; WIDTH]; n.next_multiple_of(GROUP)];
            rows[episodes.clone()].copy_from_slice(&terms[episodes.clone()]);
            let drawn = drawn(n, 3, &counts);
            let cells = sums(&drawn, episodes, &rows);
            for replicate in 0..3 * OCTET {
                let drawn = &drawn[replicate / OCTET..][..1];
                let alone = sums(drawn, 0..n, &rows);
                for column in 0..WIDTH {
                    let terms = drawn[0].iter().zip(&rows);
                    let terms = terms.map(|(m, row)| f64::from(m[replicate % OCTET]) * row[column]);
                    let scale: f64 = terms.clone().map(f64::abs).sum();
                    let found = cells.plain(column, replicate);
                    prop_assert!((found - terms.sum::<f64>()).abs() <= 16.0 * f64::EPSILON * scale);
                    // Groups that are all 0 and other octets make no difference.
                    prop_assert_eq!(found, alone.plain(column, replicate % OCTET));
                }
            }
        }

        #[test]
        fn what_is_not_drawn_leaves_no_trace(
            large in 0_usize..60,
            counts in prop::collection::vec(any_count(), 1..1000),
        ) {
            let mut rows = vec![[1.0; WIDTH]; 60];
            rows[large] = [1e300; WIDTH];
            let drawn = drawn(60, 1, &counts);
            let cells = sums(&drawn, 0..60, &rows);
            for replicate in 0..OCTET {
                let count: u32 = drawn[0].iter().map(|m| m[replicate]).sum();
                if drawn[0][large][replicate] == 0 {
                    prop_assert_eq!(cells.plain(7, replicate), f64::from(count));
                }
            }
        }
    }

    #[test]
    fn columns_make_room_for_larger_terms() {
        let mut cells = Cells::new(1);
        let mut once = Digits::default();
        once.begin(1, 1);
        once.put(0, &[[1; OCTET]]);
        let mut tables = Tables::default();
        let mut add = |exponent: i64| {
            let shift = cells.fit(2, Some((exponent, exponent)));
            let mut rows = [[0.0; WIDTH]; GROUP];
            rows[0] = [Extended::new(1.0, exponent - shift).to_f64(); WIDTH];
            cells.add(&once, &mut tables, 0..1, &rows);
            (shift, cells.get(2, 5))
        };
        assert_eq!(add(-2000), (-2000, Extended::new(1.0, -2000)));
        assert_eq!(add(-1999), (-1999, Extended::new(3.0, -2000)));
        assert_eq!(add(0), (0, Extended::from(1.0)));
        assert_eq!(add(-1), (0, Extended::from(1.5)));
        assert!(!cells.is_faint(2, 5));
        assert!(cells.fit(2, None) == 0 && cells.fit(3, None) == 0);
        cells.sums[0][5].0[2] = 1e-290;
        assert!(cells.is_faint(2, 5) && !cells.is_faint(3, 5));
    }
}
