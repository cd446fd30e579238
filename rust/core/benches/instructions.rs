//! One small job, named by the argument, for counting its instructions: `benches/instructions.py`.

use std::hint::black_box;

mod rows;
use rows::{Rows, all_estimators, assess};

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("decisions") => {
            black_box(Rows::new(100_000, 1).evaluate(&all_estimators(), 1));
        }
        Some("episodes") => {
            black_box(Rows::new(100_000, 20).evaluate(&all_estimators(), 1));
        }
        Some("bootstrap") => {
            black_box(Rows::new(20_000, 20).bootstrap(1_000, 1));
        }
        Some("rankings") => {
            black_box(assess(100, 200, 1));
        }
        // `cargo bench` starts every bench, this one without a job.
        _ => (),
    }
}
