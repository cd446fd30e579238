//! The auctions of one step of simulated advertising campaigns.
//!
//! An auction shows an ad to a user, together a *pair*. It is won where the bid is above the highest
//! price of the others; a won one may lead to a click, and a click to a conversion. Prices are
//! charged in whole numbers. What would use up the budget, and all after it, does not happen.

use rand_distr::{Distribution, Gamma};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::error::{Error, Result};
use crate::streams::{Place, gamma, stream, uniform};

/// What becomes of an impression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was shown.
    Impression,
    /// It was clicked.
    Click,
    /// The click led to a sale.
    Conversion,
}

impl Outcome {
    /// The one of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "impression" => Some(Self::Impression),
            "click" => Some(Self::Click),
            "conversion" => Some(Self::Conversion),
            _ => None,
        }
    }
}

/// Numbers of the auctions, one to each: looked up, or given.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// By pair, times a factor.
    Table(&'a [f64], f64),
    /// Rows of `width` to each campaign.
    Given(&'a [f64]),
}

impl Source<'_> {
    #[inline(always)]
    fn at(&self, pair: usize, place: usize) -> f64 {
        match self {
            Self::Table(table, factor) => table[pair] * factor,
            Self::Given(values) => values[place],
        }
    }

    fn fits(&self, pairs: usize, size: usize) -> bool {
        match self {
            Self::Table(table, _) => table.len() == pairs,
            Self::Given(values) => values.len() == size,
        }
    }
}

/// The highest price of the others.
#[derive(Debug, Clone, Copy)]
pub enum Prices<'a> {
    /// Gamma by ad, at least 1: shapes and scales.
    Gamma(&'a [f64], &'a [f64]),
    /// Rows of `width` to each campaign.
    Given(&'a [f64]),
}

/// What is bid, in whole numbers.
#[derive(Debug, Clone, Copy)]
pub enum Bids<'a> {
    /// The value of the impression times a number of the campaign.
    Value(&'a [f64]),
    /// Rows of `width` to each campaign.
    Given(&'a [f64]),
}

/// Everything that a step of the campaigns depends on.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// One to each campaign.
    pub seeds: &'a [u64],
    /// Auctions of each campaign.
    pub volumes: &'a [i64],
    /// Budget of each campaign.
    pub budgets: &'a [f64],
    /// Number of the step.
    pub step: u64,
    /// Hashes of "auction", "price", "click" and "conversion".
    pub purposes: [u64; 4],
    /// Most auctions of a campaign: the length of given rows.
    pub width: usize,
    /// Users, of which each ad makes a pair.
    pub users: usize,
    /// Probability of a click after an impression.
    pub click: Source<'a>,
    /// Probability of a conversion after a click.
    pub conversion: Source<'a>,
    /// Prices.
    pub prices: Prices<'a>,
    /// Bids.
    pub bids: Bids<'a>,
    /// Number of ads times `users`.
    pub pairs: usize,
    /// What a reward counts: a click or a conversion.
    pub objective: Outcome,
    /// What is charged.
    pub charged: Outcome,
}

/// What the auctions of one campaign brought.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Held {
    /// Auctions won.
    pub impressions: u32,
    /// Of these, clicked.
    pub clicks: u32,
    /// Of these, converted.
    pub conversions: u32,
    /// What was charged.
    pub spent: f64,
    /// Sum of all bids.
    pub bid: f64,
}

/// Holds the auctions of every campaign.
pub fn hold(step: &Step<'_>) -> Result<Vec<Held>> {
    check(step)?;
    let gammas: Vec<Gamma<f64>> = match step.prices {
        Prices::Gamma(shapes, _) => shapes.iter().map(|s| gamma(*s)).collect::<Result<_>>()?,
        Prices::Given(_) => Vec::new(),
    };
    Ok((0..step.seeds.len())
        .map(|row| hold_row(step, &gammas, row))
        .collect())
}

fn check(step: &Step<'_>) -> Result<()> {
    let (n, size) = (step.seeds.len(), step.seeds.len() * step.width);
    let prices = match step.prices {
        Prices::Gamma(shapes, scales) => {
            shapes.len() == scales.len() && shapes.len() * step.users == step.pairs
        }
        Prices::Given(values) => values.len() == size,
    };
    let bids = match step.bids {
        Bids::Value(scales) => scales.len() == n,
        Bids::Given(values) => values.len() == size,
    };
    let volumes = step.volumes.len() == n
        && step
            .volumes
            .iter()
            .all(|v| usize::try_from(*v).is_ok_and(|v| v <= step.width));
    let sources = [step.click, step.conversion]
        .iter()
        .all(|s| s.fits(step.pairs, size));
    if prices && bids && volumes && sources && step.budgets.len() == n && step.pairs > 0 {
        return Ok(());
    }
    Err(Error::InvalidArgument("the auctions do not fit".into()))
}

/// Auctions looked at together: what one stream yields for them is drawn at once, so that its state
/// stays in registers.
const TOGETHER: usize = 64;

/// What is known of auctions held together: pairs, bids, prices, and the uniform numbers of clicks
/// and conversions.
struct Drawn {
    pairs: [usize; TOGETHER],
    bids: [f64; TOGETHER],
    prices: [f64; TOGETHER],
    clicks: [f64; TOGETHER],
    conversions: [f64; TOGETHER],
}

fn hold_row(step: &Step<'_>, gammas: &[Gamma<f64>], row: usize) -> Held {
    let seed = step.seeds[row];
    let mut streams = step.purposes.map(|purpose| {
        let (step, call) = (step.step, 0);
        stream(
            seed,
            Place {
                step,
                purpose,
                call,
            },
        )
    });
    let empty = [0.0; TOGETHER];
    let mut drawn = Drawn {
        pairs: [0; TOGETHER],
        bids: empty,
        prices: empty,
        clicks: empty,
        conversions: empty,
    };
    let (mut held, mut open) = (Held::default(), true);
    let volume = step.volumes[row] as usize;
    for first in (0..volume).step_by(TOGETHER) {
        let many = TOGETHER.min(volume - first);
        let place = row * step.width + first;
        drawn.pairs_and_bids(step, &mut streams[0], row, many, place);
        held.bid = drawn.bids[..many].iter().fold(held.bid, |sum, b| sum + b);
        // Where nothing can be won any more the bids alone count, and no later draw depends on
        // those that are left out.
        if !open {
            continue;
        }
        drawn.outcomes(step, gammas, &mut streams[1..], many, place);
        let mut won = [0; TOGETHER];
        // Without a branch, which nobody could foretell.
        let mut number = 0;
        for j in 0..many {
            won[number] = j;
            number += usize::from(drawn.prices[j] < drawn.bids[j]);
        }
        for &j in &won[..number] {
            let (pair, at) = (drawn.pairs[j], place + j);
            let clicked = drawn.clicks[j] < step.click.at(pair, at);
            let converted = clicked && drawn.conversions[j] < step.conversion.at(pair, at);
            open = held.win(step, row, drawn.prices[j], [clicked, converted]);
            if !open {
                break;
            }
        }
    }
    held
}

impl Drawn {
    fn pairs_and_bids(
        &mut self,
        step: &Step<'_>,
        stream: &mut Xoshiro256PlusPlus,
        row: usize,
        many: usize,
        place: usize,
    ) {
        let number = step.pairs as f64;
        for pair in &mut self.pairs[..many] {
            *pair = (uniform(stream) * number) as usize;
        }
        let bids = self.bids[..many].iter_mut();
        match step.bids {
            Bids::Value(scales) => {
                let (click, scale) = (step.click, scales[row]);
                for (j, (bid, pair)) in bids.zip(&self.pairs).enumerate() {
                    let value = match step.objective {
                        Outcome::Conversion => {
                            click.at(*pair, place + j) * step.conversion.at(*pair, place + j)
                        }
                        _ => click.at(*pair, place + j),
                    };
                    *bid = whole(value * scale);
                }
            }
            Bids::Given(values) => {
                for (bid, value) in bids.zip(&values[place..]) {
                    *bid = value.floor();
                }
            }
        }
    }

    fn outcomes(
        &mut self,
        step: &Step<'_>,
        gammas: &[Gamma<f64>],
        streams: &mut [Xoshiro256PlusPlus],
        many: usize,
        place: usize,
    ) {
        match step.prices {
            Prices::Gamma(_, scales) => {
                for (price, pair) in self.prices[..many].iter_mut().zip(&self.pairs) {
                    let ad = pair / step.users;
                    *price = (gammas[ad].sample(&mut streams[0]) * scales[ad]).max(1.0);
                }
            }
            Prices::Given(values) => {
                self.prices[..many].copy_from_slice(&values[place..place + many]);
            }
        }
        self.clicks[..many].fill_with(|| uniform(&mut streams[1]));
        self.conversions[..many].fill_with(|| uniform(&mut streams[2]));
    }
}

impl Held {
    /// Counts an auction that was won, unless it would use up the budget; says whether it did not.
    fn win(&mut self, step: &Step<'_>, row: usize, price: f64, responded: [bool; 2]) -> bool {
        let [clicked, converted] = responded;
        let due = match step.charged {
            Outcome::Impression => true,
            Outcome::Click => clicked,
            Outcome::Conversion => converted,
        };
        let cost = if due { whole(price) } else { 0.0 };
        let open = self.spent + cost < step.budgets[row];
        if open {
            self.spent += cost;
            self.impressions += 1;
            self.clicks += u32::from(clicked);
            self.conversions += u32::from(converted);
        }
        open
    }
}

/// The whole part of a number of 0 or more: `floor`, which is a call where the machine's oldest kin
/// have no instruction for it. From 2^52 every number is whole.
fn whole(x: f64) -> f64 {
    if x.abs() < 4_503_599_627_370_496.0 && x >= 0.0 {
        (x as i64) as f64
    } else {
        x.floor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything won, clicked and converted, at a price of 3.5.
    fn certain<'a>(seeds: &'a [u64], volumes: &'a [i64], budgets: &'a [f64]) -> Step<'a> {
        Step {
            seeds,
            volumes,
            budgets,
            step: 0,
            purposes: [1, 2, 3, 4],
            width: 4,
            users: 1,
            click: Source::Table(&[1.0, 1.0], 1.0),
            conversion: Source::Table(&[1.0, 1.0], 1.0),
            prices: Prices::Given(&[3.5; 4]),
            bids: Bids::Given(&[4.9; 4]),
            pairs: 2,
            objective: Outcome::Conversion,
            charged: Outcome::Click,
        }
    }

    #[test]
    fn what_would_use_up_the_budget_does_not_happen() {
        for (budget, won) in [(3.0, 0), (3.1, 1), (9.0, 2), (9.1, 3), (100.0, 4)] {
            let found = hold(&certain(&[7], &[4], &[budget])).expect("it fits")[0];
            assert_eq!(found.impressions, won, "{budget}");
            assert_eq!((found.clicks, found.conversions), (won, won));
            assert_eq!(found.spent, 3.0 * f64::from(won));
            assert_eq!(found.bid, 16.0);
        }
    }

    #[test]
    fn after_an_overrun_a_cheaper_one_does_not_happen_either() {
        let mut step = certain(&[7], &[4], &[5.0]);
        step.prices = Prices::Given(&[3.0, 3.0, 1.0, 1.0]);
        let found = hold(&step).expect("it fits")[0];
        assert_eq!((found.impressions, found.spent), (1, 3.0));
    }

    #[test]
    fn a_price_equal_to_the_bid_does_not_win() {
        let mut step = certain(&[7], &[4], &[50.0]);
        step.prices = Prices::Given(&[4.0, 3.99, 4.5, 1.0]);
        let found = hold(&step).expect("it fits")[0];
        assert_eq!(found.impressions, 2);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let sound = certain(&[7], &[4], &[50.0]);
        for wrong in [
            Step {
                volumes: &[5],
                ..sound
            },
            Step {
                volumes: &[-1],
                ..sound
            },
            Step {
                budgets: &[],
                ..sound
            },
            Step { pairs: 3, ..sound },
            Step {
                bids: Bids::Value(&[]),
                ..sound
            },
            Step {
                prices: Prices::Gamma(&[1.0], &[1.0]),
                ..sound
            },
            Step {
                prices: Prices::Gamma(&[1.0, -1.0], &[1.0, 1.0]),
                ..sound
            },
        ] {
            assert!(hold(&wrong).is_err());
        }
    }
}
