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

/// The sums of a panel's columns under some octets of replicates.
#[derive(Clone)]
pub(crate) struct Cells {
    /// By octet, column and replicate.
    sums: Vec<[[f64; OCTET]; WIDTH]>,
    /// Power of two by which a column's sums are to be multiplied; `None` while they are 0.
    exponents: [Option<i64>; WIDTH],
}

impl Cells {
    pub(crate) fn new(octets: usize) -> Self {
        Self {
            sums: vec![[[0.0; OCTET]; WIDTH]; octets],
            exponents: [None; WIDTH],
        }
    }

    /// Makes room in a column for terms as large as 2^`exponent`. Returns the power of two by which
    /// terms are to be divided before they are added.
    ///
    /// What is 2^1000 times smaller than the largest term so far vanishes, which shows only in
    /// replicates that draw none of the larger ones.
    pub(crate) fn fit(&mut self, column: usize, exponent: i64) -> i64 {
        match self.exponents[column] {
            Some(held) if held >= exponent => return held,
            Some(held) => {
                let factor = Extended::new(1.0, held - exponent).to_f64();
                for sums in &mut self.sums {
                    for sum in &mut sums[column] {
                        *sum *= factor;
                    }
                }
            }
            None => (),
        }
        self.exponents[column] = Some(exponent);
        exponent
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
        let sum = self.sums[replicate / OCTET][column][replicate % OCTET];
        Extended::new(sum, self.exponents[column].unwrap_or(0))
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
                cells.fit(column, 0);
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
            let shift = cells.fit(2, exponent);
            let x = Extended::new(1.0, exponent - shift).to_f64();
            cells.add([&one[..]].into_iter(), &[[x; WIDTH]]);
            (shift, cells.get(2, 5))
        };
        assert_eq!(add(-2000), (-2000, Extended::new(1.0, -2000)));
        assert_eq!(add(-1999), (-1999, Extended::new(3.0, -2000)));
        assert_eq!(add(0), (0, Extended::from(1.0)));
        assert_eq!(add(-1), (0, Extended::from(1.5)));
    }
}
