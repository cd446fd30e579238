"""What goes wrong, in the command line's words: one line on standard error, and an exit code."""

from __future__ import annotations

import re

from counterfolio.exceptions import (
    InvalidArgumentError,
    InvalidLogError,
    InvalidPolicyError,
)

#: The data were refused, or `check` found something serious.
REFUSED = 1
#: The call was wrong.
WRONG_CALL = 2
#: As shells count a process that a signal ended: 128 + SIGINT, 128 + SIGPIPE.
INTERRUPTED = 130
PIPE_CLOSED = 141

#: How the library's messages name what to pass, and how the command line does.
WORDS = (
    (
        r"pass cf\.PolicyColumns\((.*?)\)",
        lambda m: "name them with --policy NAME=" + re.sub(r"=\.\.\.,?\s*", "=COLUMN,", m[1])[:-1],
    ),
    (r"\bname the input format\b", lambda m: "name the format with --input-format"),
    (r"\bname its format\b", lambda m: "name its format with --input-format"),
    (r"\bread it as (csv|tsv)\b", lambda m: f"read it with --input-format {m[1]}"),
    (
        r"\b(pass )?(action_type|alternative|interval|score)=\"([\w-]+)\"",
        lambda m: f"{'add ' if m[1] else ''}{_option(m[2])} {m[3]}",
    ),
    (
        r"two finite numbers \(low, high\) with low < high, not \[(\S+), (\S+)\]",
        lambda m: f"LOW,HIGH with LOW below HIGH, both finite, not {m[1]},{m[2]}",
    ),
    (r"(?<=_range must )(.*), not \[(\S+), (\S+)\]$", lambda m: f"{m[1]}, not {m[2]},{m[3]}"),
    (r"\b(\w+_range)=\(low, high\)", lambda m: f"{_option(m[1])} LOW,HIGH"),
    (r"\breturn_min=\.\.\.", lambda m: "--return-min NUMBER"),
    (r"\bestimators=\[(.*?)\]", lambda m: "--estimators " + re.sub(r"['\" ]", "", m[1])),
    (r" to LoggedData\.from_frame", lambda m: ""),
    (r"\b(pass )?actions=\[\.\.\.\]", lambda m: "name them with --actions LABEL"),
    (
        r"(?<![\"\w])(propensity|episode_id|state)=(\.\.\.|\[.*?\])",
        lambda m: f"{_option(m[1])} COLUMN",
    ),
    (
        r"^(unknown )?(action_type|confidence_level|num_threads|gamma|k|interval|alternative|score|"
        r"n_resamples|method|resampling|seed|\w+_range|return_min)(?= must| has| '|:)",
        lambda m: f"{m[1] or ''}{_option(m[2])}",
    ),
    # These are no words of a sentence, so they are arguments wherever no name in quotes holds them.
    (
        r"\"[^\"]*\"|(?<![\w-])(action_type|confidence_level|num_threads|n_resamples|\w+_range|"
        r"return_min)(?![\w=])",
        lambda m: _option(m[1]) if m[1] else m[0],
    ),
)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def one_line(text: str) -> str:
    """Escape what a terminal would act upon, line breaks included."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def for_terminal(text: str) -> str:
    """Escape what a terminal would act upon, save line breaks."""
    return "\n".join(map(one_line, text.split("\n")))


def message(error: BaseException, command: str = "") -> str:
    """Say what was wrong in one line, naming options where the library names arguments."""
    text = str(error)
    for pattern, words in WORDS:
        text = re.sub(pattern, words, text)
    if command == "rank":  # which takes one estimator
        text = re.sub(
            r"--estimators (\w+(?:,\w+)*)",
            lambda m: "--estimator " + m[1].replace(",", " or "),
            text,
        )
    return one_line(text)


def exit_code(error: BaseException) -> int:
    """Tell data that were refused from a call that was wrong."""
    refused = isinstance(error, InvalidLogError | InvalidPolicyError)
    return REFUSED if refused else WRONG_CALL


def wrong(text: str) -> InvalidArgumentError:
    """Make the error of a wrong call."""
    return InvalidArgumentError(text)
