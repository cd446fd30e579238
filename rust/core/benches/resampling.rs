//! The joint bootstrap, and rankings of many policies with every statistic of every top k.

use std::hint::black_box;

use counterfolio_core::top_k::{Options, top_k};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod rows;
use rows::{Rows, assess, numbers};

const POLICIES: usize = 100;
const RANKINGS: usize = 10_000;

fn bootstrap(criterion: &mut Criterion) {
    let (rows, replicates) = (200_000, 1_000);
    let log = Rows::new(rows, 20);
    let mut group = criterion.benchmark_group("bootstrap");
    group
        .sample_size(10)
        .throughput(Throughput::Elements((rows * replicates) as u64));
    for threads in [1, 2] {
        group.bench_function(format!("{replicates} replicates, {threads} threads"), |b| {
            b.iter(|| black_box(log.bootstrap(replicates, threads)));
        });
    }
    group.finish();
}

fn rankings(criterion: &mut Criterion) {
    let truth = numbers(POLICIES, 7, 0.0, 1.0);
    let estimates = numbers(POLICIES * RANKINGS, 8, 0.0, 1.0);
    let mut group = criterion.benchmark_group("rankings of 100 policies");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(RANKINGS as u64));
    group.bench_function("every top k", |b| {
        b.iter(|| {
            for estimated in estimates.chunks_exact(POLICIES) {
                let found = top_k(estimated, &truth, 0.5, &Options::default());
                black_box(found.expect("the values are valid"));
            }
        });
    });
    group.bench_function("quantiles of every metric, 2 threads", |b| {
        b.iter(|| black_box(assess(POLICIES, RANKINGS, 2)));
    });
    group.finish();
}

criterion_group!(benches, bootstrap, rankings);
criterion_main!(benches);
