"""The pages on estimators have every one of the registry, and say what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from counterfolio import _core
from counterfolio.estimators import TRANSFORMS

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = _core.registry()
OVERVIEW = (ROOT / "docs" / "estimators.md").read_text("utf-8")
PAGES = {
    "basic": "estimators.md",
    "marginal": "estimators-marginal.md",
    "bandit": "estimators-bandit.md",
    "distribution": "distribution.md",
}
#: What a section has to say, beside its formula.
SAYS = ("- **Needs** ", "- **Assumes** ", "- **Fails** ", "- **Source**: ")


def table(text: str) -> dict[str, list[str]]:
    """Rows that begin with the link to an estimator: name -> cells."""
    rows = {}
    for line in text.splitlines():
        if found := re.match(r"\| \[`(\w+)`\]", line):
            rows[found[1]] = [cell.strip() for cell in line.strip("|").split("|")]
    return rows


def test_the_overview_has_every_one_with_its_needs():
    rows = table(OVERVIEW)
    assert list(rows) == [row["name"] for row in REGISTRY]
    for row in REGISTRY:
        _, aliases, needs, word = rows[row["name"]]
        assert aliases == ", ".join(f"`{alias}`" for alias in row["aliases"]), row["name"]
        assert needs.split(", ") == row["needs"], row["name"]
        assert len(word) > 5
        # A row stands alone: its neighbours may change places.
        assert not re.search(r"\b(same|them|these|next|above|below)\b", word), row["name"]


def test_so_has_the_readme():
    rows = table((ROOT / "README.md").read_text("utf-8"))
    assert list(rows) == [row["name"] for row in REGISTRY]
    for row in REGISTRY:
        assert rows[row["name"]][-1].split(", ") == row["needs"]


def needs_in_words(row: dict) -> str:
    """What its section has to say that it needs: of a policy, of the log, of an option."""
    needs = list(row["needs"])
    if "prob" in needs:
        needs.insert(1, "propensity")
    words = ", ".join(needs)
    if row["required"]:
        words += f", and the option `{row['required']}`"
    if "n_step" in row["options"] and "prob" not in needs:
        words += "; with `n_step` above 0 prob and propensity too"
    return words


@pytest.mark.parametrize("row", REGISTRY, ids=lambda row: row["name"])
def test_each_has_its_section_where_the_links_say(row):
    page = PAGES[row["family"]]
    text = (ROOT / "docs" / page).read_text("utf-8")
    name = row["name"]
    assert f"## `{name}`\n" in text
    section = text.split(f"## `{name}`\n")[1].split("\n## ")[0]
    assert "```text\n" in section
    for said in SAYS:
        assert said in section, said
    anchor = f"#{name}" if page == "estimators.md" else f"{page}#{name}"
    assert f"[`{name}`]({anchor})" in OVERVIEW
    needs = section.split(SAYS[0])[1].split("\n- **")[0]
    # Exactly that; what else is to be said of it follows in sentences of its own.
    assert re.match(r"(.*?)\.(\s|$)", needs)[1] == needs_in_words(row)
    # In a screen.
    assert len(section.splitlines()) < 30


def test_the_decision_table_leads_to_every_one():
    decisions = OVERVIEW.split("## Which one")[1].split("## Conventions")[0]
    assert [row["name"] for row in REGISTRY if f"`{row['name']}`" not in decisions] == []


def test_the_table_of_options_is_the_registry():
    text = (ROOT / "docs" / PAGES["bandit"]).read_text("utf-8")
    rows = text.split("| estimators | options |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    takes = {}
    for line in rows:
        names, options = line.strip("|").split("|")
        found = re.findall(r"`(\w+)`", options)
        assert found or options.strip() == "none"
        assert options.endswith("always ") == (len(found) == 1)
        for name in re.findall(r"`(\w+)`", names):
            assert name not in takes
            takes[name] = found
    assert takes == {row["name"]: row["options"] for row in REGISTRY}
    for row in REGISTRY:
        assert row["required"] == (takes[row["name"]][0] if len(takes[row["name"]]) == 1 else None)


def test_every_option_is_explained():
    text = (ROOT / "docs" / PAGES["bandit"]).read_text("utf-8")
    for option in (*TRANSFORMS, "per_step", "n_step"):
        assert f"`{option}" in text, option
    for option in TRANSFORMS:
        assert re.search(rf"^\| `{option}` \|", text, re.M), option
