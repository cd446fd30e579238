//! The joint bootstrap: a replicate is the plain estimate of the log with episodes repeated.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use counterfolio_core::bootstrap::{Bootstrap, Replicates};
use counterfolio_core::column::{Chunk, Column};
use counterfolio_core::episode::Episodes;
use counterfolio_core::estimator::Estimator;
use counterfolio_core::evaluate::{Errors, evaluate};
use counterfolio_core::pool::Work;
use counterfolio_core::random::{Purpose, hash_integer, uniforms};
use counterfolio_core::resample::{Clusters, Ids, POISSON, Resample, Resampling};
use counterfolio_core::tiles::{Input, Log, Policy};
use counterfolio_core::weighting::Transform;
use proptest::prelude::*;

const GAMMA: f64 = 0.9;
const SEED: u64 = 11;

/// Episodes of rows of prob, propensity, reward, q, v.
type Episode = Vec<[f64; 5]>;

fn work(threads: usize) -> Work<'static> {
    Work {
        threads,
        cancel: Box::leak(Box::new(AtomicBool::new(false))),
        done: Box::leak(Box::new(AtomicUsize::new(0))),
    }
}

fn cut(values: &[f64], chunk: usize) -> Column<'_> {
    values.chunks(chunk).map(Chunk::F64).collect()
}

fn input<'a>(column: &Column<'a>) -> Input<'a> {
    Input {
        label: "column".into(),
        column: column.clone(),
    }
}

/// What a test asks of a log made of some episodes.
struct Ask<'a> {
    episodes: &'a [Episode],
    chunk: usize,
    policies: usize,
    estimators: &'a [Estimator],
}

impl Ask<'_> {
    fn with<T>(&self, job: impl FnOnce(&Log, &[Policy]) -> T) -> T {
        let lengths: Vec<_> = self.episodes.iter().map(Vec::len).collect();
        let rows: Vec<_> = self.episodes.iter().flatten().collect();
        let columns: [Vec<f64>; 5] = std::array::from_fn(|i| rows.iter().map(|r| r[i]).collect());
        let mut offsets = vec![0];
        offsets.extend(lengths.iter().scan(0, |end, n| {
            *end += n;
            Some(*end)
        }));
        let episodes = if lengths.iter().all(|&n| n == 1) {
            Episodes::EachRow(rows.len())
        } else {
            Episodes::Offsets(offsets)
        };
        // The second policy is the first with other probabilities.
        let other: Vec<f64> = columns[0].iter().map(|p| (1.0 - p).max(p / 2.0)).collect();
        let [prob, propensity, reward, q, v] = columns.each_ref().map(|c| cut(c, self.chunk));
        let other = cut(&other, self.chunk);
        let policies: Vec<_> = (0..self.policies)
            .map(|p| Policy {
                prob: Some(input(if p % 2 == 0 { &prob } else { &other })),
                q: Some(input(&q)),
                v: Some(input(&v)),
                // Any numbers that are not negative serve as ratios.
                state_ratio: Some(input(&propensity)),
                state_action_ratio: Some(input(&other)),
                occupancy: false,
            })
            .collect();
        let log = Log {
            episodes: &episodes,
            reward,
            propensity: Some(propensity),
            density: false,
        };
        job(&log, &policies)
    }

    fn replicates(&self, resample: &Resample, threads: usize) -> Replicates {
        self.with(|log, policies| {
            Bootstrap::new(log, policies, self.estimators, GAMMA, resample, threads)
                .run(&work(threads))
                .expect("not cancelled")
        })
    }

    /// Values of all policies and estimators, and the mean return.
    fn plain(&self) -> (Vec<f64>, f64) {
        self.with(|log, policies| {
            let found = evaluate(
                log,
                policies,
                self.estimators,
                GAMMA,
                Errors::default(),
                &work(1),
            )
            .expect("valid");
            let values = found.estimates.iter().map(|e| e.value).collect();
            (values, found.behavior.value)
        })
    }
}

fn poisson(replicates: usize) -> Resample<'static> {
    Resample {
        replicates,
        seed: SEED,
        resampling: Resampling::Poisson,
        ids: Ids::Rows,
        clusters: None,
    }
}

/// Multiplicities of each episode in one replicate, by the recipe.
fn multiplicities(episodes: &[Episode], replicate: usize) -> Vec<usize> {
    let mut row = 0;
    episodes
        .iter()
        .map(|e| {
            let id = hash_integer(row);
            row += e.len() as i64;
            let octet = (replicate / 8) as u64;
            let u = uniforms(SEED, id, octet, Purpose::Bootstrap)[replicate % 8];
            POISSON.iter().filter(|t| **t <= u).count()
        })
        .collect()
}

fn repeated(episodes: &[Episode], multiplicities: &[usize]) -> Vec<Episode> {
    let pairs = episodes.iter().zip(multiplicities);
    pairs.flat_map(|(e, &m)| vec![e.clone(); m]).collect()
}

fn named(name: &str) -> Estimator {
    Estimator::named(name).expect("a known name")
}

/// Every estimator of any length of episodes, marginal ones two steps back too, and two transforms.
fn all() -> Vec<Estimator> {
    let plain = Estimator::all(&["basic", "marginal"]);
    let stepped = plain.iter().filter(|e| e.entry.options.contains(&"n_step"));
    let stepped: Vec<_> = stepped.map(|e| e.stepped(2)).collect();
    let transformed = [
        named("sndr").transformed(Transform::Clip(2.0)),
        named("sntis").transformed(Transform::Exponent(0.5)),
    ];
    [&plain[..], &stepped, &transformed].concat()
}

/// Equal but for rounding, whose size the values of all estimators set.
fn assert_close(found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len());
    for (a, b) in found.iter().zip(wanted) {
        let close = (a - b).abs() <= tolerance * (1.0 + b.abs());
        assert!(
            close || a.is_nan() && b.is_nan() || a == b,
            "{found:?}\n{wanted:?}"
        );
    }
}

fn assert_repeats(
    ask: &Ask,
    resample: &Resample,
    drawn: impl Fn(usize) -> Vec<usize>,
    tolerance: f64,
) {
    let found = ask.replicates(resample, 1);
    let width = ask.policies * ask.estimators.len();
    for replicate in 0..resample.replicates {
        let episodes = repeated(ask.episodes, &drawn(replicate));
        let values = &found.values[replicate * width..(replicate + 1) * width];
        if episodes.is_empty() {
            assert!(values.iter().all(|x| x.is_nan()));
            assert!(found.behavior[replicate].is_nan());
            continue;
        }
        let (wanted, behavior) = Ask {
            episodes: &episodes,
            ..*ask
        }
        .plain();
        assert_close(values, &wanted, tolerance);
        assert_close(&[found.behavior[replicate]], &[behavior], 1e-12);
    }
}

fn episode(most: usize) -> impl Strategy<Value = Episode> {
    let prob = prop_oneof![5 => 0.05..1.0, 1 => Just(0.0)];
    let row = (prob, 0.2..1.0, -2.0..2.0, -2.0..2.0, -2.0..2.0);
    prop::collection::vec(row.prop_map(|(p, b, r, q, v)| [p, b, r, q, v]), 1..=most)
}

fn some_estimators() -> impl Strategy<Value = Vec<Estimator>> {
    prop_oneof![Just(all()), prop::sample::subsequence(all(), 1..=7),]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_replicate_repeats_episodes(
        episodes in prop_oneof![
            prop::collection::vec(episode(1), 1..40),
            prop::collection::vec(episode(40), 1..12),
            prop::collection::vec(episode(4), 200..600),
        ],
        estimators in some_estimators(),
        policies in 1_usize..9,
    ) {
        let ask = Ask { episodes: &episodes, chunk: 7, policies, estimators: &estimators };
        assert_repeats(&ask, &poisson(11), |r| multiplicities(&episodes, r), 1e-11);
    }

    #[test]
    fn bits_depend_on_neither_threads_nor_chunks_nor_how_many(
        episodes in prop::collection::vec(episode(5), 300..600),
        replicates in 1_usize..70,
    ) {
        let estimators = all();
        let ask = |chunk| Ask { episodes: &episodes, chunk, policies: 3, estimators: &estimators };
        let bits = |r: &Replicates| -> Vec<u64> {
            r.values.iter().chain(&r.behavior).map(|x| x.to_bits()).collect()
        };
        let one = ask(1000).replicates(&poisson(replicates), 1);
        for (threads, chunk) in [(2, 3), (5, 1000)] {
            let other = ask(chunk).replicates(&poisson(replicates), threads);
            prop_assert_eq!(bits(&one), bits(&other));
        }
        let more = ask(1000).replicates(&poisson(replicates + 13), 2);
        let values = &more.values[..one.values.len()];
        prop_assert!(values.iter().zip(&one.values).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

#[test]
fn weights_beyond_f64() {
    // Hundreds of steps of ratios around 1/20 or 20, by episode.
    let wild = |i: usize| -> Episode {
        let steps = 250 + 17 * i;
        let up = i.is_multiple_of(3);
        (0..steps)
            .map(|t| {
                let (p, b) = if up { (0.9, 0.05) } else { (0.05, 0.9) };
                let x = ((i * 31 + t * 7) % 13) as f64 / 13.0;
                [p, b, x, 0.5 - x, x / 2.0]
            })
            .collect()
    };
    let episodes: Vec<_> = (0..20).map(wild).collect();
    let estimators = ["sntis", "snpdis", "sndr"].map(named);
    let ask = Ask {
        episodes: &episodes,
        chunk: 100,
        policies: 2,
        estimators: &estimators,
    };
    assert_repeats(&ask, &poisson(16), |r| multiplicities(&episodes, r), 1e-9);
    // All of one side, in bundles of several sizes: plain values are infinite or vanish alike.
    let tiny: Vec<_> = (0..300).map(|i| wild(3 * (i % 4) + 1)).collect();
    let estimators = all();
    let ask = Ask {
        episodes: &tiny,
        estimators: &estimators,
        ..ask
    };
    assert_repeats(&ask, &poisson(3), |r| multiplicities(&tiny, r), 1e-9);
}

#[test]
fn clusters_share_their_draw() {
    let episodes: Vec<Episode> = (0..50)
        .map(|i| vec![[0.5, 0.25 + 0.01 * f64::from(i), f64::from(i), 1.0, 2.0]; 2])
        .collect();
    let clusters: Vec<u32> = (0..50).map(|i| i % 7).collect();
    let ids: Vec<i64> = (0..100).map(|row| i64::from(clusters[row / 2])).collect();
    let estimators = all();
    let ask = Ask {
        episodes: &episodes,
        chunk: 9,
        policies: 1,
        estimators: &estimators,
    };
    let column: Column = [Chunk::I64(&ids)].into_iter().collect();
    let by_id = Resample {
        ids: Ids::Integers(column),
        ..poisson(9)
    };
    let drawn = |r: usize| -> Vec<usize> {
        let u = |c: u32| {
            uniforms(
                SEED,
                hash_integer(i64::from(c)),
                (r / 8) as u64,
                Purpose::Bootstrap,
            )
        };
        let m = |c: u32| POISSON.iter().filter(|t| **t <= u(c)[r % 8]).count();
        clusters.iter().map(|&c| m(c)).collect()
    };
    assert_repeats(&ask, &by_id, drawn, 1e-11);
    let multinomial = Resample {
        resampling: Resampling::Multinomial,
        clusters: Some(Clusters {
            of: &clusters,
            count: 7,
        }),
        ..poisson(9)
    };
    let drawn = |r: usize| -> Vec<usize> {
        let mut count = [0; 7];
        for draw in 0..7 {
            let u = uniforms(SEED, draw, (r / 8) as u64, Purpose::Multinomial)[r % 8];
            count[((u64::from(u) * 7) >> 32) as usize] += 1;
        }
        clusters.iter().map(|&c| count[c as usize]).collect()
    };
    assert_repeats(&ask, &multinomial, drawn, 1e-11);
}

#[test]
fn equal_policies_have_the_on_policy_mean_in_every_replicate() {
    let episodes: Vec<Episode> = (0..400_usize)
        .map(|i| {
            let row = |t: usize| [0.3, 0.3, ((i * t) % 5) as f64, 0.0, 0.0];
            (0..=i % 6).map(row).collect()
        })
        .collect();
    let mut weighted = Estimator::all(&["basic"]);
    weighted.retain(|e| e.entry.weighted());
    let ask = Ask {
        episodes: &episodes,
        chunk: 64,
        policies: 1,
        estimators: &weighted,
    };
    let found = ask.replicates(&poisson(20), 2);
    for (values, mean) in found.values.chunks(weighted.len()).zip(&found.behavior) {
        assert_close(values, &vec![*mean; weighted.len()], 1e-12);
    }
}

#[test]
fn cancelled() {
    let episodes = vec![vec![[0.5; 5]; 3]; 50];
    let estimators = all();
    let ask = Ask {
        episodes: &episodes,
        chunk: 9,
        policies: 1,
        estimators: &estimators,
    };
    ask.with(|log, policies| {
        let resample = poisson(100);
        let bootstrap = Bootstrap::new(log, policies, &estimators, GAMMA, &resample, 2);
        let work = Work {
            cancel: &AtomicBool::new(true),
            ..work(2)
        };
        assert!(bootstrap.run(&work).is_err());
    });
}
