//! The state: mergeable sums over episodes, one set for each policy and each kind of weights.
//!
//! A block of [`BLOCK`] episodes is summed in episode order; blocks are merged in index order. That
//! order is decided here and nowhere else, so the same rows in the same order give the same bits for
//! any number of threads and any chunking.

use crate::tail::Tail;
use crate::weights::{Extended, Weight};

/// Episodes to a block.
pub const BLOCK: usize = 1024;

/// Rows of a tile, the part of a block that is read at a time: small enough that its columns stay
/// in cache while policies take turns.
pub const TILE_ROWS: usize = 4096;

/// Most episodes and rows of a bundle, the part of a log that the bootstrap adds up at a time: whole
/// stretches of [`crate::digits`].
/// Bundles too are added up in index order.
pub const BUNDLE: usize = 480;
/// See [`BUNDLE`].
pub const BUNDLE_ROWS: usize = 1 << 16;

/// gamma^t and what remains of its sum, for steps 0 to the horizon.
#[derive(Debug, Clone)]
pub struct Discount<W> {
    /// The discount factor.
    pub gamma: f64,
    /// gamma^t.
    pub power: Vec<W>,
    /// sum of gamma^s for t <= s < horizon; one entry more than `power`.
    pub remaining: Vec<W>,
}

impl<W: Weight> Discount<W> {
    /// For episodes of up to `horizon` steps.
    pub fn new(gamma: f64, horizon: usize) -> Self {
        let mut power = Vec::with_capacity(horizon);
        let mut g = W::ONE;
        for _ in 0..horizon {
            power.push(g);
            g = g.times(gamma);
        }
        let mut remaining = vec![W::ZERO; horizon + 1];
        for t in (0..horizon).rev() {
            remaining[t] = remaining[t + 1].plus(power[t]);
        }
        Self {
            gamma,
            power,
            remaining,
        }
    }
}

/// Sums over the episodes that reach a step.
#[derive(Debug, Clone, Copy)]
pub struct StepSums<W> {
    /// sum w_t.
    pub w: W,
    /// sum w_t r_t.
    pub wr: W,
    /// sum w_t (r_t - q_t + gamma v_{t+1}).
    pub wd: W,
}

/// What effective sample size and the largest share of the weight need.
#[derive(Debug, Clone, Copy)]
pub struct Moments<W> {
    /// sum c.
    pub sum: W,
    /// sum c^2.
    pub squares: W,
    /// max c.
    pub max: W,
}

impl<W: Weight> Moments<W> {
    pub(crate) const ZERO: Self = Self {
        sum: W::ZERO,
        squares: W::ZERO,
        max: W::ZERO,
    };

    #[inline(always)]
    pub(crate) fn add(&mut self, c: W) {
        self.sum = self.sum.plus(c);
        self.squares = self.squares.plus(c.product(c));
        self.max = self.max.larger(c);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.sum = self.sum.plus(other.sum);
        self.squares = self.squares.plus(other.squares);
        self.max = self.max.larger(other.max);
    }

    fn widen(&self) -> Moments<Extended> {
        Moments {
            sum: self.sum.widen(),
            squares: self.squares.widen(),
            max: self.max.widen(),
        }
    }
}

/// The state: everything that the forms of one kind of weights need to know of one policy.
///
/// The horizon (the longest episode of the whole log) must be known before the first episode is
/// added, since the discounted weight of a finished episode runs on to it.
#[derive(Debug, Clone)]
pub struct Sums<W> {
    /// By step, over the episodes that reach it.
    pub steps: Vec<StepSums<W>>,
    /// Last weights w_{T-1} of the episodes of length T, at index T. Their prefix sums carry
    /// finished episodes through later steps without visiting them (the absorbing convention).
    pub ended: Vec<W>,
    /// Of the last weight w_{T-1}.
    pub last: Moments<W>,
    /// sum w_{T-1} G.
    pub last_return: W,
    /// sum w_{T-1}^2 G, for the form that reads it.
    pub square_return: W,
    /// Of sum_t gamma^t w_t, held past the end up to the horizon.
    pub discounted: Moments<W>,
    /// sum v_0.
    pub v0: f64,
    /// The largest of the last weights and, of episodes with several steps, of the discounted ones, where they
    /// are wanted.
    pub tails: [Tail; 2],
}

impl<W: Weight> Sums<W> {
    /// No episodes yet; room for `longest` steps.
    pub fn new(longest: usize) -> Self {
        let zero = StepSums {
            w: W::ZERO,
            wr: W::ZERO,
            wd: W::ZERO,
        };
        Self {
            steps: vec![zero; longest],
            ended: vec![W::ZERO; longest + 1],
            last: Moments::ZERO,
            last_return: W::ZERO,
            square_return: W::ZERO,
            discounted: Moments::ZERO,
            v0: 0.0,
            tails: [Tail::none(), Tail::none()],
        }
    }

    /// Collects the `room` largest weights too, of those above `floors`.
    #[must_use]
    pub fn with_tails(mut self, room: usize, floors: [f64; 2]) -> Self {
        self.tails = floors.map(|floor| Tail::new(room, floor));
        self
    }

    /// Adds the sums of further episodes.
    pub fn merge(&mut self, other: &Self) {
        if other.steps.len() > self.steps.len() {
            let longer = Self::new(other.steps.len());
            self.steps.extend(&longer.steps[self.steps.len()..]);
            self.ended.resize(self.steps.len() + 1, W::ZERO);
        }
        for (a, b) in self.steps.iter_mut().zip(&other.steps) {
            a.w = a.w.plus(b.w);
            a.wr = a.wr.plus(b.wr);
            a.wd = a.wd.plus(b.wd);
        }
        for (a, b) in self.ended.iter_mut().zip(&other.ended) {
            *a = a.plus(*b);
        }
        self.last.merge(&other.last);
        self.last_return = self.last_return.plus(other.last_return);
        self.square_return = self.square_return.plus(other.square_return);
        self.discounted.merge(&other.discounted);
        self.v0 += other.v0;
        for (a, b) in self.tails.iter_mut().zip(&other.tails) {
            a.merge(b);
        }
    }

    /// The same sums in the wide representation, exactly.
    pub fn widen(&self) -> Sums<Extended> {
        Sums {
            steps: self
                .steps
                .iter()
                .map(|s| StepSums {
                    w: s.w.widen(),
                    wr: s.wr.widen(),
                    wd: s.wd.widen(),
                })
                .collect(),
            ended: self.ended.iter().map(|w| w.widen()).collect(),
            last: self.last.widen(),
            last_return: self.last_return.widen(),
            square_return: self.square_return.widen(),
            discounted: self.discounted.widen(),
            v0: self.v0,
            tails: self.tails.clone(),
        }
    }
}

/// Second-pass sums: squares of influence values and of their differences, from which every standard
/// error follows. Differences are squared as such: the variance of the difference of two nearly equal
/// policies does not survive in var a + var b - 2 cov.
#[derive(Debug, Clone)]
pub struct Spread {
    /// For each estimator a (P + 1) x (P + 1) upper triangle by rows, the behavior policy last:
    /// sum psi_p^2 on the diagonal, sum (psi_p - psi_q)^2 off it.
    pub squares: Vec<f64>,
    /// The same of cubes; NaN where they are not wanted.
    pub cubes: Vec<f64>,
    /// For each policy and kind of weights sum (w / mean w) psi of the normalised return, the numerator of its
    /// bias.
    pub bias: Vec<f64>,
}

impl Spread {
    /// No episodes yet.
    pub fn new(estimators: usize, policies: usize, weightings: usize) -> Self {
        let size = estimators * (policies + 1) * (policies + 1);
        Self {
            squares: vec![0.0; size],
            cubes: vec![0.0; size],
            bias: vec![0.0; policies * weightings],
        }
    }

    /// Adds the sums of further episodes.
    pub fn merge(&mut self, other: &Self) {
        for (sums, more) in [
            (&mut self.squares, &other.squares),
            (&mut self.cubes, &other.cubes),
            (&mut self.bias, &other.bias),
        ] {
            for (a, b) in sums.iter_mut().zip(more) {
                *a += b;
            }
        }
    }
}
