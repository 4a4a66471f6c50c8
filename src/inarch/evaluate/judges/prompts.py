"""What published benchmarks ask their judges, read from the files in which it is published.

Some stand in source code, which is parsed and never run. What is read is checked by digests of its
own.

Source:  ``alpaca_eval_clf.txt``, ``judge_config.yaml``, ``judge_utils.py``,
         ``arena-hard-v2.0.yaml`` and ``judge_prompts.jsonl``, see
         `inarch.evaluate.judges.official`.
Differs: AlpacaEval's ChatML is split before it is filled, so that an answer with a mark of ChatML
         does not cut the question.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

import yaml

from inarch.errors import DataError
from inarch.evaluate._rows import read_rows, require
from inarch.evaluate.judges.official import BenchmarkName, find

CATEGORIES = ("hard_prompt", "coding", "math", "creative_writing")
"""Of Arena-Hard v2, each with a prompt."""
SINGLE = ("single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn")
"""MT-Bench's prompts that rate an answer alone; those that compare two may be absent."""

_CHATML = re.compile(r"<\|im_start\|>(system|user)\n(.*?)<\|im_end\|>\s*", re.DOTALL)


class JudgePrompt(NamedTuple):
    """What a judge is told, and the text with places for question and answers."""

    system: str
    """``""`` for none."""
    user: str


class JudgePrompts(NamedTuple):
    """All prompts of a benchmark, or some."""

    benchmark: BenchmarkName
    of: Mapping[str, JudgePrompt]
    """By Arena-Hard v2's categories, by the names of MT-Bench's prompts, else by ``""``."""

    @property
    def digest(self) -> str:
        """Return the sha256 of all texts."""
        return _sha256("".join(f"{name}\0{p.system}\0{p.user}\0" for name, p in self.of.items()))

    @property
    def is_official(self) -> bool:
        """Return whether they are those that are published, whatever file holds them."""
        found = {name: tuple(map(_sha256, prompt)) for name, prompt in self.of.items()}
        return found.items() <= _DIGESTS[self.benchmark].items()


def read_judge_prompts(benchmark: BenchmarkName, given: Path | None = None) -> JudgePrompts:
    """Return what the judge of a benchmark is asked.

    The places keep the names that they have in the file: ``{instruction} {output_1} {output_2}`` in
    AlpacaEval's, ``{question_1} {answer_1} {answer_2}`` in Arena-Hard v0.1's, ``{QUESTION}
    {ANSWER_A} {ANSWER_B}`` in v2's, and those of each prompt in MT-Bench's.

    Args:
        benchmark: Whose.
        given: A file in place of the official one: ChatML with one user message for AlpacaEval;
            YAML with ``system_prompt``, one text or one per category, and ``prompt_template`` for
            Arena-Hard; MT-Bench's JSONL.

    Raises:
        DataError: There is no such file, or it is something else.
    """
    if benchmark == "arena_hard_v2" and given is None:
        source, config = (find(f"arena_hard_v2/{name}").path for name in _V2_FILES)
        of = _arena_v2(source, config)
    else:
        name, read = _FILES[benchmark]
        of = read(find(f"{benchmark}/{name}", given).path)
    prompts = JudgePrompts(benchmark, of)
    if given is None and not prompts.is_official:
        raise DataError(
            f"found the official files of {benchmark}, but what was read from them is not what it"
            " should be; report this, with the versions of Python and PyYAML"
        )
    return prompts


def check_places(prompt: JudgePrompt, expected: Collection[str], where: str) -> None:
    """Check that a prompt has some places for texts, as `str.format` fills them, and no other.

    Args:
        prompt: Its user message is looked at.
        expected: Names of the places.
        where: What to call the prompt in messages.

    Raises:
        DataError: It has others.
    """
    try:
        parsed = list(Formatter().parse(prompt.user))
    except ValueError as error:
        raise DataError(
            f"{where}: {error}; write {{{{ and }}}} for braces that are no place"
        ) from None
    found = {place for _, place, _, _ in parsed if place is not None}
    if found != set(expected):
        raise DataError(f"{where}: found the places {_listed(found)}; expected {_listed(expected)}")


def _listed(places: Collection[str]) -> str:
    return ", ".join(f"{{{place}}}" for place in sorted(places)) or "none"


def _alpaca(path: Path) -> dict[str, JudgePrompt]:
    text = _text(path).strip()
    found = [(match[1], match[2].strip()) for match in _CHATML.finditer(text)]
    roles = [role for role, _ in found]
    if _CHATML.sub("", text) or roles not in (["user"], ["system", "user"]):
        raise DataError(
            f"{path}: found the messages {', '.join(roles) or 'none'}; expected ChatML of a system"
            " and a user message: <|im_start|>user, a line break, the text, <|im_end|>"
        )
    return {"": JudgePrompt(found[0][1] if len(found) == 2 else "", found[-1][1])}


def _arena(path: Path) -> dict[str, JudgePrompt]:
    config = _yaml(path)
    user, system = _template(config, path), config.get("system_prompt", "")
    of = system if isinstance(system, dict) else {"": system}
    if not of or not all(isinstance(text, str) for pair in of.items() for text in pair):
        raise DataError(
            f"{path}: system_prompt: found {system!r:.80}, expected a text, or one per category"
        )
    return {category: JudgePrompt(text, user) for category, text in of.items()}


def _arena_v2(source: Path, config: Path) -> dict[str, JudgePrompt]:
    user = _template(_yaml(config), config)
    settings = _assigned(_text(source), "JUDGE_SETTINGS")
    return {name: JudgePrompt(settings[name]["system_prompt"], user) for name in CATEGORIES}


def _mt_bench(path: Path) -> dict[str, JudgePrompt]:
    rows = read_rows(path)
    require(rows, ("name", "system_prompt", "prompt_template"), "MT-Bench's judge_prompts.jsonl")
    found = {
        row.text("name"): JudgePrompt(row.text("system_prompt"), row.text("prompt_template"))
        for row in rows
    }
    missing = [name for name in SINGLE if name not in found]
    if missing:
        raise DataError(
            f"{path}: found the prompts {', '.join(found)}, without {', '.join(missing)}; expected"
            " all that rate an answer alone"
        )
    return found


_FILES = {
    "alpaca_eval2": ("alpaca_eval_clf.txt", _alpaca),
    "arena_hard_v0.1": ("judge_config.yaml", _arena),
    "arena_hard_v2": ("arena-hard-v2.0.yaml", _arena),
    "mt_bench": ("judge_prompts.jsonl", _mt_bench),
}
_V2_FILES = ("judge_utils.py", "arena-hard-v2.0.yaml")

_HELPFUL = "75357d685f238b6afd7738be9786fdafde641eb6ca9a3be7471939715a68a4de"
_IMPARTIAL = "03f68010febd7a6405102ef882b4dd5a9700c56b2e1ff286d3b38f5d3a929bbf"
_CREATIVE = "171489efbca7f19fb520e1b3c23783c76af7c723e770fe897a55f391684aa358"
_GAME = "80fb20ab2eaae6d38a19f707f3f051f0456bcb977b0086bebe15f9bd23ce45f8"
_DIGESTS: Mapping[BenchmarkName, Mapping[str, tuple[str, str]]] = {
    "alpaca_eval2": {
        "": (
            "4c93a9a9d5102753ce3493c0bda3b52da607434e8e7c4932b34f7385426255cd",
            "83eb2e1a91755f612f4c1a4ec3810b7e1074a5dfff705a1fbc181829932bfd07",
        )
    },
    "arena_hard_v0.1": {
        "": (_IMPARTIAL, "b0260904bc964e0d07d20581309c53fce4879159080fee42d8c91f8a80c48df4")
    },
    "arena_hard_v2": {
        "hard_prompt": (_IMPARTIAL, _GAME),
        "coding": (_IMPARTIAL, _GAME),
        "math": (_IMPARTIAL, _GAME),
        "creative_writing": (_CREATIVE, _GAME),
    },
    "mt_bench": {
        "pair-v2": (
            "8d6df8feee26e1c9994a4fae884fc839bfcb1787a3a9522d1be611db68c93338",
            "22f93e573bf9343e52c3dd0a36b1a033a47a6dc0045ab3d40357da8d3c613d57",
        ),
        "pair-v2-multi-turn": (
            "af4a7431af51d6d7807be08b8093e6eb4975bf790d1a1086decd9d0e39eac7fc",
            "a962ad885e77f79a229c88cff6fe258f829ceed6188370743217032f3c8d8ca9",
        ),
        "pair-math-v1": (
            "0f6f71b71c14a4914b95d9272901c265d73dbc772319416e3180820c9962b2c0",
            "16f835dc77def64b208c62cfa9ac5992cb965d769f138362741c139d1fc7281b",
        ),
        "pair-math-v1-multi-turn": (
            "79adeb31a7f50510b052a18af4e1905ff8dd3d56ea424bc4359342d82a288e9e",
            "4bf6dac2bb05499f97218d84aae17fccbdbce4dbc80aaa1ff3c682c5f1ba6ad8",
        ),
        "single-v1": (
            _HELPFUL,
            "0935c7ff79f38d3f9b135e14b2cf3bc05ddfbcb96cfd4094b1681a8044e9ccd0",
        ),
        "single-math-v1": (
            _HELPFUL,
            "8e11dbbf609a3d6f69cc75c8f1f2a4932160a64499f6fd6e5f3916e8e54aa2b7",
        ),
        "single-v1-multi-turn": (
            "d1e77aa107f02dd829e2e9caee2ad227d0a501853fefa74ccd4b51f758cbd432",
            "33067cf18206b4abdc13b27f53b5240b4ef64e9efa5a2fb4b51d91fb0aca60fd",
        ),
        "single-math-v1-multi-turn": (
            "4b8fe8086dbdf4a8bc64cdeec10ff6b348ec6c0578d668ad01604e47ae517baf",
            "6a2b8ad2961c275c0afd7206cbf6bb22379309ded1032798464f3f4ae5176b03",
        ),
    },
}
"""sha256 of what official files say, system and user."""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; expected a text") from None


def _yaml(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not YAML ({error})") from None
    if not isinstance(config, dict):
        raise DataError(
            f"{path}: found {type(config).__name__}; expected system_prompt and prompt_template"
        )
    return config


def _template(config: Mapping[str, Any], path: Path) -> str:
    """Return the text with places, which v0.1 has in a list, a text per turn."""
    found = config.get("prompt_template")
    texts = found if isinstance(found, list) else [found]
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise DataError(f"{path}: prompt_template: found {found!r:.80}, expected one text")
    return texts[0]


def _assigned(source: str, name: str) -> Any:
    """Return a literal that is assigned in Python, in which earlier ones may be named."""
    known: dict[str, ast.expr] = {}

    class _Named(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return known.get(node.id, node)

    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            known[node.targets[0].id] = _Named().visit(node.value)
    return ast.literal_eval(known[name])
