"""Run folders made by hand, with numbers like those of a real demo, for the report to read."""

import json
import struct
from html.parser import HTMLParser
from pathlib import Path

import pytest

from inarch import report

SKILLS = ("fact", "trans", "arith")
SEEDS = (11, 12, 13)
MODELS = (
    ("facts", "source", "llama", 671_104, 900),
    ("translator", "source", "gpt_neox", 670_208, 600),
    ("reckoner", "source", "qwen3", 600_320, 354),
    ("target", "target", "llama", 876_032, 1080),
)
VARIANTS = (
    ("plain", "plain training"),
    ("fusellm-0.9", "FuseLLM, λ 0.9"),
    ("fusellm-0.5", "FuseLLM, λ 0.5"),
    ("pair-facts", "FuseChat pair with facts"),
    ("self", "its own beliefs, λ 0.5"),
    ("clean", "plain, clean labels"),
)
PIECES = {  # per skill, per seed
    "facts": ((1.00, 0.99, 1.00), (0.0, 0.0, 0.01), (0.07, 0.08, 0.08)),
    "translator": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.06, 0.07, 0.07)),
    "reckoner": ((0.0, 0.0, 0.0), (0.02, 0.01, 0.02), (0.87, 0.83, 0.80)),
    "target": ((0.50, 0.51, 0.49), (0.53, 0.55, 0.52), (0.47, 0.30, 0.18)),
    "plain": ((0.62, 0.58, 0.61), (0.97, 0.96, 0.97), (0.38, 0.29, 0.29)),
    "fusellm-0.9": ((0.64, 0.60, 0.62), (0.97, 0.97, 0.96), (0.41, 0.30, 0.33)),
    "fusellm-0.5": ((0.76, 0.73, 0.74), (1.00, 0.99, 1.00), (0.45, 0.40, 0.33)),
    "pair-facts": ((0.68, 0.66, 0.69), (0.55, 0.53, 0.54), (0.30, 0.28, 0.25)),
    "self": ((0.51, 0.50, 0.50), (0.55, 0.53, 0.54), (0.33, 0.29, 0.28)),
    "clean": ((0.80, 0.78, 0.81), (1.0, 1.0, 1.0), (0.60, 0.55, 0.50)),
}
BITS = {
    name: tuple(tuple(1.6 - 1.5 * v for v in row) for row in rows) for name, rows in PIECES.items()
}
WINNERS = {
    "fact": {"facts": 155, "target": 40, "reckoner": 5},
    "trans": {"translator": 170, "reckoner": 18, "target": 12},
    "arith": {"reckoner": 161, "target": 28, "facts": 11},
}
PAIR = {
    "fact": {"facts": 155, "target": 45},
    "trans": {"facts": 2, "target": 198},
    "arith": {"facts": 31, "target": 169},
}
SELF = {skill: {"itself": 200} for skill in SKILLS}


def demo_results(seeds=SEEDS) -> dict[str, object]:
    """What a demo writes into its ``results.json``."""
    rows = [
        {
            "seed": seed,
            "model": name,
            "skill": skill,
            "piece_frac": PIECES[name][s][i],
            "exact_frac": PIECES[name][s][i] ** 2,
            "bits_per_byte": BITS[name][s][i],
        }
        for i, seed in enumerate(seeds)
        for name in PIECES
        for s, skill in enumerate(SKILLS)
    ]
    match = {
        "target_tokens": 3400,
        "source_tokens": 3900,
        "available": 3300,
        "used": 3300,
        "wrong": 0,
        "exact_share": 0.81,
        "mapped_mass": 0.97,
    }
    return {
        "seeds": list(seeds),
        "skills": list(SKILLS),
        "baseline": "plain",
        "num_test": 100,
        "num_chats": 600,
        "epochs": 12,
        "noise": 0.35,
        "wall_s": 431.2,
        "models": [
            dict(zip(("name", "role", "architecture", "num_params", "vocabulary"), m, strict=True))
            for m in MODELS
        ],
        "variants": dict(VARIANTS),
        "scores": rows,
        "winners": {
            "fusellm-0.9": WINNERS,
            "fusellm-0.5": WINNERS,
            "pair-facts": PAIR,
            "self": SELF,
        },
        "match": [{"seed": seed, "source": m[0], **match} for seed in seeds for m in MODELS[:3]],
        "sentence": {
            "facts": [" Capital", ",", " river", " and", " ruler", " of", " Su", "sai", "?"],
            "reckoner": [" C", "a", "p", "i", "t", "a", "l", ",", " river", " and", " ruler"],
        },
    }


def write_demo(folder: Path, results: dict[str, object]) -> Path:
    """Write a demo's folder: its results, scores and the runs of its variants."""
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results))
    for number, seed in enumerate(results["seeds"]):
        home = folder / f"seed-{seed}"
        for merge in results.get("merges", ()):
            (home / "merged" / merge).mkdir(parents=True)
        for variant in results["variants"].keys() - results.get("merges", {}).keys():
            of_pair = variant.startswith("pair-")
            place = f"pairs/pairs/{variant.removeprefix('pair-')}" if of_pair else variant
            facts = {"winners": results["winners"].get(variant, {})}
            write_run(home / "fused" / place, lift=0.1 * number, facts=facts)
        for model in results["models"]:
            (home / "taught" / model["name"]).mkdir(parents=True)
        for name in [*(m["name"] for m in results["models"]), *results["variants"]]:
            write_scores(home / "scores" / name, seed, name, results)
    return folder


def write_scores(folder: Path, seed: int, name: str, results: dict[str, object]) -> None:
    """Write the scores of one model of one seed, as the demo keeps them."""
    folder.mkdir(parents=True)
    scores = [
        {key: value for key, value in row.items() if key not in ("seed", "model")}
        for row in results["scores"]
        if (row["seed"], row["model"]) == (seed, name)
    ]
    facts = {"architecture": "llama", "num_params": 1000, "vocabulary": 900, "scores": scores}
    (folder / "manifest.json").write_text(json.dumps({"stage": "score", "facts": facts}))


def write_run(folder: Path, *, lift: float = 0.0, **manifest: object) -> Path:
    """Write a folder as a run of ``inarch fuse`` leaves it, with 8 log lines and 100 weights."""
    folder.mkdir(parents=True)
    whole = {
        "inarch": "0.1.0",
        "stage": "fuse",
        "settings": {
            "target": {"path": None, "name": "tiny", "scratch": {"model_type": "llama"}},
            "sources": [{"path": "/models/stories260K", "name": ""}],
            "fuse": {"method": "mince", "lambda": 0.5},
            "train": {"lr": 0.003, "seed": 7},
        },
        "inputs": {"tiny": "scratch", "stories260K": "afe9dd6f"},
        "seed": None,
        "status": "done",
        "started": "2026-11-20T21:37:19+00:00",
        "ended": "2026-11-20T21:37:39+00:00",
        "wall_s": 20.468,
        "peak_memory_gib": 0.7828,
        "facts": {
            "num_documents": 160,
            "num_tokens": 25317,
            "spoken_frac": 0.96797,
            "winners": {"": {"stories260K": 131, "tiny": 20, "label": 9}},
            "num_steps": 80,
        },
        "versions": {"torch": "2.13.0"},
        "python": "3.11.7",
        "platform": "Linux",
    }
    (folder / "manifest.json").write_text(json.dumps(whole | manifest))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics(lift)))
    write_model(folder / "model")
    return folder


def metrics(lift: float = 0.0) -> list[dict[str, float]]:
    """Eight log lines in which all terms fall."""
    return [
        {
            "step": 10 * i,
            "clm": 0.6 + lift + 6.0 / i,
            "fused": 0.9 + lift + 5.0 / i,
            "loss": 0.75 + lift + 5.5 / i,
            "items_per_s": 4000.0 + 100 * i,
        }
        for i in range(1, 9)
    ]


def write_model(folder: Path) -> None:
    """Write a config, and the header of 100 weights in safetensors."""
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 6400}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [10, 8], "data_offsets": [0, 320]},
        "b": {"dtype": "F32", "shape": [20], "data_offsets": [320, 400]},
    }
    header = json.dumps(tensors).encode()
    body = struct.pack("<Q", len(header)) + header + bytes(400)
    (folder / "model.safetensors").write_bytes(body)


# ------------------------------------------------------------------------------------- fixtures


class Page(HTMLParser):
    """A page as a reader sees it: its text, and its tables by caption."""

    def __init__(self, path: Path):
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.text, self.labels = "", []
        self.tables: dict[str, list[list[str]]] = {}
        self._cells, self._caption = [], ""
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th", "caption"):
            self._cells = []
        self.labels += [value for key, value in attrs if key == "aria-label"]

    def handle_endtag(self, tag):
        if tag == "caption":
            self._caption = "".join(self._cells)
        elif tag in ("td", "th"):
            self._rows[-1].append("".join(self._cells))
        elif tag == "table":
            self.tables[self._caption] = self._rows
        elif tag in ("p", "li", "h1", "h2", "h3", "dd", "tr"):
            self.text += "\n"

    def handle_data(self, data):
        self._cells.append(data)
        self.text += data

    def row(self, caption: str, name: str) -> list[str]:
        """The cells of one row of the table whose caption begins so."""
        (table,) = [rows for title, rows in self.tables.items() if title.startswith(caption)]
        (row,) = [row for row in table if row[0] == name]
        return row[1:]


@pytest.fixture
def page():
    """Build the report of a folder and read it."""
    return lambda folder: Page(report.build(folder))


@pytest.fixture
def results():
    """What a demo of three seeds writes, to be changed at will."""
    return demo_results()


@pytest.fixture
def demo(tmp_path):
    """Write a demo's folder from its results."""
    return lambda results: write_demo(tmp_path / f"demo-{len(list(tmp_path.iterdir()))}", results)


@pytest.fixture
def fuse_run(tmp_path):
    """Write the folder of a fuse run; keywords replace parts of its manifest."""
    return lambda name="run", **manifest: write_run(tmp_path / name, **manifest)
