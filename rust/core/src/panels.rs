//! Sums of six columns under the multiplicities of eight replicates at a time: the register tile.
//!
//! Twelve vectors of four accumulators stay in registers while episodes go by, which is as many
//! multiply-adds a cycle as the machine has. They are fused, which a processor without such an
//! instruction imitates, slowly: the bits do not depend on the machine.

use crate::lanes::vectorise;
use crate::resample::OCTET;
use crate::weights::Extended;

/// Columns of a panel.
pub(crate) const WIDTH: usize = 6;

/// One episode's part of a panel.
pub(crate) type Row<W> = [W; WIDTH];

/// Terms this many powers of two below a column's largest are not held in full by `f64`.
const DEPTH: i64 = 1000;
/// What such terms can add to a sum of this size is rounding.
const FAINT: f64 = f64::from_bits((1023 - 900) << 52);

/// The smallest and the largest exponent of some terms that are not 0.
pub(crate) type Exponents = (i64, i64);

/// The sums of a panel's columns under some octets of replicates.
#[derive(Clone)]
pub(crate) struct Cells {
    /// By octet, column and replicate.
    sums: Vec<[[f64; OCTET]; WIDTH]>,
    /// Power of two by which a column's sums are to be multiplied, and the smallest exponent of a term;
    /// `None` while all terms are 0.
    exponents: [Option<Exponents>; WIDTH],
}

impl Cells {
    pub(crate) fn new(octets: usize) -> Self {
        Self {
            sums: vec![[[0.0; OCTET]; WIDTH]; octets],
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
            for sums in &mut self.sums {
                for sum in &mut sums[column] {
                    *sum *= factor;
                }
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
        self.sums[replicate / OCTET][column][replicate % OCTET]
    }

    /// Adds, for each replicate, the sum over i of its multiplicity times row i, in the order of i.
    /// `multiplicities` holds those of as many episodes as there are rows for each octet.
    pub(crate) fn add<'m>(
        &mut self,
        multiplicities: impl Iterator<Item = &'m [[f64; OCTET]]>,
        rows: &[Row<f64>],
    ) {
        vectorise(
            #[inline(always)]
            || {
                for (sums, m) in self.sums.iter_mut().zip(multiplicities) {
                    let mut tile = [[0.0; OCTET]; WIDTH];
                    for (m, row) in m.iter().zip(rows) {
                        for (sums, x) in tile.iter_mut().zip(row) {
                            for (sum, m) in sums.iter_mut().zip(m) {
                                *sum = m.mul_add(*x, *sum);
                            }
                        }
                    }
                    for (sums, more) in sums.iter_mut().zip(&tile) {
                        for (sum, x) in sums.iter_mut().zip(more) {
                            *sum += x;
                        }
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

    proptest! {
        #[test]
        fn sums_are_those_of_a_plain_loop(
            terms in prop::collection::vec((prop::array::uniform6(-9.0_f64..9.0), 0_u8..5), 0..40),
        ) {
            let rows: Vec<_> = terms.iter().map(|(row, _)| *row).collect();
            let m: Vec<[f64; OCTET]> = terms
                .iter()
                .map(|(_, m)| std::array::from_fn(|r| f64::from(*m) * (r % 3) as f64))
                .collect();
            let mut cells = Cells::new(2);
            for column in 0..WIDTH {
                cells.fit(column, Some((0, 0)));
            }
            cells.add([&m[..], &m[..]].into_iter(), &rows);
            cells.add([&m[..], &m[..]].into_iter(), &rows);
            for replicate in 0..2 * OCTET {
                for column in 0..WIDTH {
                    let once = rows.iter().zip(&m).fold(0.0, |sum: f64, (row, m)| {
                        m[replicate % OCTET].mul_add(row[column], sum)
                    });
                    prop_assert_eq!(cells.get(column, replicate).to_f64(), once + once);
                }
            }
        }
    }

    #[test]
    fn columns_make_room_for_larger_terms() {
        let mut cells = Cells::new(1);
        let one = [[1.0; OCTET]];
        let mut add = |exponent: i64| {
            let shift = cells.fit(2, Some((exponent, exponent)));
            let x = Extended::new(1.0, exponent - shift).to_f64();
            cells.add([&one[..]].into_iter(), &[[x; WIDTH]]);
            (shift, cells.get(2, 5))
        };
        assert_eq!(add(-2000), (-2000, Extended::new(1.0, -2000)));
        assert_eq!(add(-1999), (-1999, Extended::new(3.0, -2000)));
        assert_eq!(add(0), (0, Extended::from(1.0)));
        assert_eq!(add(-1), (0, Extended::from(1.5)));
        assert!(!cells.is_faint(2, 5));
        assert!(cells.fit(2, None) == 0 && cells.fit(3, None) == 0);
        cells.sums[0][2][5] = 1e-290;
        assert!(cells.is_faint(2, 5) && !cells.is_faint(3, 5));
    }
}
