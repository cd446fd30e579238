//! The seven basic estimators over rows that are already in memory.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

mod rows;
use rows::{Rows, all_estimators};

fn basic(criterion: &mut Criterion) {
    let all = all_estimators();
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
