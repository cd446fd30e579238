//! Where episodes begin and end in the rows of a log.

use std::collections::HashMap;
use std::ops::Range;

use crate::column::Column;

/// Rows read at a time when a whole column is scanned.
pub(crate) const SCAN_ROWS: usize = 8192;

/// The ranges `0..n` in steps of [`SCAN_ROWS`].
pub(crate) fn scan(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows)
        .step_by(SCAN_ROWS)
        .map(move |start| start..rows.min(start + SCAN_ROWS))
}

/// The rows of each episode, contiguous and in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Episodes {
    /// A bandit log: each row is an episode of one step.
    EachRow(usize),
    /// Episode i holds rows `offsets[i]..offsets[i + 1]`.
    Offsets(Vec<usize>),
}

/// An episode id that came back after another id had closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reappearance {
    /// First row of the earlier episode.
    pub first_row: usize,
    /// Row at which the id comes back.
    pub row: usize,
    /// How many times any id comes back.
    pub count: usize,
}

/// What a scan of the timestep column found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timesteps {
    /// Rows whose timestep does not exceed the one before it in the episode.
    pub not_increasing: usize,
    /// The first such row.
    pub first_row: usize,
    /// Rows that skip at least one step.
    pub gaps: usize,
}

impl Episodes {
    /// Number of episodes.
    pub fn len(&self) -> usize {
        match self {
            Self::EachRow(n) => *n,
            Self::Offsets(offsets) => offsets.len() - 1,
        }
    }

    /// Whether there is no episode.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of the episodes from `first` to before `last`.
    pub fn rows(&self, first: usize, last: usize) -> Range<usize> {
        match self {
            Self::EachRow(_) => first..last,
            Self::Offsets(offsets) => offsets[first]..offsets[last],
        }
    }

    /// Number of steps of episode `i`.
    pub fn length(&self, i: usize) -> usize {
        self.rows(i, i + 1).len()
    }

    /// Whether some episodes are longer than others.
    pub fn lengths_differ(&self) -> bool {
        match self {
            Self::EachRow(_) => false,
            Self::Offsets(offsets) => {
                let mut lengths = offsets.windows(2).map(|w| w[1] - w[0]);
                let first = lengths.next();
                lengths.any(|length| Some(length) != first)
            }
        }
    }

    /// Steps of the longest episode; 0 without episodes.
    pub fn longest(&self) -> usize {
        match self {
            Self::EachRow(n) => usize::from(*n > 0),
            Self::Offsets(offsets) => offsets.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0),
        }
    }

    /// From ids: an episode is a run of equal ids. `None` if the column holds floats.
    ///
    /// # Errors
    /// Where an id comes back after its episode closed.
    pub fn from_ids(ids: &Column) -> Option<Result<Self, Reappearance>> {
        let mut offsets = Vec::new();
        let mut heads = Vec::new();
        let mut codes = Vec::new();
        for rows in scan(ids.len()) {
            if !ids.read_codes(rows.clone(), &mut codes) {
                return None;
            }
            for (row, &id) in rows.zip(&codes) {
                if heads.last() != Some(&id) {
                    offsets.push(row);
                    heads.push(id);
                }
            }
        }
        // Sorted ids, the common case, need no hash table.
        if !heads.is_sorted() {
            let mut seen = HashMap::with_capacity(heads.len());
            let mut back = None;
            for (&id, &row) in heads.iter().zip(&offsets) {
                if let Some(first_row) = seen.insert(id, row) {
                    let found: &mut Reappearance = back.get_or_insert(Reappearance {
                        first_row,
                        row,
                        count: 0,
                    });
                    found.count += 1;
                }
            }
            if let Some(found) = back {
                return Some(Err(found));
            }
        }
        offsets.push(ids.len());
        Some(Ok(Self::from_offsets(offsets, ids.len())))
    }

    /// From flags: an episode ends at each row where any of the columns is not 0. The last
    /// episode ends with the log.
    pub fn from_ends(rows: usize, flags: &[Column]) -> Self {
        let mut offsets = vec![0];
        let mut scratch = vec![Vec::new(); flags.len()];
        for range in scan(rows) {
            let read: Vec<_> = flags
                .iter()
                .zip(&mut scratch)
                .map(|(flag, scratch)| flag.read(range.clone(), scratch))
                .collect();
            for (i, row) in range.enumerate() {
                if read.iter().any(|values| values[i] != 0.0) {
                    offsets.push(row + 1);
                }
            }
        }
        if offsets.last() != Some(&rows) {
            offsets.push(rows);
        }
        Self::from_offsets(offsets, rows)
    }

    /// A log whose episodes all have one step is a bandit log, however they were marked.
    fn from_offsets(offsets: Vec<usize>, rows: usize) -> Self {
        if offsets.len() == rows + 1 {
            Self::EachRow(rows)
        } else {
            Self::Offsets(offsets)
        }
    }

    /// Rows before the last of their episode at which `flag` is not 0: how many, and the first.
    pub fn ends_inside(&self, flag: &Column) -> (usize, usize) {
        let (mut count, mut first) = (0, 0);
        let mut scratch = Vec::new();
        for i in 0..self.len() {
            let rows = self.rows(i, i + 1);
            for inside in scan(rows.len() - 1) {
                let start = rows.start + inside.start;
                let values = flag.read(start..rows.start + inside.end, &mut scratch);
                for (k, _) in values.iter().enumerate().filter(|(_, x)| **x != 0.0) {
                    if count == 0 {
                        first = start + k;
                    }
                    count += 1;
                }
            }
        }
        (count, first)
    }

    /// How many episodes have `flag` other than 0 on their last row.
    pub fn flagged_last(&self, flag: &Column) -> usize {
        let mut scratch = Vec::new();
        (0..self.len())
            .filter(|&i| {
                let end = self.rows(i, i + 1).end;
                flag.read(end - 1..end, &mut scratch)[0] != 0.0
            })
            .count()
    }

    /// Checks that timesteps increase within each episode and counts the steps they skip.
    pub fn check_timesteps(&self, timestep: &Column) -> Timesteps {
        let mut found = Timesteps::default();
        let (mut values, mut codes) = (Vec::new(), Vec::new());
        let mut note = |row: usize, before: f64| {
            // `before` is this row's timestep less the previous one's.
            if before <= 0.0 {
                if found.not_increasing == 0 {
                    found.first_row = row;
                }
                found.not_increasing += 1;
            } else if before > 1.0 {
                found.gaps += 1;
            }
        };
        for i in 0..self.len() {
            let rows = self.rows(i, i + 1);
            for inside in scan(rows.len() - 1) {
                // One row of overlap, so that every pair of neighbours is seen.
                let range = rows.start + inside.start..rows.start + inside.end + 1;
                let first = range.start + 1;
                if timestep.read_codes(range.clone(), &mut codes) {
                    for (k, w) in codes.windows(2).enumerate() {
                        note(first + k, w[1].wrapping_sub(w[0]) as f64);
                    }
                } else {
                    let read = timestep.read(range, &mut values);
                    for (k, w) in read.windows(2).enumerate() {
                        note(first + k, w[1] - w[0]);
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Chunk;

    fn integers(values: &[i64]) -> Column<'_> {
        // Two chunks, so that a boundary lies inside an episode.
        let (a, b) = values.split_at(values.len() / 2);
        [Chunk::I64(a), Chunk::I64(b)].into_iter().collect()
    }

    #[test]
    fn runs_of_ids() {
        let episodes = Episodes::from_ids(&integers(&[7, 7, -1, 3, 3, 3]));
        assert_eq!(episodes, Some(Ok(Episodes::Offsets(vec![0, 2, 3, 6]))));
        assert_eq!(
            Episodes::from_ids(&integers(&[7, -1, 3, -1, -1, 7])),
            Some(Err(Reappearance {
                first_row: 1,
                row: 3,
                count: 2
            }))
        );
        assert_eq!(Episodes::from_ids(&Column::from(&[1.0][..])), None);
    }

    #[test]
    fn ids_that_never_repeat_make_a_bandit_log() {
        let episodes = Episodes::from_ids(&integers(&[7, -1, 3]));
        assert_eq!(episodes, Some(Ok(Episodes::EachRow(3))));
        let all = [1.0, 1.0];
        let episodes = Episodes::from_ends(2, &[Column::from(&all[..])]);
        assert_eq!(episodes, Episodes::EachRow(2));
    }

    #[test]
    fn ends_from_flags() {
        let flags = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
        let episodes = Episodes::from_ends(6, &[Column::from(&flags[..])]);
        assert_eq!(episodes, Episodes::Offsets(vec![0, 2, 5, 6]));
        assert_eq!(episodes.longest(), 3);
        assert_eq!(episodes.flagged_last(&Column::from(&flags[..])), 2);
        assert_eq!(
            Episodes::Offsets(vec![0, 3, 6]).ends_inside(&Column::from(&flags[..])),
            (2, 1)
        );
    }

    #[test]
    fn timesteps_repeat_skip_and_run_backwards() {
        let episodes = Episodes::Offsets(vec![0, 3, 6]);
        let check = |t: &[i64]| episodes.check_timesteps(&integers(t));
        assert_eq!(check(&[0, 1, 2, 0, 1, 2]), Timesteps::default());
        assert_eq!(check(&[0, 2, 4, 5, 6, 9]).gaps, 3);
        let bad = check(&[0, 1, 1, 5, 6, 2]);
        assert_eq!((bad.not_increasing, bad.first_row), (2, 2));
        // Nanoseconds since 1970 differ by less than a float can tell.
        let now = 1_700_000_000_000_000_000;
        let nanoseconds = check(&[now, now + 1, now + 2, now, now + 1, now + 2]);
        assert_eq!(nanoseconds, Timesteps::default());
    }

    #[test]
    fn long_episodes_are_scanned_across_boundaries() {
        let n = 3 * SCAN_ROWS as i64;
        let mut t: Vec<i64> = (0..n).collect();
        let episodes = Episodes::Offsets(vec![0, t.len()]);
        assert_eq!(
            episodes.check_timesteps(&integers(&t)),
            Timesteps::default()
        );
        t[SCAN_ROWS] = SCAN_ROWS as i64 - 1;
        let found = episodes.check_timesteps(&integers(&t));
        assert_eq!((found.not_increasing, found.first_row), (1, SCAN_ROWS));
    }
}
