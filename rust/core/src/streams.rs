//! Random numbers of simulated episodes: every episode draws from streams of its own.
//!
//! A row's stream is a function of the episode's seed, the step, what is drawn and how often that
//! was drawn before, so that an episode is the same whichever others are simulated beside it. A
//! Philox block keyed by these seeds a xoshiro256++, which then yields the row from left to right:
//! the first m numbers of a row do not depend on how many are drawn.

use rand_distr::{Distribution, Gamma, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::error::{Error, Result};
use crate::random::philox;

/// What the rows are filled with.
#[derive(Debug, Clone, Copy)]
pub enum Draws<'a> {
    /// Uniform on [0, 1).
    Uniform,
    /// Normal of mean 0 and variance 1.
    Normal,
    /// Gamma of scale 1, with the shape of each number; one shape serves all.
    Gamma(&'a [f64]),
}

/// Where in the streams of its episodes a draw stands.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Steps since the episode began.
    pub step: u64,
    /// Hash of what is drawn, such as a reward.
    pub purpose: u64,
    /// Draws of the same purpose before this one in this step.
    pub call: u64,
}

/// One row of `width` numbers to each seed, each at its own call; that of `place` is not looked at.
pub fn draw(
    seeds: &[u64],
    calls: &[u64],
    place: Place,
    width: usize,
    draws: Draws<'_>,
) -> Result<Vec<f64>> {
    if calls.len() != seeds.len() {
        let text = format!("{} calls for {} seeds", calls.len(), seeds.len());
        return Err(Error::InvalidArgument(text));
    }
    let size = seeds.len() * width;
    if let Draws::Gamma(shapes) = draws
        && shapes.len() != 1
        && shapes.len() != size
    {
        let text = format!("{} shapes for {size} numbers", shapes.len());
        return Err(Error::InvalidArgument(text));
    }
    let mut out = vec![0.0; size];
    if width == 0 {
        return Ok(out);
    }
    for (i, (seed, row)) in seeds.iter().zip(out.chunks_exact_mut(width)).enumerate() {
        let call = calls[i];
        let mut stream = stream(*seed, Place { call, ..place });
        match draws {
            Draws::Uniform => row.fill_with(|| uniform(&mut stream)),
            Draws::Normal => row.fill_with(|| StandardNormal.sample(&mut stream)),
            Draws::Gamma(shapes) => {
                for (j, x) in row.iter_mut().enumerate() {
                    let shape = shapes[if shapes.len() == 1 { 0 } else { i * width + j }];
                    *x = gamma(shape)?.sample(&mut stream);
                }
            }
        }
    }
    Ok(out)
}

/// The gamma distribution of a shape and scale 1.
pub(crate) fn gamma(shape: f64) -> Result<Gamma<f64>> {
    let sound = shape.is_finite() && shape > 0.0;
    sound
        .then(|| Gamma::new(shape, 1.0).ok())
        .flatten()
        .ok_or_else(|| {
            let text = format!("the shape of a gamma distribution must be above 0, not {shape}");
            Error::InvalidArgument(text)
        })
}

pub(crate) fn stream(seed: u64, place: Place) -> Xoshiro256PlusPlus {
    let words = philox([seed, place.purpose], [place.step, place.call, 0, 0]);
    let mut bytes = [0; 32];
    for (eight, word) in bytes.chunks_exact_mut(8).zip(words) {
        eight.copy_from_slice(&word.to_le_bytes());
    }
    Xoshiro256PlusPlus::from_seed(bytes)
}

/// The 53 highest bits of a word, as numpy takes them.
pub(crate) fn uniform(stream: &mut Xoshiro256PlusPlus) -> f64 {
    unit(stream.next_u64())
}

/// The uniform number of a word.
pub(crate) fn unit(word: u64) -> f64 {
    (word >> 11) as f64 * f64::EPSILON / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        step: 3,
        purpose: 7,
        call: 0,
    };

    fn numbers(seeds: &[u64], place: Place, width: usize, draws: Draws<'_>) -> Vec<f64> {
        let calls = vec![place.call; seeds.len()];
        draw(seeds, &calls, place, width, draws).expect("sound arguments")
    }

    #[test]
    fn a_row_is_a_function_of_its_seed_alone() {
        for draws in [Draws::Uniform, Draws::Normal, Draws::Gamma(&[2.5])] {
            let both = numbers(&[5, 9], PLACE, 40, draws);
            assert_eq!(both[40..], numbers(&[9], PLACE, 40, draws));
            assert_eq!(both[..10], numbers(&[5], PLACE, 10, draws));
            assert_ne!(both[..40], both[40..]);
        }
    }

    #[test]
    fn every_row_has_its_own_call() {
        let at = |call| numbers(&[5], Place { call, ..PLACE }, 4, Draws::Normal);
        let both = draw(&[5, 5], &[2, 9], PLACE, 4, Draws::Normal);
        assert_eq!(both, Ok([at(2), at(9)].concat()));
        assert!(draw(&[5, 5], &[2], PLACE, 4, Draws::Normal).is_err());
    }

    #[test]
    fn every_part_of_the_place_makes_another_stream() {
        let own = numbers(&[5], PLACE, 4, Draws::Uniform);
        for place in [
            Place { step: 4, ..PLACE },
            Place {
                purpose: 8,
                ..PLACE
            },
            Place { call: 1, ..PLACE },
        ] {
            assert_ne!(own, numbers(&[5], place, 4, Draws::Uniform));
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let seeds: Vec<u64> = (0..1000).collect();
        for (draws, mean, variance) in [
            (Draws::Uniform, 0.5, 1.0 / 12.0),
            (Draws::Normal, 0.0, 1.0),
            (Draws::Gamma(&[0.4]), 0.4, 0.4),
            (Draws::Gamma(&[50.0]), 50.0, 50.0),
        ] {
            let found = numbers(&seeds, PLACE, 200, draws);
            let n = found.len() as f64;
            let m = found.iter().sum::<f64>() / n;
            let v = found.iter().map(|x| (x - m).powi(2)).sum::<f64>() / n;
            assert!(
                (m - mean).abs() < 5.0 * (variance / n).sqrt(),
                "{draws:?} {m}"
            );
            assert!((v / variance - 1.0).abs() < 0.05, "{draws:?} {v}");
        }
    }

    #[test]
    fn every_number_may_have_its_own_shape() {
        let shapes: Vec<f64> = (0..2000).map(|i| 1.0 + f64::from(i % 2) * 99.0).collect();
        let found = numbers(&[1, 2], PLACE, 1000, Draws::Gamma(&shapes));
        assert!(found.iter().step_by(2).all(|x| *x < 20.0));
        assert!(found.iter().skip(1).step_by(2).all(|x| *x > 50.0));
        for wrong in [&[0.0][..], &[f64::NAN], &[1.0, 2.0]] {
            assert!(draw(&[1], &[0], PLACE, 3, Draws::Gamma(wrong)).is_err());
        }
    }
}
