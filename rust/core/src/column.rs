//! A column of a log as a list of slices, read block by block, never concatenated or cast whole.
//!
//! Columns that sit beside each other in a log may be cut into chunks at different rows and may
//! have different types. A reader asks for a range of rows: where the range lies inside one chunk
//! of `f64` it gets that slice itself; otherwise the range alone is gathered into a scratch
//! buffer, widened to `f64` on the way.

use std::ops::Range;

/// A contiguous piece of a column.
#[derive(Debug, Clone, Copy)]
pub enum Chunk<'a> {
    /// The type every kernel works in: borrowed as it is.
    F64(&'a [f64]),
    /// Single precision.
    F32(&'a [f32]),
    /// Signed integers.
    I64(&'a [i64]),
    /// Signed integers.
    I32(&'a [i32]),
    /// Signed integers.
    I16(&'a [i16]),
    /// Signed integers.
    I8(&'a [i8]),
    /// Unsigned integers.
    U64(&'a [u64]),
    /// Unsigned integers.
    U32(&'a [u32]),
    /// Unsigned integers.
    U16(&'a [u16]),
    /// Unsigned integers.
    U8(&'a [u8]),
    /// Booleans, least significant bit first, as Arrow packs them.
    Bool {
        /// The packed bits.
        bits: &'a [u8],
        /// Position of the first value within `bits`.
        offset: usize,
        /// Number of values.
        len: usize,
    },
}

/// Evaluates an expression for the slice in a chunk of numbers, or another for packed booleans.
macro_rules! each_type {
    ($chunk:expr, $slice:ident => $numbers:expr, ($bits:ident, $offset:ident, $len:ident) => $booleans:expr) => {
        match $chunk {
            Chunk::F64($slice) => $numbers,
            Chunk::F32($slice) => $numbers,
            Chunk::I64($slice) => $numbers,
            Chunk::I32($slice) => $numbers,
            Chunk::I16($slice) => $numbers,
            Chunk::I8($slice) => $numbers,
            Chunk::U64($slice) => $numbers,
            Chunk::U32($slice) => $numbers,
            Chunk::U16($slice) => $numbers,
            Chunk::U8($slice) => $numbers,
            Chunk::Bool {
                bits: $bits,
                offset: $offset,
                len: $len,
            } => $booleans,
        }
    };
}

fn bit(bits: &[u8], position: usize) -> bool {
    bits[position / 8] >> (position % 8) & 1 == 1
}

impl Chunk<'_> {
    /// Number of values.
    pub fn len(&self) -> usize {
        each_type!(*self, s => s.len(), (_b, _o, len) => len)
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn gather(&self, range: Range<usize>, out: &mut Vec<f64>) {
        #[allow(clippy::cast_lossless, clippy::unnecessary_cast)]
        {
            each_type!(
                *self,
                s => out.extend(s[range].iter().map(|&x| x as f64)),
                (bits, offset, _l) => out.extend(range.map(|i| f64::from(u8::from(bit(bits, offset + i)))))
            );
        }
    }

    /// The values as integers that are equal exactly when the values are; `None` for floats.
    fn gather_codes(&self, range: Range<usize>, out: &mut Vec<i64>) -> bool {
        if matches!(self, Chunk::F64(_) | Chunk::F32(_)) {
            return false;
        }
        #[allow(clippy::cast_lossless, clippy::unnecessary_cast)]
        {
            each_type!(
                *self,
                s => out.extend(s[range].iter().map(|&x| x as i64)),
                (bits, offset, _l) => out.extend(range.map(|i| i64::from(bit(bits, offset + i))))
            );
        }
        true
    }
}

/// A column: chunks in row order.
#[derive(Debug, Clone, Default)]
pub struct Column<'a> {
    chunks: Vec<Chunk<'a>>,
    /// Row at which each chunk begins, and the number of rows at the end.
    starts: Vec<usize>,
}

impl<'a> FromIterator<Chunk<'a>> for Column<'a> {
    fn from_iter<I: IntoIterator<Item = Chunk<'a>>>(chunks: I) -> Self {
        let chunks: Vec<_> = chunks.into_iter().filter(|c| !c.is_empty()).collect();
        let mut starts = vec![0];
        let mut rows = 0;
        for chunk in &chunks {
            rows += chunk.len();
            starts.push(rows);
        }
        Self { chunks, starts }
    }
}

impl<'a> From<&'a [f64]> for Column<'a> {
    fn from(values: &'a [f64]) -> Self {
        [Chunk::F64(values)].into_iter().collect()
    }
}

impl<'a> Column<'a> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of the chunk that holds `row`.
    fn chunk_of(&self, row: usize) -> usize {
        self.starts.partition_point(|&start| start <= row) - 1
    }

    /// The pieces of `rows`: each a chunk and the range within it.
    fn pieces(&self, rows: Range<usize>) -> impl Iterator<Item = (Chunk<'a>, Range<usize>)> {
        let first = if rows.is_empty() {
            self.chunks.len()
        } else {
            self.chunk_of(rows.start)
        };
        (first..self.chunks.len())
            .take_while({
                let end = rows.end;
                move |&i| self.starts[i] < end
            })
            .map(move |i| {
                let (start, end) = (self.starts[i], self.starts[i + 1]);
                (
                    self.chunks[i],
                    rows.start.max(start) - start..rows.end.min(end) - start,
                )
            })
    }

    /// The values of `rows`: borrowed where they lie in one chunk of `f64`, else gathered into
    /// `scratch`.
    ///
    /// # Example
    ///
    /// ```
    /// use counterfolio_core::column::{Chunk, Column};
    ///
    /// let (a, b) = ([0.5, 1.5], [2_i32, 3]);
    /// let column: Column = [Chunk::F64(&a), Chunk::I32(&b)].into_iter().collect();
    /// let mut scratch = Vec::new();
    /// assert_eq!(column.read(1..4, &mut scratch), [1.5, 2.0, 3.0]);
    /// ```
    pub fn read<'s>(&self, rows: Range<usize>, scratch: &'s mut Vec<f64>) -> &'s [f64]
    where
        'a: 's,
    {
        if rows.is_empty() {
            return &[];
        }
        let i = self.chunk_of(rows.start);
        if rows.end <= self.starts[i + 1]
            && let Chunk::F64(values) = self.chunks[i]
        {
            return &values[rows.start - self.starts[i]..rows.end - self.starts[i]];
        }
        scratch.clear();
        for (chunk, range) in self.pieces(rows) {
            chunk.gather(range, scratch);
        }
        scratch
    }

    /// The values of `rows` as integer codes in `out`, or `false` if the column holds floats.
    pub fn read_codes(&self, rows: Range<usize>, out: &mut Vec<i64>) -> bool {
        out.clear();
        self.pieces(rows)
            .all(|(chunk, range)| chunk.gather_codes(range, out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_chunk_of_f64_is_borrowed() {
        let values = [1.0, 2.0, 3.0];
        let column = Column::from(&values[..]);
        let mut scratch = Vec::new();
        let read = column.read(1..3, &mut scratch);
        assert_eq!(read.as_ptr(), values[1..].as_ptr());
        assert_eq!(read, [2.0, 3.0]);
    }

    #[test]
    fn every_type_is_widened() {
        let column: Column = [
            Chunk::F32(&[0.5]),
            Chunk::I64(&[-3]),
            Chunk::I32(&[4]),
            Chunk::I16(&[-5]),
            Chunk::I8(&[6]),
            Chunk::U64(&[7]),
            Chunk::U32(&[8]),
            Chunk::U16(&[9]),
            Chunk::U8(&[10]),
            Chunk::Bool {
                bits: &[0b0000_0100, 1],
                offset: 2,
                len: 7,
            },
        ]
        .into_iter()
        .collect();
        let mut scratch = Vec::new();
        assert_eq!(
            column.read(0..column.len(), &mut scratch),
            [
                0.5, -3.0, 4.0, -5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0
            ]
        );
        assert!(!column.read_codes(0..2, &mut Vec::new()));
        let mut codes = Vec::new();
        assert!(column.read_codes(1..3, &mut codes));
        assert_eq!(codes, [-3, 4]);
    }

    #[test]
    fn empty_chunks_and_ranges() {
        let column: Column = [Chunk::F64(&[]), Chunk::F64(&[1.0]), Chunk::F64(&[])]
            .into_iter()
            .collect();
        let mut scratch = Vec::new();
        assert_eq!(column.read(0..1, &mut scratch), [1.0]);
        assert!(column.read(1..1, &mut scratch).is_empty());
        assert!(Column::default().is_empty());
    }

    proptest! {
        #[test]
        fn any_chunking_reads_the_same(
            values in prop::collection::vec(any::<f64>(), 1..40),
            cuts in prop::collection::vec(0_usize..40, 0..6),
            a in 0_usize..40,
            b in 0_usize..40,
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|c| c.min(values.len())).collect();
            cuts.extend([0, values.len()]);
            cuts.sort_unstable();
            let column: Column = cuts.windows(2).map(|w| Chunk::F64(&values[w[0]..w[1]])).collect();
            let range = a.min(b).min(values.len())..a.max(b).min(values.len());
            let mut scratch = Vec::new();
            let read = column.read(range.clone(), &mut scratch);
            prop_assert_eq!(read.len(), range.len());
            for (x, y) in read.iter().zip(&values[range]) {
                prop_assert_eq!(x.to_bits(), y.to_bits());
            }
        }
    }
}
