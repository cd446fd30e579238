"""What --help says of each command; the examples are run by a test."""

from __future__ import annotations

START = "\n\n".join(
    (
        "Which candidate policies deserve an online A/B test, and at what risk.",
        "From logged data alone: check the log, estimate what each candidate would have earned, "
        "rank the candidates. The --help of each command has examples.",
        "Exit codes: 0 done; 1 the data were refused, or check found something serious; 2 the "
        "call was wrong.",
    )
)
EXAMPLES = {
    "check": (
        "counterfolio check log.parquet",
        "counterfolio check log.csv --action item --reward clicked --propensity p",
        "counterfolio check log.parquet --policy new=p_new --segment device",
        "counterfolio check log.parquet --time day --format json",
    ),
    "evaluate": (
        "counterfolio evaluate log.parquet --policy new=p_new --policy old=p_old",
        "counterfolio evaluate log.parquet --policy new=p_new --report out.html",
        "counterfolio evaluate log.parquet --policy new=p_new,q=q_new,v=v_new",
        "counterfolio evaluate log.csv --config run.toml --format csv",
        "counterfolio evaluate log.parquet --policy new=v=v_new --no-propensity",
        "counterfolio evaluate log.parquet --policy new=action=a_new --state age --fit",
        "counterfolio evaluate --config run.toml --gamma 0.9 --save saved.parquet",
    ),
    "rank": (
        "counterfolio rank log.parquet --policy new=p_new --policy old=p_old --k 1",
        "counterfolio rank log.parquet --policy new=p_new --score lower",
        "counterfolio rank saved.parquet --format csv --output ranking.csv",
    ),
    "report": (
        "counterfolio report saved.parquet out.html",
        'counterfolio report saved.parquet out.html --title "Which banner?"',
    ),
    "simulate": (
        "counterfolio simulate --logs 3 --episodes 200 --roll-outs 1000",
        "counterfolio simulate Recommender --logs 3 --episodes 99 --report sim.html",
        "counterfolio simulate Basic --logs 2 --episodes 100 --log simulated.parquet",
    ),
}
COMMANDS = {
    "check": (
        "Say what a log holds, what was checked and what looks wrong.",
        "Exits with 1 if something serious was found, or the log was refused.",
    ),
    "evaluate": (
        "Estimate what each candidate policy would have earned.",
        "Prints a row for each policy and estimator, and a verdict on each policy: whether its "
        "estimates can be trusted.",
    ),
    "rank": (
        "Rank the policies and choose a shortlist for a test.",
        "Compares each with the behavior policy on the same episodes, and says why it chose.",
    ),
    "report": ("Write the report of a saved evaluation.", "One HTML file that needs nothing else."),
    "simulate": (
        "Ask simulated logs which estimator chooses the better shortlist.",
        "A behavior policy and twelve candidates are learned in an environment, every estimator "
        "ranks them on many logs, and roll-outs say what they are really worth. Takes a minute.",
    ),
}


def help_of(command: str) -> str:
    """Join what a command does with its examples."""
    return "\n\n".join((*COMMANDS[command], "Examples:", "\n".join(EXAMPLES[command])))
