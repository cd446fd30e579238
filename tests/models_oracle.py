"""Q and marginal ratios once more, in plain numpy: written from the papers, not from the package.

Dense feature vectors, a loop over rows, numpy's own solver. LSTD-Q of Lagoudakis & Parr 2003, MWL
of Uehara, Huang & Jiang 2020, the state's ratio of Liu et al. 2018, the regularised Lagrangian of
Yang et al. 2020; and the decision processes of mdp.py solved by recursion.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np


@dataclass(frozen=True)
class Rows:
    """Transitions with dense features."""

    phi: np.ndarray  # (n, d) of the logged action
    phibar: np.ndarray  # (n, d) averaged over the evaluation policy's actions
    reward: np.ndarray
    lengths: np.ndarray
    gamma: float
    left_out: np.ndarray | None = None  # rows that stand in no equation

    @property
    def first(self):
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    @property
    def last(self):
        out = np.zeros(len(self.phi), dtype=bool)
        out[np.cumsum(self.lengths) - 1] = True
        return out

    @property
    def step(self):
        return np.concatenate([np.arange(length) for length in self.lengths])

    @property
    def episode(self):
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def used(self):
        return ~self.left_out if self.left_out is not None else np.ones(len(self.phi), bool)


def standardised(x):
    x = np.reshape(x, (len(x), -1)).astype(float)
    return (x - x.mean(axis=0)) / x.std(axis=0)


def linear(x):
    return np.column_stack([np.ones(len(x)), standardised(x)])


def polynomial(x):
    z = standardised(x)
    squares = [z[:, i] * z[:, j] for i, j in combinations_with_replacement(range(z.shape[1]), 2)]
    return np.column_stack([np.ones(len(z)), z, *squares])


def with_steps(x, step):
    """A column to each step but the first; beyond 50 steps the share and its square."""
    length = step.max() + 1
    if length > 50:
        return np.column_stack([x, step / length, (step / length) ** 2])
    return np.column_stack([x, *[(step == t).astype(float) for t in range(1, length)]])


def crossed(x, actions):
    """Features of the state times each action's probability (1 for the one that was taken)."""
    return np.array([np.outer(p, row).ravel() for row, p in zip(x, actions, strict=True)])


def one_hot_cells(labels, action, probs):
    """One-hot features of the pairs that a log has, and their mean under a policy."""
    names = {pair: i for i, pair in enumerate(sorted(set(zip(labels, action, strict=True))))}
    phi, phibar = np.zeros((2, len(labels), len(names)))
    for i, label in enumerate(labels):
        phi[i, names[label, action[i]]] = 1.0
        for a, p in enumerate(probs[i]):
            if (label, a) in names:
                phibar[i, names[label, a]] = p
    return phi, phibar


def penalty(rows, weight, ridge, d):
    trace = sum(w * (p @ p) for w, p, used in zip(weight, rows.phi, rows.used, strict=True) if used)
    return ridge * trace / d


def normal_matrix(rows, weight, ridge):
    """sum w phi (phi - gamma phibar')^T + lambda I"""
    d = rows.phi.shape[1]
    total = np.zeros((d, d))
    for i, (phi, w, last, used) in enumerate(
        zip(rows.phi, weight, rows.last, rows.used, strict=True)
    ):
        if not used:
            continue
        after = np.zeros(d) if last else rows.phibar[i + 1]
        total += w * np.outer(phi, phi - rows.gamma * after)
    return total + penalty(rows, weight, ridge, d) * np.eye(d)


def lstdq(rows, ridge):
    """Coefficients of Q."""
    right = np.zeros(rows.phi.shape[1])
    for phi, r, used in zip(rows.phi, rows.reward, rows.used, strict=True):
        right += phi * r * used
    return np.linalg.solve(normal_matrix(rows, np.ones(len(rows.phi)), ridge), right)


def q_and_v(rows, ridge):
    theta = lstdq(rows, ridge)
    return rows.phi @ theta, rows.phibar @ theta


def episode_scores(rows, ridge):
    """u_i = sum over an episode of phi (r + gamma v' - q)."""
    q, v = q_and_v(rows, ridge)
    out = np.zeros((len(rows.lengths), rows.phi.shape[1]))
    for i, episode in enumerate(rows.episode):
        after = 0.0 if rows.last[i] else rows.gamma * v[i + 1]
        out[episode] += rows.used[i] * rows.phi[i] * (rows.reward[i] + after - q[i])
    return out


def sandwich(rows, ridge):
    """Covariance of the coefficients, by episode."""
    inverse = np.linalg.inv(normal_matrix(rows, np.ones(len(rows.phi)), ridge))
    u = episode_scores(rows, ridge)
    return inverse @ (u.T @ u) @ inverse.T


def value_error(rows, ridge, cluster=None):
    """Standard error of mean v_0: the first states are drawn, and so is theta."""
    inverse = np.linalg.inv(normal_matrix(rows, np.ones(len(rows.phi)), ridge))
    _, v = q_and_v(rows, ridge)
    start = rows.phibar[rows.first].mean(axis=0)
    n = len(rows.lengths)
    moved = n * (episode_scores(rows, ridge) @ inverse.T @ start)
    psi = v[rows.first] - v[rows.first].mean() + moved
    if cluster is not None:
        psi = np.array([psi[cluster == c].sum() for c in np.unique(cluster)])
    return np.sqrt(len(psi) / (len(psi) - 1) * (psi**2).sum()) / n


def mwl(rows, ridge):
    """Coefficients of d_pi(s, a) / d_b(s, a)."""
    weight = rows.gamma**rows.step
    start = rows.phibar[rows.first].sum(axis=0)
    return np.linalg.solve(normal_matrix(rows, weight, ridge).T, start)


def state_mwl(x, rho, rows, ridge):
    """Coefficients of d_pi(s) / d_b(s), with x the features of the state alone."""
    d = x.shape[1]
    weight = rows.gamma**rows.step
    total = np.zeros((d, d))
    trace = 0.0
    for i in range(len(x)):
        if not rows.used[i]:
            continue
        after = np.zeros(d) if rows.last[i] else x[i + 1]
        total += weight[i] * np.outer(x[i], x[i] - rows.gamma * rho[i] * after)
        trace += weight[i] * (x[i] @ x[i])
    total += ridge * trace / d * np.eye(d)
    return np.linalg.solve(total.T, x[rows.first].sum(axis=0))


#: alpha_zeta, alpha_nu, alpha_R of Yang et al. 2020, without its normalisation and
#: positivity constraints.
DICE = {
    "dual_dice": (1.0, 0.0, 0.0),
    "gen_dice": (0.0, 1.0, 0.0),
    "gradient_dice": (0.0, 1.0, 0.0),
    "algae_dice": (1.0, 0.0, 1.0),
    "best_dice": (1.0, 0.0, 1.0),
}


def dice(rows, method):
    """Saddle point of the regularised Lagrangian, zeta = phi^T z and nu = phi^T n.

    max_z min_n  c^T n + alpha_R z^T r - z^T A n + alpha_nu n^T G n / 2 - alpha_zeta z^T G z / 2

    with A = sum gamma^t phi (phi - gamma phibar')^T, G = sum gamma^t phi phi^T, r = sum gamma^t phi
    reward and c = sum phibar(s_0): both gradients are 0 at one linear system's solution.
    """
    alpha_zeta, alpha_nu, alpha_r = DICE[method]
    weight = rows.gamma**rows.step
    a = normal_matrix(rows, weight, 0.0)
    g = (rows.phi * weight[:, None]).T @ rows.phi
    r = (rows.phi * weight[:, None]).T @ rows.reward
    c = rows.phibar[rows.first].sum(axis=0)
    d = len(c)
    system = np.block([[-alpha_zeta * g, -a], [-a.T, alpha_nu * g]])
    found = np.linalg.solve(system, np.concatenate([-alpha_r * r, -c]))
    return rows.phi @ found[:d]


def occupancies(mdp, policy, gamma):
    """gamma^t P(S_t = s, A_t = a, not over) of every step: (horizon, S, A)."""
    out = []
    alive = mdp.start.copy()
    for t in range(mdp.horizon):
        pairs = alive[:, None] * policy
        out.append(gamma**t * pairs)
        alive = np.einsum("sa,sa,sax->x", pairs, 1.0 - mdp.end, mdp.move)
    return np.array(out)


def endless(mdp, policy, gamma):
    """Q of shape (S, A), and the occupancy, of the process without its horizon."""
    moves = (1.0 - mdp.end)[:, :, None] * mdp.move
    of_policy = np.einsum("sa,sax->sx", policy, moves)
    identity = np.eye(len(mdp.start))
    value = np.linalg.solve(identity - gamma * of_policy, (policy * mdp.reward).sum(axis=1))
    states = np.linalg.solve(identity - gamma * of_policy.T, mdp.start)
    return mdp.reward + gamma * moves @ value, states[:, None] * policy
