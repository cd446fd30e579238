//! How often each episode is drawn in each replicate of the bootstrap.
//!
//! Poisson: independent Poisson(1) multiplicities, each a function of (seed, hash of the id, replicate)
//! alone. Neither the order of episodes nor the number of replicates, threads or machines changes
//! a draw, so more replicates extend the earlier ones. Multinomial: n draws with replacement, which
//! depend on the number of episodes and on their order.
//!
//! Split: each episode is in one part or in the rest, by a draw of its own; an estimate from either half is
//! then a replicate as any other.
//!
//! With clusters (users, say) every episode of a cluster has the cluster's multiplicity.

use std::ops::Range;

use crate::column::Column;
use crate::episode::Episodes;
use crate::error::Result;
use crate::lanes::vectorise;
use crate::pool::Work;
use crate::random::{Purpose, hash_integer, uniforms};

/// Replicates whose draws share a block of random bits.
pub const OCTET: usize = 8;

/// How multiplicities are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resampling {
    /// Independent, Poisson with mean 1.
    Poisson,
    /// With replacement, as many as there are.
    Multinomial,
    /// Once where the uniform of 32 bits is below a threshold and never elsewhere, or the other way round.
    Split {
        /// 2^32 times the share of the part.
        threshold: u32,
        /// Whether the rest is meant.
        rest: bool,
    },
}

impl Resampling {
    /// The part with about this share of the episodes, or the rest.
    pub fn split(share: f64, rest: bool) -> Self {
        let threshold = (share.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
        Self::Split { threshold, rest }
    }
}

/// What names an episode, or its cluster, in random draws.
#[derive(Debug, Clone)]
pub enum Ids<'a> {
    /// The number of its first row.
    Rows,
    /// The integer on its first row.
    Integers(Column<'a>),
    /// Hashes of what names each episode.
    Hashes(&'a [u64]),
}

impl Ids<'_> {
    /// Hashes of the ids of the episodes from `first` to before `last`.
    pub fn hashes(&self, episodes: &Episodes, (first, last): (usize, usize), out: &mut Vec<u64>) {
        out.clear();
        let starts = (first..last).map(|i| episodes.rows(i, i).start);
        match self {
            Self::Rows => out.extend(starts.map(|row| hash_integer(row as i64))),
            Self::Integers(column) => codes(column, starts, |code| out.push(hash_integer(code))),
            Self::Hashes(hashes) => out.extend(&hashes[first..last]),
        }
    }
}

/// The values of a column of integers at some rows, in order.
fn codes(column: &Column, rows: impl Iterator<Item = usize>, mut each: impl FnMut(i64)) {
    let mut read = Vec::new();
    let mut rows = rows.peekable();
    while let Some(first) = rows.next() {
        // A run of neighbouring rows is read at once.
        let mut end = first + 1;
        while rows.next_if_eq(&end).is_some() {
            end += 1;
        }
        column.read_codes(first..end, &mut read);
        read.iter().copied().for_each(&mut each);
    }
}

/// Clusters of episodes: the number of each episode's cluster, and how many clusters there are.
#[derive(Debug, Clone, Copy)]
pub struct Clusters<'a> {
    /// By episode.
    pub of: &'a [u32],
    /// All are below it.
    pub count: usize,
}

/// Everything that decides the multiplicities.
#[derive(Debug, Clone)]
pub struct Resample<'a> {
    /// Number of replicates.
    pub replicates: usize,
    /// With the ids, decides every draw.
    pub seed: u64,
    /// Poisson or multinomial.
    pub resampling: Resampling,
    /// Names of the episodes, or of their clusters.
    pub ids: Ids<'a>,
    /// For multinomial draws of clusters.
    pub clusters: Option<Clusters<'a>>,
}

/// floor(2^32 F(k)) of the Poisson distribution with mean 1; F(12) is 1 to 32 bits.
pub const POISSON: [u32; 12] = [
    1_580_030_168,
    3_160_060_337,
    3_950_075_421,
    4_213_413_783,
    4_279_248_373,
    4_292_415_291,
    4_294_609_777,
    4_294_923_276,
    4_294_962_463,
    4_294_966_817,
    4_294_967_252,
    4_294_967_292,
];

/// The Poisson variate of a uniform on `0..2^32`: how many thresholds it reaches.
#[inline(always)]
fn poisson(uniform: u32) -> u32 {
    let reached = POISSON.map(|threshold| u32::from(threshold <= uniform));
    reached.iter().sum()
}

/// The multiplicities of some octets of replicates; multinomial ones are drawn beforehand.
pub(crate) struct Draws<'a> {
    resample: &'a Resample<'a>,
    octets: Range<usize>,
    /// By octet and unit (episode or cluster).
    drawn: Vec<[u16; OCTET]>,
    units: usize,
    hashes: Vec<u64>,
    /// Multiplicities under one octet.
    found: Vec<[u32; OCTET]>,
}

impl<'a> Draws<'a> {
    /// For the octets of replicates in a range, of a log of `episodes`.
    pub(crate) fn new(resample: &'a Resample, octets: Range<usize>, episodes: usize) -> Self {
        let units = resample.clusters.map_or(episodes, |c| c.count);
        let mut drawn = Vec::new();
        if resample.resampling == Resampling::Multinomial {
            drawn.resize(octets.len() * units, [0_u16; OCTET]);
            for (octet, drawn) in octets.clone().zip(drawn.chunks_exact_mut(units)) {
                for draw in 0..units as u64 {
                    let random = uniforms(resample.seed, draw, octet as u64, Purpose::Multinomial);
                    for (lane, u) in random.into_iter().enumerate() {
                        let unit = (u64::from(u) * units as u64) >> 32;
                        let count = &mut drawn[unit as usize][lane];
                        *count = count.saturating_add(1);
                    }
                }
            }
        }
        Self {
            resample,
            octets,
            drawn,
            units,
            hashes: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Octets for which there is room at a time: multinomial draws are held for the whole log.
    pub(crate) fn most_octets(resample: &Resample, episodes: usize) -> usize {
        const MOST_BYTES: usize = 1 << 25;
        match resample.resampling {
            Resampling::Poisson | Resampling::Split { .. } => usize::MAX,
            Resampling::Multinomial => {
                let units = resample.clusters.map_or(episodes, |c| c.count);
                (MOST_BYTES / (units * size_of::<[u16; OCTET]>()).max(1)).max(1)
            }
        }
    }

    /// Hands over the multiplicities of the episodes `first + order[i]` under one octet after the other.
    pub(crate) fn each(
        &mut self,
        episodes: &Episodes,
        (first, last): (usize, usize),
        order: &[u16],
        mut take: impl FnMut(usize, &[[u32; OCTET]]),
    ) {
        let Self {
            resample,
            octets,
            drawn,
            units,
            hashes,
            found,
        } = self;
        let unit = |i: u16| {
            let episode = first + usize::from(i);
            resample
                .clusters
                .map_or(episode, |c| c.of[episode] as usize)
        };
        if resample.resampling == Resampling::Multinomial {
            for (octet, drawn) in drawn.chunks_exact(*units).enumerate() {
                found.clear();
                found.extend(order.iter().map(|&i| drawn[unit(i)].map(u32::from)));
                take(octet, found);
            }
            return;
        }
        resample.ids.hashes(episodes, (first, last), hashes);
        found.resize(order.len(), [0; OCTET]);
        let purpose = match resample.resampling {
            Resampling::Split { .. } => Purpose::Folds,
            _ => Purpose::Bootstrap,
        };
        for (i, octet) in octets.clone().enumerate() {
            vectorise(
                #[inline(always)]
                || {
                    for (random, &i) in found.iter_mut().zip(order) {
                        let id = hashes[usize::from(i)];
                        *random = uniforms(resample.seed, id, octet as u64, purpose);
                    }
                    // Apart from these, which are made one by one, variates are made in vectors.
                    let found = found.as_flattened_mut();
                    if let Resampling::Split { threshold, rest } = resample.resampling {
                        for m in found {
                            *m = u32::from((*m < threshold) != rest);
                        }
                    } else {
                        for m in found {
                            *m = poisson(*m);
                        }
                    }
                },
            );
            take(i, found);
        }
    }
}

/// Every multiplicity of a log, replicate by replicate.
pub fn draw_all(resample: &Resample, episodes: &Episodes, work: &Work) -> Result<Vec<i32>> {
    const AT_A_TIME: usize = 1024;
    let n = episodes.len();
    let mut all = vec![0; resample.replicates * n];
    for octet in 0..resample.replicates.div_ceil(OCTET) {
        work.check()?;
        work.tick();
        let mut draws = Draws::new(resample, octet..octet + 1, n);
        for first in (0..n).step_by(AT_A_TIME) {
            let last = n.min(first + AT_A_TIME);
            let order: Vec<u16> = (0..(last - first) as u16).collect();
            draws.each(episodes, (first, last), &order, |_, drawn| {
                for (i, m) in (first..).zip(drawn) {
                    for (lane, m) in m.iter().enumerate() {
                        let replicate = octet * OCTET + lane;
                        if replicate < resample.replicates {
                            all[replicate * n + i] = *m as i32;
                        }
                    }
                }
            });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use super::*;
    use crate::column::Chunk;
    use crate::random::hash_text;

    fn resample(resampling: Resampling, ids: Ids) -> Resample {
        Resample {
            replicates: 24,
            seed: 7,
            resampling,
            ids,
            clusters: None,
        }
    }

    /// Multiplicities, replicate by replicate.
    fn table(resample: &Resample, episodes: usize) -> Vec<Vec<i32>> {
        let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let work = Work {
            threads: 1,
            cancel: &cancel,
            done: &done,
        };
        let all =
            draw_all(resample, &Episodes::EachRow(episodes), &work).expect("nobody cancels it");
        all.chunks_exact(episodes).map(<[i32]>::to_vec).collect()
    }

    #[test]
    fn hashes_of_the_golden() {
        let integers = [0, 1, 2, -1, 123_456_789_012_345].map(hash_integer);
        let golden = [
            16_294_208_416_658_607_535,
            10_451_216_379_200_822_465,
            10_905_525_725_756_348_110,
            16_490_336_266_968_443_936,
            15_590_920_175_006_670_075,
        ];
        assert_eq!(integers, golden);
        let texts = ["a", "ep-17", "エピソード-1"].map(hash_text);
        let golden = [
            16_629_034_431_890_738_719,
            7_288_074_673_740_422_011,
            10_034_589_663_950_053_897,
        ];
        assert_eq!(texts, golden);
    }

    #[test]
    fn a_part_and_the_rest_are_the_whole() {
        let part = table(&resample(Resampling::split(0.3, false), Ids::Rows), 2000);
        let rest = table(&resample(Resampling::split(0.3, true), Ids::Rows), 2000);
        for (a, b) in part.iter().zip(&rest) {
            assert!(a.iter().zip(b).all(|(a, b)| a + b == 1));
            let share = f64::from(a.iter().sum::<i32>()) / 2000.0;
            assert!((share - 0.3).abs() < 0.05);
        }
        assert_ne!(part[0], part[1]);
    }

    #[test]
    fn more_replicates_extend_the_earlier_ones() {
        for resampling in [Resampling::Poisson, Resampling::Multinomial] {
            let resample = resample(resampling, Ids::Rows);
            let fewer = Resample {
                replicates: 11,
                ..resample.clone()
            };
            assert_eq!(table(&fewer, 30), table(&resample, 30)[..11]);
        }
    }

    #[test]
    fn a_draw_belongs_to_its_id() {
        let (ids, back) = ([5_i64, -2, 9, 4], [4_i64, 9, -2, 5]);
        let draw = |ids: &[i64]| {
            let column = [Chunk::I64(ids)].into_iter().collect();
            table(&resample(Resampling::Poisson, Ids::Integers(column)), 4)
        };
        for (mut a, b) in draw(&ids).into_iter().zip(draw(&back)) {
            a.reverse();
            assert_eq!(a, b);
        }
    }

    #[test]
    fn multinomial_draws_are_as_many_as_episodes() {
        for m in table(&resample(Resampling::Multinomial, Ids::Rows), 37) {
            assert_eq!(m.iter().sum::<i32>(), 37);
        }
    }

    #[test]
    fn moments_of_poisson_draws() {
        let found = table(&resample(Resampling::Poisson, Ids::Rows), 20_000).concat();
        let found: Vec<f64> = found.into_iter().map(f64::from).collect();
        let n = found.len() as f64;
        let mean = found.iter().sum::<f64>() / n;
        let variance = found.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / n;
        let zeros = found.iter().filter(|m| **m == 0.0).count() as f64 / n;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        assert!((zeros - (-1.0_f64).exp()).abs() < 0.01, "{zeros}");
    }
}
