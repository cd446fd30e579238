"""Three acts in the terminal, and as an HTML page: `python examples/demo.py`."""

from __future__ import annotations

import argparse
import html
from pathlib import Path
from typing import TYPE_CHECKING

import cartpole
import digits
import open_bandit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from story import Story

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 52em; margin: 2em auto;
       padding: 0 1em; }
h1 { font-size: 1.6em; margin: 2em 0 0.5em; border-bottom: 2px solid #222; }
h2 { font-size: 1.15em; margin: 2em 0 0.5em; }
figure { margin: 1em 0; }
table { border: 0; border-collapse: collapse; font-size: 0.9em; margin: 0.8em 0;
        font-variant-numeric: tabular-nums; }
th, td { border: 0; border-bottom: 1px solid #ddd; padding: 0.15em 0.9em 0.15em 0; }
th { border-bottom-color: #222; font-weight: 600; vertical-align: bottom; }
.dataframe th:first-child, .dataframe td:first-child { text-align: left; }
.item { margin: 0.3em 0; padding-left: 2em; text-indent: -2em; }
@media print {
  body { font-size: 10pt; margin: 0; max-width: none; }
  h1, h2 { break-after: avoid; }
  p:has(+ div), div > p:first-child { break-after: avoid; }
  h1:not(:first-of-type) { break-before: page; }
  table, .item { break-inside: avoid; }
}
"""


def page(stories: Sequence[Story]) -> str:
    """One HTML page that loads nothing from elsewhere."""
    body = []
    for kind, content in (part for story in stories for part in story.parts):
        if kind == "html":  # results have escaped their own text
            body.append(content)
        elif kind == "item":
            name, text = map(html.escape, content.split(": ", 1))
            body.append(f'<p class="item"><b>{name}</b>: {text}</p>')
        else:
            body.append(f"<{kind}>{html.escape(content)}</{kind}>")
    reports = [report for story in stories for report in story.reports]
    links = "".join(f'<li><a href="{r.name}.html">{html.escape(r.title)}</a></li>' for r in reports)
    body.append(f"<h1>The reports of the three evaluations</h1>\n<ul>{links}</ul>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>counterfolio demo</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def main(arguments: Sequence[str] | None = None) -> str:
    """Tell the acts, write the page and the reports, return what was printed."""
    parser = argparse.ArgumentParser(description="What counterfolio does, in three acts.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo-report"),
        help="folder of the report (default: %(default)s)",
    )
    output: Path = parser.parse_args(arguments).output
    stories = []
    for act in (open_bandit, digits, cartpole):
        stories.append(act.main())
        print()
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for report in (report for story in stories for report in story.reports):
        path = output / f"{report.name}.html"
        report.evaluation.to_html(path, truth=report.truth, title=report.title)
        written.append(path)
    index = output / "index.html"
    index.write_text(page(stories), encoding="utf-8")
    ending = "\n".join(
        [
            "For someone who has to decide, a report on each evaluation:",
            *map(str, written),
            "",
            "All three acts as a page to read or print, with plots:",
            str(index),
        ]
    )
    print(ending)
    return "\n".join([*(story.text for story in stories), f"{ending}\n"])


if __name__ == "__main__":
    main()
