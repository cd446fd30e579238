//! The order of candidates by estimate.

use std::cmp::Ordering;

use crate::top_k::options::Ties;

/// The candidates' positions, highest estimate first, NaN last in the order given.
pub fn rank(estimated: &[f64], ties: Ties) -> Vec<usize> {
    let mut order = Vec::with_capacity(estimated.len());
    rank_into(estimated, ties, &mut order);
    order
}

/// [`rank`] into a vector that may be used again.
pub(crate) fn rank_into(estimated: &[f64], ties: Ties, order: &mut Vec<usize>) {
    order.clear();
    order.extend((0..estimated.len()).filter(|&i| !estimated[i].is_nan()));
    if ties == Ties::Last {
        order.reverse();
    }
    // Of equals what stands first stays first.
    let descending = |&a: &usize, &b: &usize| {
        let by_value = estimated[b].partial_cmp(&estimated[a]);
        let by_place = if ties == Ties::Last {
            b.cmp(&a)
        } else {
            a.cmp(&b)
        };
        by_value.unwrap_or(Ordering::Equal).then(by_place)
    };
    order.sort_unstable_by(descending);
    order.extend((0..estimated.len()).filter(|&i| estimated[i].is_nan()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        let estimated = [
            1.0,
            f64::NAN,
            2.0,
            1.0,
            f64::NAN,
            2.0,
            f64::INFINITY,
            -0.0,
            0.0,
        ];
        assert_eq!(rank(&estimated, Ties::First), [6, 2, 5, 0, 3, 7, 8, 1, 4]);
        assert_eq!(rank(&estimated, Ties::Last), [6, 5, 2, 3, 0, 8, 7, 1, 4]);
    }
}
