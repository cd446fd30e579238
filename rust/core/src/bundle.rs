//! A bundle of episodes as the bootstrap visits it: the longest first, some steps at a time.

use std::ops::Range;

use crate::digits::GROUP;
use crate::panels::{Row, WIDTH};
use crate::terms::episodes::residual;
use crate::tiles::Tile;
use crate::weights::{Extended, Weight};

/// Columns of steps that are filled before they are added up: small enough to stay in cache.
pub(crate) const STEP_COLUMNS: usize = 48;

/// The episodes of a tile in the order of their lengths, the longest first, ties as logged. So those
/// that reach a step are the first ones, and those of one length stand together.
#[derive(Default)]
pub(crate) struct Order {
    /// Positions within the tile.
    pub(crate) positions: Vec<u16>,
    /// First row of each, counted from the tile's first.
    starts: Vec<usize>,
    lengths: Vec<usize>,
}

impl Order {
    pub(crate) fn of(tile: &Tile) -> Self {
        let rows: Vec<_> = tile.rows().collect();
        let mut positions: Vec<u16> = (0..rows.len() as u16).collect();
        positions.sort_by_key(|&i| std::cmp::Reverse(rows[usize::from(i)].len()));
        let sorted = || positions.iter().map(|&i| &rows[usize::from(i)]);
        Self {
            starts: sorted().map(|rows| rows.start).collect(),
            lengths: sorted().map(Range::len).collect(),
            positions,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    /// Rows to a panel: whole groups.
    pub(crate) fn rows(&self) -> usize {
        self.len().next_multiple_of(GROUP)
    }

    /// How many reach a step.
    pub(crate) fn reaching(&self, step: usize) -> usize {
        self.lengths.partition_point(|&length| length > step)
    }

    /// Runs of one length, and that length.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let mut start = 0;
        self.lengths.chunk_by(|a, b| a == b).map(move |run| {
            start += run.len();
            (start - run.len()..start, run[0])
        })
    }

    /// Values by episode of the tile, in this order.
    pub(crate) fn arrange<'a>(&'a self, values: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        self.positions.iter().map(|&i| values[usize::from(i)])
    }

    /// First rows, in this order.
    pub(crate) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The last weights of a tile's rows, in this order.
    pub(crate) fn last<W: Weight>(&self, weights: &[W]) -> Vec<Extended> {
        let rows = self.starts.iter().zip(&self.lengths);
        rows.map(|(start, length)| weights[start + length - 1].widen())
            .collect()
    }

    /// Writes the terms W_t, W_t r_t and W_t d_t of the `steps`, as far as `columns` wants them, into panels
    /// of [`Order::rows`].
    pub(crate) fn write<'t, W: Weight>(
        &self,
        tile: &Tile<'t>,
        weights: &[W],
        gamma: f64,
        columns: [bool; 3],
        steps: Range<usize>,
        panels: &mut Vec<Row<W>>,
    ) {
        let per_step = columns.iter().filter(|wanted| **wanted).count();
        let n = self.rows();
        panels.clear();
        panels.resize(
            (steps.len() * per_step).div_ceil(WIDTH) * n,
            [W::ZERO; WIDTH],
        );
        let cells = panels.as_flattened_mut();
        // Where each column of each step stands in the first row.
        let places: Vec<usize> = (0..steps.len() * per_step)
            .map(|column| column / WIDTH * n * WIDTH + column % WIDTH)
            .collect();
        let reaching = self.reaching(steps.start);
        let episodes = self.starts.iter().zip(&self.lengths).take(reaching);
        for (i, (&start, &length)) in episodes.enumerate() {
            let rows = start + steps.start..start + steps.end.min(length);
            let cut = |column: &'t [f64]| &column[rows.clone()];
            let (w, reward) = (&weights[rows.clone()], cut(tile.reward));
            // The next step's v too, where there is one.
            let (q, v): (&[f64], &[f64]) = if columns[2] {
                (cut(tile.q), &tile.v[rows.start..start + length])
            } else {
                (&[], &[])
            };
            let cells = &mut cells[i * WIDTH..];
            let mut places = places.iter();
            for t in 0..w.len() {
                let mut put = |x: W| {
                    if let Some(&place) = places.next() {
                        cells[place] = x;
                    }
                };
                if columns[0] {
                    put(w[t]);
                }
                if columns[1] {
                    put(w[t].times(reward[t]));
                }
                if columns[2] {
                    put(w[t].times(residual(reward[t], q[t], v, t, gamma)));
                }
            }
        }
    }
}
