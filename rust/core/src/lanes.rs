//! Loops that vectorise: sums in eight lanes, under the widest instructions the machine has.
//!
//! The lanes are part of the order of summation, and multiplications and additions are never fused,
//! so the bits do not depend on the machine.

use pulp::Arch;

/// Partial sums kept side by side, so that additions need not wait for each other.
const LANES: usize = 8;

/// Runs `job`, whose loops are compiled for each instruction set and chosen at run time.
pub(crate) fn vectorise<T>(job: impl FnOnce() -> T) -> T {
    Arch::new().dispatch(job)
}

/// sum of `term` over the rows of some columns of one length. One sum at a time: compilers add up
/// the lanes of a single sum in vectors, but not those of several.
#[inline(always)]
pub(crate) fn sum_of<const M: usize>(columns: [&[f64]; M], term: impl Fn([f64; M]) -> f64) -> f64 {
    let rows = columns[0].len();
    let whole = rows / LANES;
    let chunks = columns.map(|c| &c.as_chunks::<LANES>().0[..whole]);
    let mut lanes = [0.0; LANES];
    for i in 0..whole {
        let chunk = chunks.map(|c| &c[i]);
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(chunk.map(|c| c[lane]));
        }
    }
    let rest = (whole * LANES..rows).map(|row| term(columns.map(|c| c[row])));
    lanes.into_iter().chain(rest).sum()
}

/// sum of the values.
pub(crate) fn sum(values: &[f64]) -> f64 {
    vectorise(
        #[inline(always)]
        || sum_of([values], |[x]| x),
    )
}

/// sum of `term(a, b)` over two slices of one length.
#[inline(always)]
pub(crate) fn sum_pairs(a: &[f64], b: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    vectorise(
        #[inline(always)]
        || sum_of([a, b], |[x, y]| term(x, y)),
    )
}

/// The largest of values that are 0 or more; 0 without any.
#[inline(always)]
pub(crate) fn largest(values: &[f64]) -> f64 {
    let larger = |a: f64, b: f64| if b > a { b } else { a };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    lanes.iter().chain(rest).fold(0.0, |a, b| larger(a, *b))
}

/// Asks for the `rows` values that stand `distance` after `values[from..]` in memory to be fetched
/// while other work goes on. A log's columns do not fit the caches, and arithmetic in turns with
/// waiting for memory takes as long as both together. Past the column's end it does nothing useful
/// and no harm.
#[allow(unsafe_code)]
#[inline(always)]
pub(crate) fn prefetch(values: &[f64], from: usize, rows: usize, distance: usize) {
    const LINE: usize = 8;
    #[cfg(target_arch = "x86_64")]
    for i in (from..from + rows).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let address = values.as_ptr().wrapping_add(i + distance);
        // SAFETY: a hint, which reads nothing and cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, from, rows, distance);
}

/// `out[i] = term(i)`.
#[inline(always)]
pub(crate) fn fill(out: &mut [f64], term: impl Fn(usize) -> f64) {
    for (i, x) in out.iter_mut().enumerate() {
        *x = term(i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lanes_agree_with_a_plain_loop(values in prop::collection::vec(-1e3_f64..1e3, 0..40)) {
            let one = sum_of([&values[..]], |[x]| x);
            let plain: f64 = values.iter().sum();
            prop_assert!((one - plain).abs() <= 1e-9);
            prop_assert_eq!(sum_of([&values[..]], |[x]| 2.0 * x), 2.0 * one);
            prop_assert_eq!(sum(&values), one);
            prop_assert_eq!(sum_pairs(&values, &values, |a, _| a), one);
            let positive: Vec<_> = values.iter().map(|x| x.abs()).collect();
            prop_assert_eq!(largest(&positive), positive.iter().copied().fold(0.0, f64::max));
        }

        #[test]
        fn the_bits_do_not_depend_on_the_instructions(
            values in prop::collection::vec(any::<f64>().prop_filter("finite", |x| x.is_finite()), 0..40),
        ) {
            let run = || sum_of([&values[..]], |[x]| x * x + x);
            prop_assert_eq!(vectorise(run).to_bits(), run().to_bits());
        }
    }
}
