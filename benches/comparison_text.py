"""The text of docs/comparison.md around its tables. What it says is seen in a table beside it."""

from __future__ import annotations

HEAD = """# Beside SCOPE-RL's formulas

`python benches/comparison.py` wrote this page, with counterfolio {ours}. *Theirs* are the
formulas of SCOPE-RL {theirs} as its code evaluates them, restated in numpy
(`benches/scope_rl_formulas.py` names the file and line of each); this is not a run of the
package. Where its code and the paper that it cites differ, the code is what stands here.

The logs of discrete actions are *populations*: every trajectory that can happen, as often as it
is likely under the behavior policy. On them an estimator that is right in expectation gives the
truth, and no difference is chance. The Q-model is wrong on purpose (by noise of standard
deviation 0.3), and exact ratios of visits are given. A number of theirs that is not ours is in
bold. *Mended* is their formula with nothing but the errors named below it undone: where it gives
our number, the errors named are the whole difference. Below the second table their rewards are
whole: the default that drops the last one is not counted again.

**Where both agree**: the basic family on episodes of one length, with their
`disable_reward_after_done=False`; `sm_dm`, `sam_is` and `sam_snis`; kernels over one dimension,
when an estimator's class is called by itself. The tests hold these to 1e-9, and the restated
formulas to a record of where SCOPE-RL {theirs} returns our number and where it does not
(`tests/goldens/fixed_length_discrete.json`).
"""

SECTIONS = """
## The basic family

4,096 episodes of four steps, the last of which is `done`.

{basic}

- By default rewards are multiplied by the product of 1 - `done`, which is 0 **at** the last step:
  the last reward is dropped from every estimator that reads rewards. `dm` does not read them, so
  it cannot be compared with the rest any more. With `disable_reward_after_done=False` all seven
  agree with ours.
- `dm` is off by the error of the Q-model, theirs as ours.

## Episodes of unequal length

They have one length for all episodes. 8,192 episodes of one to three steps, ended by chances that
depend on the action, are filled up to three with rows of reward 0: of ratio 1 and Q = 0 in the
first two columns, or with the last row's action, propensity and Q carried on.

{unequal}

- Rows of ratio 1 are what our absorbing convention amounts to, so with the last reward kept both
  agree. Such rows have to be made by hand. By default each episode's last reward is dropped, and
  here that is most of what it earns.
- Rows carried on multiply ratios, and count Q, of decisions that nobody took. Only `dm` and
  `pdis` are spared: one has no weights, the other no rewards past the end.

## Long horizons

Every episode returns 1, so the truth is 1 and every self-normalised estimate has to be.

{long_horizons}

- They multiply the propensities of both policies apart and divide then. Both products underflow,
  and 0 / 0 is NaN although every ratio is exactly 1. We multiply ratios, with an exponent of
  their own.
- Where weights are normalised, 1e-10 is added to their mean. When the policy is far from the log
  the mean is smaller than that, and the estimate silently goes to 0. Ours is the weighted mean,
  with a note that hardly any episode carries it.

## Marginal estimators

The log of the first table, and exact ratios by step (`ratio_kind="step"`). `n_step` is their
`n_step_pdis`.

{marginal}

- `drl` never discounts. At gamma 1 both agree.
- `sm_is`, `sm_dr`, `sm_snis`, `sm_sndr`: k + 1 ratios belong to the ratio of states k steps back;
  theirs has k. At their default, k = 0, no ratio of actions is left, and `sm_is` says what the
  behavior policy's actions would earn in the policy's states.
- `sm_dr`, `sm_sndr`, `sam_dr`, `sam_sndr`: V of the next state has its 0 inserted before the last
  element instead of behind it, so the last step but one has V = 0 and the last step V of itself.
  At gamma 1 with sound weights the two slips cancel, as the rows of `sam_dr` show; at 0.9 they do
  not.
- `sm_sndr` begins with V of the **second** state.

## Distributions of the return

F at every return of the same log, gamma 1: `cd_tis`, their `cdf_tis`.

{distribution}

Its mean, and the mean of the worst 10 % (`cvar`):

{statistics}

- A bin holds its left edge, but its mass is booked at its right one. So F(x) is the probability
  of **less** than x: the column is ours, one row down, and every return counts as the next point
  of the grid. `cdf_tdr` compares returns with the grid as it should.
- Mass at the lowest point of the grid does not enter the mean, nor CVaR: 0.0036 · 4 = 0.0144 is
  missing from the mean of `cd_tdr`.
- CVaR takes the whole point at which F passes 10 % instead of the part below.
- The first reward is discounted by gamma, not by 1, and the grid holds undiscounted returns, so
  at gamma 0.9 every return is a tenth too small, and then counts as the next point. Mended,
  returns are discounted from gamma⁰ and the grid holds them.

## Kernels for continuous actions

The candidate acts in the middle of the range, the behavior policy is uniform, and its actions are
the points of a fine lattice, so that sums are integrals without noise. The reward is linear, so
that a kernel has no bias.

{kernels}

- One dimension, the estimator's class called by itself: the five kernels agree.
- `OffPolicyEvaluation` and `CumulativeDistributionOPE` cast logged actions to integers first.
  Nothing undoes that.
- A kernel of the distance is divided by the mass of a one-dimensional kernel: with d dimensions
  the estimate is multiplied by (√(2π) h)^(d - 1). Mended: divided by it.
- Columns of `pscore` are multiplied. Where each holds the joint density, as their own
  `SyntheticDataset` stores it, the density is taken to the power d. Mended: both.
- A scaler changes the actions but not the density. From a range of 10 to one of 2 the estimate
  grows fivefold, in every step and dimension. Mended: divided by it. Ours takes h in the log's
  units.

## Intervals

Bandits with two actions, b = 1/2, π = 0.8 and 0.2, rewards won by chance, `tis`, 95 %. Half the
width:

{widths}

- `hoeffding` multiplies by n where it should divide: half the width grows with √n. Where all
  rewards are losses its lower end is above its upper one, since the sample's maximum stands for
  the range.
- `empirical_bernstein` takes ln(2 / α) for both sides together, which is what one side needs
  (Maurer & Pontil 2009, theorem 4), and the sample's maximum for the range.
- `t` takes the quantile of 1 - α, one-sided, on both sides.

The share of logs in which they hold the truth. Rare wins are 0.5 % and 2 % by action:

{coverage}

- What `t` promises to hold in 95 % of logs is an interval of 90 %.
- A log without a win gives an interval of width 0 about 0, as the sample's maximum is 0. Ours ask
  for the range (`value_range`).

The bootstrap of `sntis` where every reward is 1:

{resampled}

- They draw normalised terms and do not normalise again, so the interval is one of the mean
  weight. Ours normalises in every replicate.

[Coming from SCOPE-RL or Open Bandit Pipeline](migration.md) says what is called what.
"""
