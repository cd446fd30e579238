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

/// sum of `term` over the rows of some columns of one length.
#[inline(always)]
pub(crate) fn sums<const M: usize, const N: usize>(
    columns: [&[f64]; M],
    term: impl Fn([f64; M]) -> [f64; N],
) -> [f64; N] {
    let rows = columns[0].len();
    let whole = rows / LANES;
    let chunks = columns.map(|c| &c.as_chunks::<LANES>().0[..whole]);
    let mut lanes = [[0.0; LANES]; N];
    for i in 0..whole {
        let chunk = chunks.map(|c| &c[i]);
        for lane in 0..LANES {
            let terms = term(chunk.map(|c| c[lane]));
            for k in 0..N {
                lanes[k][lane] += terms[k];
            }
        }
    }
    let mut total = lanes.map(|lanes| lanes.iter().sum());
    for row in whole * LANES..rows {
        for (sum, x) in total.iter_mut().zip(term(columns.map(|c| c[row]))) {
            *sum += x;
        }
    }
    total
}

/// sum of the values.
pub(crate) fn sum(values: &[f64]) -> f64 {
    vectorise(
        #[inline(always)]
        || sums([values], |x| x)[0],
    )
}

/// sum of `term(a, b)` over two slices of one length.
#[inline(always)]
pub(crate) fn sum_pairs(a: &[f64], b: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    vectorise(
        #[inline(always)]
        || sums([a, b], |[x, y]| [term(x, y)])[0],
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
            let [one, two] = sums([&values[..]], |[x]| [x, 2.0 * x]);
            let plain: f64 = values.iter().sum();
            prop_assert!((one - plain).abs() <= 1e-9);
            prop_assert_eq!(two, 2.0 * one);
            prop_assert_eq!(sum(&values), one);
            prop_assert_eq!(sum_pairs(&values, &values, |a, _| a), one);
            let positive: Vec<_> = values.iter().map(|x| x.abs()).collect();
            prop_assert_eq!(largest(&positive), positive.iter().copied().fold(0.0, f64::max));
        }

        #[test]
        fn the_bits_do_not_depend_on_the_instructions(
            values in prop::collection::vec(any::<f64>().prop_filter("finite", |x| x.is_finite()), 0..40),
        ) {
            let run = || sums([&values[..]], |[x]| [x * x + x])[0];
            prop_assert_eq!(vectorise(run).to_bits(), run().to_bits());
        }
    }
}
