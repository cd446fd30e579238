//! From sums to values: every form of one kind of weights, of the log or of a replicate.

use crate::form::{ALL_FORMS, FORMS, Form};
use crate::sums::{Discount, Sums};
use crate::weights::{CONSTANT, Weight};

/// The values of one policy under one kind of weights.
#[derive(Debug, Clone)]
pub struct Totals<W> {
    /// By form; only those whose inputs were given mean anything.
    pub value: [W; FORMS],
    /// First step at which the weights of all episodes sum to 0.
    pub dead_step: Option<usize>,
    /// Whether the last weights do.
    pub(crate) dead_end: bool,
    /// c of the centred form.
    pub(crate) control: f64,
}

impl<W: Weight> Totals<W> {
    /// The value of one form; NaN where undefined.
    pub fn of(&self, form: Form) -> f64 {
        match self.undefined_from(form) {
            Some(_) => f64::NAN,
            None => self.value[form as usize].scaled(0),
        }
    }

    /// The step at which the weights that a self-normalised form divides by are all 0.
    pub(crate) fn undefined_from(&self, form: Form) -> Option<usize> {
        let alive = form == Form::NormalisedReturn && !self.dead_end;
        self.dead_step.filter(|_| form.self_normalised() && !alive)
    }
}

/// sum W_t with that of finished episodes, sum W_t r_t and sum W_t d_t.
#[derive(Clone, Copy)]
struct Step<W> {
    total: W,
    wr: W,
    wd: W,
}

/// c = Cov(W G, W) / Var(W) over `n` episodes; 0 where the weights are constant.
fn control<W: Weight>(sums: &Sums<W>, n: W) -> f64 {
    let less = |x: W, y: W| x.plus(y.times(-1.0));
    let mean = sums.last.sum.divided_by(n);
    let variance = less(sums.last.squares, mean.product(sums.last.sum));
    if variance.ratio(sums.last.squares) > CONSTANT {
        less(sums.square_return, mean.product(sums.last_return)).ratio(variance)
    } else {
        0.0
    }
}

/// Values of one policy over `n` episodes, or under multiplicities that sum to `n`; where `pooled`, steps
/// share one mean weight. `visit` is called for each step with weights: with sum W_t, those of finished
/// episodes included, m_t and n_t.
pub(crate) fn totals<W: Weight>(
    sums: &Sums<W>,
    discount: &Discount<W>,
    n: f64,
    pooled: bool,
    mut visit: impl FnMut(usize, W, f64, f64),
) -> Totals<W> {
    let n = W::from_f64(n);
    let mut held = W::ZERO;
    let steps = sums.steps.iter().enumerate().map(|(t, step)| {
        held = held.plus(sums.ended[t]);
        let step = Step {
            total: step.w.plus(held),
            wr: step.wr,
            wd: step.wd,
        };
        (t, step)
    });
    let discounted = |sum: &mut Step<W>, t: usize, step: &Step<W>| {
        let power = discount.power[t];
        sum.total = sum.total.plus(step.total.product(power));
        sum.wr = sum.wr.plus(step.wr.product(power));
        sum.wd = sum.wd.plus(step.wd.product(power));
    };
    let mut all = Step {
        total: W::ZERO,
        wr: W::ZERO,
        wd: W::ZERO,
    };
    let (mut dead_step, mut normalised) = (None, (W::ZERO, W::ZERO));
    let mut normalise = |t: usize, step: Step<W>| {
        if step.total.is_zero() {
            dead_step = dead_step.or(Some(t));
            return;
        }
        let (mean_r, mean_d) = (step.wr.ratio(step.total), step.wd.ratio(step.total));
        let power = discount.power[t];
        normalised.0 = normalised.0.plus(power.times(mean_r));
        normalised.1 = normalised.1.plus(power.times(mean_d));
        visit(t, step.total, mean_r, mean_d);
    };
    if pooled {
        steps.for_each(|(t, step)| discounted(&mut all, t, &step));
        let remaining = discount.remaining[0];
        let each = Step {
            total: all.total.divided_by(remaining),
            wr: all.wr.divided_by(remaining),
            wd: all.wd.divided_by(remaining),
        };
        (0..sums.steps.len()).for_each(|t| normalise(t, each));
    } else {
        for (t, step) in steps {
            discounted(&mut all, t, &step);
            normalise(t, step);
        }
    }
    let v0 = W::from_f64(sums.v0).divided_by(n);
    let dead_end = sums.last.sum.is_zero();
    let control = control(sums, n);
    let number = W::from_f64(control);
    let controlled = sums.last_return.plus(sums.last.sum.times(-control));
    let of = |form: Form| match form {
        Form::Direct => v0,
        Form::Return => sums.last_return.divided_by(n),
        Form::Reward => all.wr.divided_by(n),
        Form::Residual => all.wd.divided_by(n).plus(v0),
        Form::NormalisedReturn if dead_end => W::ZERO,
        Form::NormalisedReturn => sums.last_return.divided_by(sums.last.sum),
        Form::NormalisedReward => normalised.0,
        Form::NormalisedResidual => v0.plus(normalised.1),
        Form::Centred => controlled.divided_by(n).plus(number),
    };
    Totals {
        value: ALL_FORMS.map(of),
        dead_step,
        dead_end,
        control,
    }
}
