//! The seven basic estimators over rows that are already in memory.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use counterfolio_core::column::Column;
use counterfolio_core::episode::Episodes;
use counterfolio_core::evaluate::{Errors, Evaluation, evaluate};
use counterfolio_core::pool::Work;
use counterfolio_core::registry::{Estimator, REGISTRY};
use counterfolio_core::tiles::{Input, Log, Policy};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A log of equal episodes with columns that vary, made without a random number generator.
struct Rows {
    episodes: Episodes,
    columns: [Vec<f64>; 5],
}

impl Rows {
    fn new(rows: usize, steps: usize) -> Self {
        let column = |salt: u64, low: f64, high: f64| -> Vec<f64> {
            (0..rows as u64)
                .map(|i| {
                    let mixed = (i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
                    low + (high - low) * mixed as f64 / (1_u64 << 24) as f64
                })
                .collect()
        };
        Self {
            episodes: if steps == 1 {
                Episodes::EachRow(rows)
            } else {
                Episodes::Offsets((0..=rows).step_by(steps).collect())
            },
            columns: [
                column(1, 0.4, 0.6),
                column(2, 0.4, 0.6),
                column(3, -1.0, 1.0),
                column(4, -1.0, 1.0),
                column(5, -1.0, 1.0),
            ],
        }
    }

    fn evaluate(&self, estimators: &[Estimator], threads: usize) -> Evaluation {
        let [propensity, prob, reward, q, v] =
            self.columns.each_ref().map(|c| Column::from(&c[..]));
        let input = |column| {
            Some(Input {
                label: String::new(),
                column,
            })
        };
        let log = Log {
            episodes: &self.episodes,
            reward,
            propensity: Some(propensity),
            density: false,
        };
        let policy = Policy {
            prob: input(prob),
            q: input(q),
            v: input(v),
        };
        let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let work = Work {
            threads,
            cancel: &cancel,
            done: &done,
        };
        evaluate(&log, &[policy], estimators, 0.95, Errors::default(), &work)
            .expect("the columns are valid")
    }
}

fn basic(criterion: &mut Criterion) {
    let all: Vec<_> = REGISTRY.iter().map(|entry| entry.estimator).collect();
    let rows = 2_000_000;
    let mut group = criterion.benchmark_group("basic");
    group
        .sample_size(20)
        .throughput(Throughput::Elements(rows as u64));
    for steps in [1, 5, 20, 100] {
        let log = Rows::new(rows, steps);
        group.bench_with_input(BenchmarkId::new("seven", steps), &log, |b, log| {
            b.iter(|| black_box(log.evaluate(&all, 1)));
        });
        // The rival: reading each column once.
        group.bench_with_input(BenchmarkId::new("sum of columns", steps), &log, |b, log| {
            b.iter(|| black_box(log.columns.each_ref().map(|c| c.iter().sum::<f64>())));
        });
    }
    group.finish();
}

criterion_group!(benches, basic);
criterion_main!(benches);
