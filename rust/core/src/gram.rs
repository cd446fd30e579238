//! Sums of products over rows, by group: what normal equations are made of. Solving is Python's part.
//!
//! ```text
//! out[g, j, l, c] = sum over the rows i of group g of x[i, j] y[i, l] p[i, c]
//! ```
//!
//! With features x crossed with the action, g the action taken, y the next row's features and p the
//! probabilities of all actions there (of any number of policies side by side), this is
//! sum phi (phibar')^T of linear FQE, never forming the crossed features. With y = x and p a column of
//! weights it is the Gram matrix; with y the rewards, the right-hand side. Sums of parts add up to the
//! sum of the whole, so they merge.
//!
//! Threads split the columns of the result, never the rows: the bits do not depend on their number.

use pulp::{Arch, Simd, WithSimd};

use crate::error::Result;
use crate::pool::Work;

/// Rows multiplied at a time, and columns of the result that one task takes: both together stay in the
/// nearest cache.
const ROWS: usize = 64;
const COLUMNS: usize = 64;
/// Columns of x, and vectors of columns of the result, whose sums are kept in registers.
const TALL: usize = 4;
const WIDE: usize = 2;

/// Rows of equal width, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    values: &'a [f64],
    width: usize,
}

impl<'a> Rows<'a> {
    /// Rows of `width` values, at least one.
    pub fn new(values: &'a [f64], width: usize) -> Self {
        debug_assert!(width > 0 && values.len().is_multiple_of(width));
        Self { values, width }
    }

    fn row(&self, i: usize) -> &'a [f64] {
        &self.values[i * self.width..(i + 1) * self.width]
    }
}

/// The sums of products, by group, then by columns of x, y and p. `groups` names each row's, below
/// `n_groups`.
///
/// # Errors
/// [`crate::error::Error::Cancelled`].
pub fn product_sums(
    x: Rows,
    y: Rows,
    p: Rows,
    groups: &[u32],
    n_groups: usize,
    work: &Work,
) -> Result<Vec<f64>> {
    let width = y.width * p.width;
    let order = by_group(groups, n_groups);
    let mut out = vec![0.0; n_groups * x.width * width];
    let mut tile = 0;
    work.fold_blocks(
        width.div_ceil(COLUMNS),
        1,
        Space::default,
        |space, tile| {
            let columns = tile * COLUMNS..width.min((tile + 1) * COLUMNS);
            let mut sums = vec![0.0; n_groups * x.width * COLUMNS];
            for (rows, sums) in order.iter().zip(sums.chunks_mut(x.width * COLUMNS)) {
                for rows in rows.chunks(ROWS) {
                    work.check()?;
                    space.gather(x, y, p, rows, columns.clone());
                    Arch::new().dispatch(Add {
                        space,
                        width: x.width,
                        sums,
                    });
                }
            }
            Ok(sums)
        },
        |sums| {
            let columns = tile * COLUMNS..width.min((tile + 1) * COLUMNS);
            for (row, sums) in out.chunks_mut(width).zip(sums.chunks(COLUMNS)) {
                let row = &mut row[columns.clone()];
                row.copy_from_slice(&sums[..row.len()]);
            }
            tile += 1;
        },
    )?;
    Ok(out)
}

/// The rows of each group, in order.
fn by_group(groups: &[u32], n_groups: usize) -> Vec<Vec<u32>> {
    let mut order = vec![Vec::new(); n_groups];
    for (row, &group) in groups.iter().enumerate() {
        order[group as usize].push(row as u32);
    }
    order
}

/// Some rows of one group.
#[derive(Default)]
struct Space {
    x: Vec<f64>,
    /// y times p, for the columns of a tile; 0 beyond them.
    z: Vec<[f64; COLUMNS]>,
    /// Which columns of y and p make each column of the tile.
    pairs: Vec<(usize, usize)>,
}

impl Space {
    fn gather(&mut self, x: Rows, y: Rows, p: Rows, rows: &[u32], columns: std::ops::Range<usize>) {
        self.pairs.clear();
        self.pairs
            .extend(columns.map(|column| (column / p.width, column % p.width)));
        self.x.clear();
        self.z.clear();
        for &row in rows {
            let row = row as usize;
            self.x.extend_from_slice(x.row(row));
            let (y, p) = (y.row(row), p.row(row));
            let mut z = [0.0; COLUMNS];
            for (z, &(l, c)) in z.iter_mut().zip(&self.pairs) {
                *z = y[l] * p[c];
            }
            self.z.push(z);
        }
    }
}

/// Adds x^T z to the sums, a row of [`COLUMNS`] for each column of x.
///
/// Products are fused with additions where the machine can: these sums go into equations that numpy
/// solves, whose last bits depend on the machine anyway.
struct Add<'a> {
    space: &'a Space,
    width: usize,
    sums: &'a mut [f64],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let lanes = size_of::<S::f64s>() / size_of::<f64>();
        let vectors = self.space.pairs.len().div_ceil(lanes);
        let mut j = 0;
        while j + TALL <= self.width {
            self.rows::<S, TALL>(simd, j, vectors);
            j += TALL;
        }
        while j < self.width {
            self.rows::<S, 1>(simd, j, vectors);
            j += 1;
        }
    }
}

impl Add<'_> {
    /// The sums of J columns of x from `first` on.
    #[inline(always)]
    fn rows<S: Simd, const J: usize>(&mut self, simd: S, first: usize, vectors: usize) {
        let mut vector = 0;
        while vector + WIDE <= vectors {
            self.tile::<S, J, WIDE>(simd, first, vector);
            vector += WIDE;
        }
        while vector < vectors {
            self.tile::<S, J, 1>(simd, first, vector);
            vector += 1;
        }
    }

    /// Those of V vectors of columns of z, kept in registers.
    #[inline(always)]
    fn tile<S: Simd, const J: usize, const V: usize>(
        &mut self,
        simd: S,
        first: usize,
        vector: usize,
    ) {
        let mut found = [[simd.splat_f64s(0.0); V]; J];
        for (x, z) in self.space.x.chunks_exact(self.width).zip(&self.space.z) {
            let (x, z) = (&x[first..first + J], S::as_simd_f64s(z).0);
            let z = &z[vector..vector + V];
            for j in 0..J {
                let x = simd.splat_f64s(x[j]);
                for v in 0..V {
                    found[j][v] = simd.mul_add_e_f64s(x, z[v], found[j][v]);
                }
            }
        }
        for (j, found) in found.iter().enumerate() {
            let row = &mut self.sums[(first + j) * COLUMNS..][..COLUMNS];
            let row = &mut S::as_mut_simd_f64s(row).0[vector..vector + V];
            for (sum, found) in row.iter_mut().zip(found) {
                *sum = simd.add_f64s(*sum, *found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;
    use proptest::prelude::*;

    fn sums(
        x: Rows,
        y: Rows,
        p: Rows,
        groups: &[u32],
        n_groups: usize,
        threads: usize,
    ) -> Vec<f64> {
        let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let work = Work {
            threads,
            cancel: &cancel,
            done: &done,
        };
        product_sums(x, y, p, groups, n_groups, &work).expect("nothing cancels it")
    }

    proptest! {
        #[test]
        fn equal_to_a_plain_loop(
            rows in 0_usize..150,
            widths in (1_usize..7, 1_usize..9, 1_usize..20),
            n_groups in 1_usize..4,
            seed in any::<u32>(),
        ) {
            let (k, m, c) = widths;
            let mut state = u64::from(seed);
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
                (state >> 40) as f64 / 8_388_608.0 - 1.0
            };
            let x: Vec<f64> = (0..rows * k).map(|_| next()).collect();
            let y: Vec<f64> = (0..rows * m).map(|_| next()).collect();
            let p: Vec<f64> = (0..rows * c).map(|_| next()).collect();
            let groups: Vec<u32> = (0..rows).map(|i| (i * 7 % n_groups) as u32).collect();
            let (x, y, p) = (Rows::new(&x, k), Rows::new(&y, m), Rows::new(&p, c));
            let found = sums(x, y, p, &groups, n_groups, 1);
            prop_assert_eq!(found.len(), n_groups * k * m * c);
            let mut wanted = vec![0.0; found.len()];
            for (i, &group) in groups.iter().enumerate() {
                for j in 0..k {
                    for l in 0..m {
                        for q in 0..c {
                            wanted[((group as usize * k + j) * m + l) * c + q] +=
                                x.row(i)[j] * y.row(i)[l] * p.row(i)[q];
                        }
                    }
                }
            }
            for (a, b) in found.iter().zip(&wanted) {
                prop_assert!((a - b).abs() < 1e-12 * rows.max(1) as f64, "{a} {b}");
            }
            // Threads change no bit.
            prop_assert_eq!(&sums(x, y, p, &groups, n_groups, 3), &found);
        }
    }
}
