"""The page of `inarch spans screen`: what was found, where, and which names count as insults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inarch.report._html import table
from inarch.report._page import Page, Part, figures_of, fold, heading, paragraph, settings_table
from inarch.report._posts import REVEAL, Look
from inarch.report._runs import Run, read_json
from inarch.report._spans_plots import bars
from inarch.report._svg import Figure
from inarch.report._words import count, percent
from inarch.spans.fairness import TEMPLATES
from inarch.spans.veil import veiled

REPORT = "report.json"
_DRAWN = 20
"""Strings that are drawn; the others are in a table."""
_DONE = {
    "flag": "All rows are kept, and say what was found in them.",
    "drop": "They are left out; changed.jsonl keeps them.",
    "mask": "They are kept with a mask over what was found; changed.jsonl keeps the originals.",
}


def screen_page(run: Run, look: Look) -> Page:
    """Return the page of a screening, which may be unfinished."""
    title = f"Screened: {run.name}"
    settings = fold("Settings", settings_table("Settings", run.manifest.get("settings") or {}))
    path = run.folder / REPORT
    if not path.is_file():
        words = "This run is not finished. The same command goes on where it stopped."
        return Page(title, [paragraph(words, kind="warn"), settings])
    found = read_json(path)
    share = percent(found["flagged"] / max(found["rows"], 1))
    lead = (
        f"{count(found['flagged'])} of {count(found['rows'])} rows ({share}) have a toxic span."
        f" {_DONE[found['action']]}"
    )
    parts: list[Part] = [
        paragraph(lead, kind="lead"),
        figures_of({
            "rows": count(found["rows"]),
            "flagged": count(found["flagged"]),
            "spans": count(found["spans"]),
            "action": found["action"],
        }),
        *_skipped(found),
        *_groups(found, settings=run.manifest.get("settings") or {}),
        *_strings(found, look),
        *_identities(found),
        heading("How to repeat it"),
        settings,
    ]  # fmt: skip
    return Page(title, parts)


def _skipped(found: Mapping[str, Any]) -> list[Part]:
    told = "; ".join(f"{count(num)} {why}" for why, num in found["skipped"].items())
    return [paragraph(f"Left out: {told}.", kind="warn")] if told else []


def _groups(found: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Part]:
    if len(found["groups"]) < 2:
        return []
    rows = [
        (name or "(none)", count(g["rows"]), count(g["flagged"]), _share(g), count(g["spans"]))
        for name, g in found["groups"].items()
    ]
    head = [settings.get("group_by", ""), "rows", "flagged", "share", "spans"]
    return [heading("Where"), table(head, rows, "Rows with a toxic span")]


def _share(group: Mapping[str, Any]) -> str:
    return percent(group["flagged"] / max(group["rows"], 1), 2)


def _strings(found: Mapping[str, Any], look: Look) -> list[Part]:
    if not found["strings"]:
        return []
    rows = [(_shown(text, look), num, count(num)) for text, num in found["strings"]]
    drawn = rows[:_DRAWN]
    alt = "Commonest strings: " + ", ".join(f"{name} {text}" for name, _, text in drawn)
    figure: Figure = bars(("strings", "Commonest strings", alt), drawn)
    parts: list[Part] = [heading("What"), (figure,)]
    if not look.reveal:
        words = ("One letter of each word is left. ", REVEAL, " shows all.")
        parts.insert(1, paragraph(*words, kind="note"))
    if len(rows) > _DRAWN:
        others = [(name, text) for name, _, text in rows]
        parts.append(fold(f"All {len(rows)}", table(["", "spans"], others, "Commonest strings")))
    return parts


def _shown(text: str, look: Look) -> str:
    return text if look.reveal else veiled(text)


def _identities(found: Mapping[str, Any]) -> list[Part]:
    rates = found["identities"]
    if not rates:
        words = "No neutral sentence gets a span because it names a group."
        return [heading("Names of groups"), paragraph(words)]
    rows = [(name, rate, f"{100 * rate:.0f}%") for name, rate in rates.items()]
    alt = "Neutral sentences with a span: " + ", ".join(f"{name} {text}" for name, _, text in rows)
    words = (
        f"The tagger takes these names for insults: so many of {len(TEMPLATES)} neutral sentences"
        " get a span once they name the group. Spans of nothing but such a name are overlooked by"
        " default (setting overlook); longer ones around it are not."
    )
    what = ("identities", "Neutral sentences that get a span, %", alt)
    return [heading("Names of groups"), paragraph(words, kind="warn"), (bars(what, rows),)]
