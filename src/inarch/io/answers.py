"""Answers of one chat model, local or behind an endpoint, kept in a folder.

A folder belongs to one model, one way of sampling and one list of chats; the answers lie in it in
shards of some hundred chats, so that a killed run goes on with the next one. An answer does not
depend on the place of its chat in the list.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, overload

from pydantic import model_validator

from inarch.errors import SettingsError
from inarch.io.endpoints import (
    EndpointSettings,
    Estimate,
    Failure,
    Reply,
    Request,
    ask,
    estimate,
    identity,
    spent,
)
from inarch.io.files import write_text
from inarch.io.generation import read_prompts
from inarch.io.models import DTYPES, digest_model, load_model, pick_device
from inarch.io.progress import track
from inarch.io.runs import stage
from inarch.io.sampling import SamplingSettings, draw
from inarch.io.tokenizers import Tokenizer, load_tokenizer
from inarch.records import Message
from inarch.settings import Settings, to_dict

logger = logging.getLogger(__name__)

SHARD_CHATS = 256
"""Chats of a shard: what a killed run of a local model may lose."""
_NAMED = 10
"""Reasons of failures that are told."""
REPLIES = "replies.jsonl"
"""What an endpoint has answered so far."""

Row = tuple["Answer", ...]
"""The answers to one chat."""


class AnswererSettings(Settings):
    """One source of answers: a local model or an endpoint."""

    short: ClassVar[str] = "path"

    name: str
    """What reports call it; by default the last part of its path, or of the endpoint's model."""
    path: str | None = None
    """Folder or hub id of a model that runs here."""
    tokenizer: str | None = None
    """Where the model's tokenizer is; by default with the model."""
    dtype: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Format of its weights in memory; auto is the one that they are stored in."""
    device: Literal["auto", "cpu"] = "auto"
    """Where it runs."""
    endpoint: EndpointSettings | None = None
    """A model that is asked over HTTP."""

    @model_validator(mode="before")
    @classmethod
    def _with_name(cls, value: Any) -> Any:
        return named({cls.short: value} if isinstance(value, str) else value)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.path is None) == (self.endpoint is None):
            raise ValueError(f"{self.name}: expected a path or an endpoint, and not both")
        dead = {"tokenizer", "dtype", "device"} & self.model_fields_set
        if self.endpoint is not None and dead:
            raise ValueError(f"{self.name}: {min(dead)} is for a model with a path")
        return self


def named(value: Any) -> Any:
    """Return plain settings of a model with a name: the last part of where it is."""
    if not isinstance(value, dict) or "name" in value:
        return value
    endpoint = value.get("endpoint")
    asked = endpoint.get("model") if isinstance(endpoint, dict) else None
    place = value.get("path") or asked
    return value | {"name": Path(place).name} if isinstance(place, str) else value


class Answerer:
    """Who answers several lists of chats: a model that is loaded once, replies that are kept once.

    A model that runs here is loaded when it is first asked.
    """

    def __init__(self, settings: AnswererSettings, replies: Path | None = None) -> None:
        self._settings = settings
        self.replies = replies
        """What an endpoint has answered to all lists; by default each has it in its folder."""

    @cached_property
    def loaded(self) -> tuple[Any, Tokenizer]:
        """The model and its tokenizer."""
        settings, path = self._settings, self._settings.path or ""
        tokenizer = load_tokenizer(settings.tokenizer or path)
        dtype = None if settings.dtype == "auto" else DTYPES[settings.dtype]
        return load_model(path, dtype=dtype, device=pick_device(settings.device)), tokenizer


class Answer(NamedTuple):
    """One sample of an answer."""

    text: str | None
    """None where there is none."""
    seed: int
    """Of this sample."""
    failure: str = ""
    """Why there is no text."""
    cut: bool = False
    """It has the full length, and no end."""


class Answers(Sequence[Row]):
    """The answers to each chat, read from disk a shard at a time."""

    def __init__(self, folder: Path, num_chats: int) -> None:
        self._num_chats = num_chats
        self._shard = lru_cache(maxsize=2)(lambda number: _read_shard(folder, number))

    def __len__(self) -> int:
        """Return the number of chats."""
        return self._num_chats

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        """Return the answers to a chat, or to some."""
        numbers = range(self._num_chats)[index]
        if isinstance(numbers, range):
            return [self[number] for number in numbers]
        found: list[Row] = self._shard(numbers // SHARD_CHATS)
        return found[numbers % SHARD_CHATS]


def answers(
    settings: AnswererSettings,
    chats: Sequence[Sequence[Message]],
    sampling: SamplingSettings,
    num_samples: int,
    folder: Path,
    answerer: Answerer | None = None,
) -> Answers:
    """Return ``num_samples`` answers to each chat, in the order of the chats.

    Args:
        settings: Who answers.
        chats: Chats that end with a turn of the user.
        sampling: How answers are drawn.
        num_samples: Answers to each chat; the first has the seed ``sampling.seed``, the next ones
            those that follow.
        folder: A run folder of its own, see `inarch.io.runs.stage`. Its facts hold
            ``num_answers``, ``num_failures``, ``failures`` (counts of the commonest reasons),
            ``num_cut`` and, of an endpoint, the fields of `inarch.io.endpoints.Spent`.
        answerer: The one that these settings name, where it answers more than these chats.

    Raises:
        SettingsError: The folder holds answers of another model, to other chats or of other
            settings; the endpoint refuses requests; or it is to sample in a way that the
            interface of endpoints lacks.
        DataError: The model's chat template cannot open an answer.
        WeightsError: There is no such model.
    """
    if settings.endpoint is not None and sampling.top_k is not None:
        raise SettingsError(
            f"{settings.name}: found top_k, which the common interface of endpoints lacks; leave it"
            " out of the sampling, and put it into endpoint.extra_body if the endpoint knows it"
        )
    answerer = answerer or Answerer(settings)
    work = _Work(settings, chats, sampling, num_samples, folder, answerer)
    with stage(folder, "answers", *_key(work)) as opened:
        if not opened.done:
            _fill(work)
            opened.note(**_facts(work))
    for reason, number in opened.facts["failures"].items():
        logger.warning("%s: %d answers are missing: %s", settings.name, number, reason)
    return Answers(folder, len(chats))


def foresee(
    settings: AnswererSettings,
    chats: Sequence[Sequence[Message]],
    sampling: SamplingSettings,
    num_samples: int,
) -> Estimate | None:
    """Return what answers of an endpoint will take at most; None of a model that runs here."""
    if settings.endpoint is None:
        return None
    seeds = range(sampling.seed, sampling.seed + num_samples)
    requests = [_request(chat, seed, sampling) for chat in chats for seed in seeds]
    return estimate(settings.endpoint, requests)


class _Work(NamedTuple):
    """The arguments of `answers`."""

    settings: AnswererSettings
    chats: Sequence[Sequence[Message]]
    sampling: SamplingSettings
    num_samples: int
    folder: Path
    answerer: Answerer

    @property
    def seeds(self) -> range:
        """Return the seed of each sample."""
        return range(self.sampling.seed, self.sampling.seed + self.num_samples)

    @property
    def replies(self) -> Path:
        """Return where the replies of an endpoint are kept."""
        return self.answerer.replies or self.folder / REPLIES

    @property
    def missing(self) -> list[int]:
        """Return the shards that are not there yet."""
        shards = range(-(-len(self.chats) // SHARD_CHATS))
        return [shard for shard in shards if not _shard_path(self.folder, shard).exists()]

    def numbers(self, shard: int) -> range:
        """Return which chats a shard holds."""
        return range(len(self.chats))[shard * SHARD_CHATS : (shard + 1) * SHARD_CHATS]


def _key(work: _Work) -> tuple[dict[str, object], dict[str, str]]:
    """Return the settings and the inputs that decide what the answers are."""
    settings, sampling = work.settings, to_dict(work.sampling)
    sampling.pop("batch_size")
    own: dict[str, object] = {"sampling": sampling, "num_samples": work.num_samples}
    own["shard_chats"] = SHARD_CHATS
    inputs = {"chats": _digest([list(chat) for chat in work.chats])}
    if settings.endpoint is None:
        own["dtype"] = settings.dtype
        inputs["model"] = digest_model(settings.path, settings.tokenizer)
    else:
        own["endpoint"] = identity(settings.endpoint)
    return own, inputs


def _fill(work: _Work) -> None:
    """Write the shards that are missing."""
    settings, missing = work.settings, work.missing
    total = len(work.chats) * work.num_samples
    done = total - sum(len(work.numbers(shard)) for shard in missing) * work.num_samples
    with track(f"answers of {settings.name}", total, "answers", done) as advance:
        if missing and settings.endpoint is None:
            _fill_from_model(work, missing, advance)
        elif missing and settings.endpoint is not None:
            _fill_from_endpoint(work, settings.endpoint, missing, advance)


def _fill_from_model(work: _Work, shards: Sequence[int], advance: Callable[[int], None]) -> None:
    """Write the shards of a model that runs here."""
    model, tokenizer = work.answerer.loaded
    for shard in shards:
        chats = [work.chats[number] for number in work.numbers(shard)]
        prompts = read_prompts(model, tokenizer, chats)
        good = [chat for chat, p in zip(chats, prompts, strict=True) if not isinstance(p, str)]
        said = iter(
            draw(
                model,
                tokenizer,
                good,
                work.sampling,
                num_samples=work.num_samples,
                keys=[int(_digest(list(chat)), 16) for chat in good],
            )
        )
        rows = [
            tuple(Answer(None, seed, prompt) for seed in work.seeds)
            if isinstance(prompt, str)
            else tuple(
                Answer(one.text, seed, cut=one.cut)
                for one, seed in zip(next(said), work.seeds, strict=True)
            )
            for prompt in prompts
        ]
        _write_shard(work.folder, shard, rows)
        advance(len(rows) * work.num_samples)


def _fill_from_endpoint(
    work: _Work,
    endpoint: EndpointSettings,
    shards: Sequence[int],
    advance: Callable[[int], None],
) -> None:
    """Write the shards of an endpoint, each as soon as its last answer is there."""
    places = [
        (shard, number, seed)
        for shard in shards
        for number in work.numbers(shard)
        for seed in work.seeds
    ]
    requests = [_request(work.chats[n], seed, work.sampling) for _, n, seed in places]
    found: dict[int, dict[tuple[int, int], Answer]] = defaultdict(dict)
    with closing(ask(endpoint, requests, work.replies)) as outcomes:
        for at, outcome in outcomes:
            shard, number, seed = places[at]
            found[shard][number, seed] = _answer(outcome, seed)
            advance(1)
            if len(found[shard]) == len(work.numbers(shard)) * work.num_samples:
                here = found.pop(shard)
                rows = [tuple(here[n, seed] for seed in work.seeds) for n in work.numbers(shard)]
                _write_shard(work.folder, shard, rows)


def _answer(outcome: Reply | Failure, seed: int) -> Answer:
    if isinstance(outcome, Reply):
        return Answer(outcome.text, seed, cut=outcome.finish_reason == "length")
    return Answer(None, seed, outcome.reason)


def _request(chat: Sequence[Message], seed: int, sampling: SamplingSettings) -> Request:
    return Request(
        messages=tuple(chat),
        temperature=sampling.temperature,
        top_p=sampling.top_p if sampling.temperature else None,
        max_tokens=sampling.max_new_tokens,
        seed=seed,
        sample=seed,
    )


def _facts(work: _Work) -> dict[str, object]:
    """Return what the shards and the replies hold, in numbers."""
    found = Answers(work.folder, len(work.chats))
    failures = Counter(answer.failure for row in found for answer in row if answer.text is None)
    facts: dict[str, object] = {
        "num_answers": len(found) * work.num_samples - failures.total(),
        "num_failures": failures.total(),
        "failures": dict(failures.most_common(_NAMED)),
        "num_cut": sum(answer.cut for row in found for answer in row),
    }
    if work.settings.endpoint is not None:
        facts |= spent(work.settings.endpoint, work.replies)._asdict()
    return facts


def _digest(content: list[Message] | list[list[Message]]) -> str:
    """Return the digest of a chat, or of a list of chats."""
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def _shard_path(folder: Path, shard: int) -> Path:
    return folder / f"answers-{shard:05d}.jsonl"


def _write_shard(folder: Path, shard: int, rows: Sequence[Row]) -> None:
    lines = [json.dumps([answer._asdict() for answer in row]) for row in rows]
    write_text(_shard_path(folder, shard), "".join(f"{line}\n" for line in lines))


def _read_shard(folder: Path, shard: int) -> list[Row]:
    lines = _shard_path(folder, shard).read_text(encoding="utf-8").splitlines()
    return [tuple(Answer(**answer) for answer in json.loads(line)) for line in lines]
