"""`Experiment`: what came out, as tables, a page and sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from counterfolio.assessments import CHOOSING
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.files import check_folder, check_path, write_text
from counterfolio.log import rebuild
from counterfolio.policies import BEHAVIOR
from counterfolio.policies.objects import prob_of
from counterfolio.selection import sharpe_ratio_at_k
from counterfolio.text import Column, html_table, number, plural, quoted, suggest, text_table, wrap
from counterfolio.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from counterfolio.assessments import Assessments
    from counterfolio.evaluations import Evaluations
    from counterfolio.log import LoggedData
    from counterfolio.simulate import OnPolicyValue

#: Estimators whose mean estimates are printed.
MOST_SHOWN = 5
#: How a metric is called in a sentence.
WORDS = {
    "sharpe_ratio": "SharpeRatio@{k}",
    "regret": "regret@{k}",
    "rank_correlation": "rank correlation",
    "nmse": "nMSE",
}


@dataclass(frozen=True, repr=False, eq=False)
class Experiment:
    """Candidates, what they are worth, and how each estimator ranked them on every log.

    Attributes
    ----------
    behavior
        The policy that made the logs.
    candidates : dict
        The policies that were ranked, by name.
    truth : OnPolicyValue
        Roll-outs of the candidates and of "behavior".
    logs : dict
        Name -> a function that collects the log again.
    evaluations : Evaluations
        Of every log.
    assessed : Assessments
        Each metric, on every log and across them.
    settings : dict
        env, n_logs, n_episodes, n_training, n_roll_outs, gamma, k, cross_fit, q_model, ratio_model,
        seed, max_episode_steps; learned, whether candidates were made of the training log; seconds.
    """

    behavior: Any
    candidates: Mapping[str, Any]
    truth: OnPolicyValue
    logs: Mapping[str, Callable[[], LoggedData]]
    evaluations: Evaluations
    assessed: Assessments
    settings: dict[str, Any]

    @property
    def k(self) -> int:
        """Size of the shortlist."""
        return int(self.settings["k"])

    def log(self, name: str) -> LoggedData:
        """Collect a log again, with the probability of each candidate as a column p_NAME.

        Parameters
        ----------
        name
            One of `logs`.

        Raises
        ------
        InvalidArgumentError
            If there is no such log, or a column of it has the name of a candidate's.
        """
        if name not in self.logs:
            text = f'there is no log "{name}"; {suggest(name, self.logs)}'
            raise InvalidArgumentError(text)
        # As it was evaluated: products of matrices may round otherwise on several threads.
        with one_blas_thread():
            log = self.logs[name]()
        columns = {f"p_{p}": prob_of(p, policy, log) for p, policy in self.candidates.items()}
        frame = log._table.frame(log.n_rows)
        if taken := [column for column in columns if column in frame.columns]:
            text = f'the log has a column "{taken[0]}" already; call that candidate otherwise'
            raise InvalidArgumentError(text)
        frame = frame.with_columns(pl.DataFrame(columns))
        return rebuild(frame, log.roles, log.propensity_source, None)

    @property
    def candidates_table(self) -> pl.DataFrame:
        """The candidates by their true value, best first.

        policy, value, standard_error, and for each estimator the mean of its estimates over the
        logs: NaN where one is undefined, null for "behavior".
        """
        true = self.truth.table.select("policy", "value", "standard_error")
        means = (
            self.evaluations.estimates.filter(pl.col("policy") != BEHAVIOR)
            .group_by("policy", "estimator", maintain_order=True)
            .agg(pl.col("value").mean())
            .pivot("estimator", index="policy", values="value")
        )
        return true.join(means, on="policy", how="left", maintain_order="left").sort(
            "value", descending=True, maintain_order=True
        )

    @property
    def metrics(self) -> pl.DataFrame:
        """Each estimator by each metric across the logs.

        estimator, k, metric, value, std, ci_low, ci_high, n_logs, n_undefined, n_infinite: the rows
        of `assessed.table` that choose between estimators.
        """
        own = pl.col("k").is_null() | (pl.col("k") == self.k)
        return self.assessed.table.filter(pl.col("metric").is_in(list(CHOOSING)) & own)

    def best(self) -> dict[str, list[str]]:
        """Name the estimators that are best on average, by each metric."""
        found = {}
        for metric, (_, more) in CHOOSING.items():
            rows = self.metrics.filter((pl.col("metric") == metric) & pl.col("value").is_finite())
            best = pl.col("value").max() if more else pl.col("value").min()
            found[metric] = rows.filter(pl.col("value") == best)["estimator"].to_list()
        return found

    def wins(self) -> pl.DataFrame:
        """Count the logs on which each estimator is the best, by each metric.

        Returns
        -------
        polars.DataFrame
            estimator, and a column to each metric; a log on which several are the best counts for
            each of them with its share.
        """
        names = list(dict.fromkeys(self.metrics["estimator"]))
        counts = {metric: dict.fromkeys(names, 0.0) for metric in CHOOSING}
        for row in self.assessed.best_estimators(self.k).iter_rows(named=True):
            for name in row["estimators"]:
                counts[row["metric"]][name] += 1 / len(row["estimators"])
        columns = {metric: [own[name] for name in names] for metric, own in counts.items()}
        return pl.DataFrame({"estimator": names, **columns})

    def sentences(self) -> list[str]:
        """Answer the question in words."""
        s, words = self.settings, self._words()
        counts = f"{plural(s['n_logs'], 'log')} of {plural(s['n_episodes'], 'episode')}"
        found = [self._best_by(metric, names) for metric, names in self.best().items()]
        earned = (
            f"behavior policy earns {number(self.truth.value(BEHAVIOR), 4)}, the best candidate, "
            f"{quoted(self._leader())}, {number(self.truth.value(self._leader()), 4)}."
        )
        ideal = self._ideal()
        if math.isnan(ideal):
            earned = f"The {earned}"
        else:
            by = f"A ranking by the truth itself has {words['sharpe_ratio']} {number(ideal, 3)}"
            earned = f"{by}; the {earned}"
        return [f"Over {counts}:", *found, self._agreed(), earned]

    def _words(self) -> dict[str, str]:
        return {metric: text.format(k=self.k) for metric, text in WORDS.items()}

    def _best_by(self, metric: str, names: list[str]) -> str:
        word = self._words()[metric]
        if not names:
            return f"By {word} no estimator has a value."
        rows = self.metrics.filter((pl.col("metric") == metric) & (pl.col("estimator") == names[0]))
        row = rows.row(0, named=True)
        spread = "" if row["std"] is None else f" ± {number(row['std'], 2)}"
        return f"By {word} the best is {', '.join(names)} ({number(row['value'], 3)}{spread})."

    def _agreed(self) -> str:
        words = self._words()
        table = self.assessed.agreement(self.k).filter(metric="sharpe_ratio")
        pairs = [
            f"{words[row['other_metric']]} on {row['n_agree']:.3g} of {row['n_logs']}"
            for row in table.filter(pl.col("n_logs") > 0).iter_rows(named=True)
        ]
        if not pairs:
            return f"{words['sharpe_ratio']} is undefined on every log, and chooses no estimator."
        return f"{words['sharpe_ratio']} chooses the same estimator as {', '.join(pairs)} logs."

    def _leader(self) -> str:
        return max(self.candidates, key=self.truth.value)

    def _ideal(self) -> float:
        values = {name: self.truth.value(name) for name in self.candidates}
        return float(sharpe_ratio_at_k(values, values, self.truth.value(BEHAVIOR), self.k))

    def _caption(self) -> str:
        s = self.settings
        return (
            f"{s['env']}: {plural(len(self.candidates), 'candidate')} ranked on "
            f"{plural(s['n_logs'], 'log')} of {plural(s['n_episodes'], 'episode')}, gamma "
            f"{s['gamma']:g}"
        )

    def _worth(self, most: int | None = None) -> list[Column]:
        """Lay out what candidates are worth, with the estimates of so many estimators."""
        t = self.candidates_table
        shown = t.columns[3:][:most]
        return [
            Column("policy", t["policy"].to_list(), left=True),
            Column("truth", [number(x) for x in t["value"]]),
            *(Column(name, [number(x) for x in t[name]]) for name in shown),
        ]

    def _judged(self) -> tuple[list[Column], list[str]]:
        return self.assessed._layout()

    def _agreement(self) -> list[Column]:
        names = [self._words()[m] for m in CHOOSING]
        counts: dict[tuple[str, str], str] = {}
        for row in self.assessed.agreement(self.k).iter_rows(named=True):
            cell = f"{row['n_agree']:.3g} of {row['n_logs']}"
            counts[row["metric"], row["other_metric"]] = cell
            counts[row["other_metric"], row["metric"]] = cell
        return [
            Column("chooses as", names, left=True),
            *(
                Column(name, [counts.get((metric, other), "") for other in CHOOSING])
                for name, metric in zip(names, CHOOSING, strict=True)
            ),
        ]

    def _wins(self) -> list[Column]:
        t, words = self.wins(), self._words()
        return [
            Column("best on logs", t["estimator"].to_list(), left=True),
            *(Column(words[m], [f"{x:.3g}" for x in t[m]]) for m in CHOOSING),
        ]

    def __repr__(self) -> str:
        judged, lines = self._judged()
        worth = text_table(self._worth(MOST_SHOWN))
        if (more := len(self.candidates_table.columns) - 3 - MOST_SHOWN) > 0:
            worth += f"\nMean estimates of {plural(more, 'more estimator')}: .candidates_table."
        blocks = [
            wrap(self._caption()),
            worth,
            "\n".join([text_table(judged), *(wrap(line) for line in lines)]),
            text_table(self._wins()),
            text_table(self._agreement()),
            "\n".join(wrap(sentence) for sentence in self.sentences()),
        ]
        return "\n\n".join(blocks)

    def _repr_html_(self) -> str:
        judged, lines = self._judged()
        return "\n".join(
            [
                html_table(self._worth(), self._caption(), []),
                html_table(judged, "Estimators by true values, across logs", lines),
                html_table(self._wins(), "On how many logs an estimator is the best", []),
                html_table(
                    self._agreement(), "On how many logs two metrics agree", self.sentences()
                ),
            ]
        )

    def to_html(self, path: str | Path, *, title: str | None = None) -> None:
        """Write a page: the answer, the candidates, the metrics with plots, and who agrees.

        Parameters
        ----------
        path
            The file appears whole or not at all.
        title
            Of the page.

        Raises
        ------
        MissingExtraError
            If matplotlib or jinja2 is missing.
        """
        check_folder(check_path(path))
        from counterfolio.report.experiments import render

        write_text(render(self, title), path)
