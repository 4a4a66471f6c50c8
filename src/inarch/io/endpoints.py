"""Chat models behind an OpenAI-compatible endpoint: asked many at once, each request only once.

Every reply is in the cache, on disk, before it is handed on; a request that is there is never sent
again. What passes (busy, cut, hanging or broken answers) is asked again with growing waits; what
does not pass in time is a `Failure` of that request; what can only be wrong for all of them (an
unknown model, a refused key) stops the run.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit
from urllib.request import getproxies

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from inarch.errors import SettingsError
from inarch.io._background import results
from inarch.io._chat_call import EMPTY, Caller, Stop
from inarch.io._chat_call import Failure as Failure
from inarch.io._reply_store import Reply as Reply
from inarch.io._reply_store import hold, keep, request_key, stored
from inarch.records import Message
from inarch.settings import Settings, to_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

_OWN_KEYS = frozenset(
    {"model", "messages", "n", "stream", "temperature", "top_p", "seed", "logprobs", "top_logprobs"}
    | {"max_tokens", "max_completion_tokens"}
)
_BYTES_PER_TOKEN = 4
"""Of UTF-8, for estimates: English has about 4.5, Chinese about 3."""
_TOKENS_PER_TURN = 4
"""What a chat template adds, for estimates."""


class EndpointSettings(Settings):
    """Where a model is, and how it is asked."""

    url: str
    """Base address, such as ``http://localhost:8000/v1``."""
    model: str
    """The model's name there; for ``transformers serve`` the folder or hub id."""
    api_key_env: str | None = None
    """Environment variable that holds the key; null sends none."""
    concurrency: PositiveInt = 16
    """Requests in flight at once."""
    timeout_s: PositiveFloat = 300.0
    """A reply that takes longer is given up, and asked for again."""
    max_retries: NonNegativeInt = 6
    """Times that a request is sent again."""
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls the longest answer; OpenAI's newer models want the second."""
    send_seed: bool = True
    """Send the seed of each sample; some endpoints refuse it."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """More parameters of each request, such as ``top_k``, as the endpoint knows them."""
    prompt_price: NonNegativeFloat | None = None
    """Price of a million tokens of prompts, in any currency; null if it is not known."""
    answer_price: NonNegativeFloat | None = None
    """Price of a million tokens of answers; null if it is not known."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError(f"found url {self.url!r}, expected http://host:port/v1 or https://...")
        if parts.username or parts.password or parts.query:
            raise ValueError("found a name, a key or a query in url; keys belong in api_key_env")
        if parts.path.rstrip("/").endswith("/chat/completions"):
            raise ValueError("url ends with /chat/completions, expected what is before that")
        if taken := sorted(_OWN_KEYS & self.extra_body.keys()):
            raise ValueError(f"extra_body holds {taken[0]}, which is set by other settings")
        return self


class Request(NamedTuple):
    """One question. What is None is not sent, so that the endpoint's own default holds."""

    messages: tuple[Message, ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    top_logprobs: int | None = None
    """Ask for this many of the most probable tokens."""
    sample: int = 0
    """Number of this reply among those to the same question; it is not sent."""


class Estimate(NamedTuple):
    """What requests will cost at most; rough, as the endpoint's tokens are not known."""

    num_requests: int
    """Requests that will be sent: different ones that the cache does not hold."""
    num_cached: int
    """Different requests that the cache answers."""
    num_prompt_tokens: int
    num_answer_tokens: int | None
    """If all answers have the full length; None where a request sets none."""
    cost: float | None
    """None where a price or a length is not known."""


class Spent(NamedTuple):
    """What replies have taken, as the endpoint counts; failed requests are not in it."""

    num_replies: int
    num_prompt_tokens: int
    num_answer_tokens: int
    cost: float | None
    """None where a price is not known."""


def ask(
    settings: EndpointSettings,
    requests: Sequence[Request],
    cache: Path,
    counts: Counter[str] | None = None,
) -> Generator[tuple[int, Reply | Failure], None, None]:
    """Yield the number of each request with its reply or failure, as they come.

    Asking goes on in the background until the last one is taken or the generator is closed; where
    the caller may fail in between, `contextlib.closing` ends it at once.

    Args:
        settings: Where to ask.
        requests: Equal ones are asked once.
        cache: A .jsonl file, made if absent; it grows by one line per reply.
        counts: Gains ``cached``, ``answered``, ``failed`` (requests); ``sent``, ``retries``
            (calls); ``prompt_tokens``, ``answer_tokens`` (of what was answered now).

    Raises:
        SettingsError: The endpoint is not there, or refuses the key, the model or a parameter.
        DataError: Another run asks through the cache, or the disk is full.
        MissingExtra: The package ``openai`` is not installed.
    """
    counts = Counter() if counts is None else counts
    waiting: dict[str, list[int]] = defaultdict(list)
    for number, request in enumerate(requests):
        waiting[_key(settings, request)].append(number)
    with hold(cache):
        for key, reply in stored(cache):
            for number in waiting.pop(key, ()):
                counts["cached"] += 1
                yield number, reply
        for key, outcome in _ask_all(settings, requests, waiting, cache, counts):
            for number in waiting[key]:
                counts["answered" if isinstance(outcome, Reply) else "failed"] += 1
                yield number, outcome


def spent(settings: EndpointSettings, cache: Path) -> Spent:
    """Return what all replies of a cache have taken."""
    replies = [reply for _, reply in stored(cache)]
    num_prompt = sum(reply.num_prompt_tokens or 0 for reply in replies)
    num_answer = sum(reply.num_answer_tokens or 0 for reply in replies)
    return Spent(len(replies), num_prompt, num_answer, _cost(settings, num_prompt, num_answer))


def identity(settings: EndpointSettings) -> dict[str, object]:
    """Return the settings that decide what an endpoint answers."""
    names = {"url", "model", "max_tokens_key", "send_seed", "extra_body"}
    return {name: value for name, value in to_dict(settings).items() if name in names}


def estimate(
    settings: EndpointSettings, requests: Sequence[Request], cache: Path | None = None
) -> Estimate:
    """Return what asking will take, without asking; without a cache all are asked."""
    missing = {_key(settings, request): request for request in requests}
    num_different = len(missing)
    for key, _ in stored(cache) if cache else ():
        missing.pop(key, None)
    num_prompt = sum(_num_tokens(request) for request in missing.values())
    lengths = [request.max_tokens for request in missing.values()]
    num_answer = None if None in lengths else sum(length or 0 for length in lengths)
    price = None if num_answer is None else _cost(settings, num_prompt, num_answer)
    return Estimate(len(missing), num_different - len(missing), num_prompt, num_answer, price)


def logprobs_probe(top_logprobs: int) -> Request:
    """Return the question that tells whether an endpoint gives log-probs."""
    question = (Message("user", "Answer with yes or no."),)
    return Request(question, max_tokens=1, top_logprobs=top_logprobs)


def probe_logprobs(settings: EndpointSettings, cache: Path, top_logprobs: int = 5) -> int:
    """Return how many alternatives the endpoint gives for the first token of an answer, 0 for none.

    Raises:
        SettingsError: The endpoint is not there, refuses the key or the model, or does not answer.
    """
    try:
        [(_, outcome)] = ask(settings, [logprobs_probe(top_logprobs)], cache)
    except SettingsError as error:
        if "logprobs" in str(error):  # some refuse the question instead
            return 0
        raise
    if isinstance(outcome, Failure):
        if outcome.reason.startswith(EMPTY):  # a judge that thinks has no room for it
            return 0
        raise SettingsError(
            f"{settings.url}: found no answer to a first question: {outcome.reason}; expected one"
            " that tells whether it gives log-probs: run the same command again when it works"
        )
    return len(outcome.top_logprobs or ())


def check_reachable(settings: EndpointSettings) -> None:
    """Check what costs nothing: that there is a key, and that somebody listens at the address.

    Behind a proxy only the key is checked.

    Raises:
        SettingsError: One of them is not there.
    """
    _api_key(settings)
    if getproxies():
        return
    parts = urlsplit(settings.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), settings.timeout_s).close()
    except OSError as error:
        raise SettingsError(
            f"{settings.url}: no connection ({error}); start the server, or mend url"
        ) from None


def _api_key(settings: EndpointSettings) -> str | None:
    name = settings.api_key_env
    if name is not None and not os.environ.get(name):
        raise SettingsError(
            f"api_key_env: found no environment variable {name}, expected one with the key of "
            f"{settings.url}; set it, or leave api_key_env out if the endpoint wants none"
        )
    return None if name is None else os.environ[name]


def _cost(settings: EndpointSettings, num_prompt: int, num_answer: int) -> float | None:
    if settings.prompt_price is None or settings.answer_price is None:
        return None
    return (num_prompt * settings.prompt_price + num_answer * settings.answer_price) / 1e6


def _num_tokens(request: Request) -> int:
    return sum(
        len(m.content.encode(errors="replace")) // _BYTES_PER_TOKEN + _TOKENS_PER_TURN
        for m in request.messages
    )


def _body(settings: EndpointSettings, request: Request) -> dict[str, Any]:
    """Return what is sent."""
    optional = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        settings.max_tokens_key: request.max_tokens,
        "seed": request.seed if settings.send_seed else None,
        "logprobs": None if request.top_logprobs is None else True,
        "top_logprobs": request.top_logprobs,
    }
    return {
        "model": settings.model,
        "messages": [message._asdict() for message in request.messages],
        **{name: value for name, value in optional.items() if value is not None},
        **settings.extra_body,
    }


def _key(settings: EndpointSettings, request: Request) -> str:
    return request_key(settings.url.rstrip("/"), _body(settings, request), request.sample)


def _ask_all(
    settings: EndpointSettings,
    requests: Sequence[Request],
    waiting: dict[str, list[int]],
    cache: Path,
    counts: Counter[str],
) -> Iterator[tuple[str, Reply | Failure]]:
    """Yield the outcome of each key that waits, once it is in the cache."""
    if not waiting:
        return
    todo = ((key, _body(settings, requests[numbers[0]])) for key, numbers in waiting.items())
    caller = Caller(
        settings.url, _api_key(settings), settings.timeout_s, settings.max_retries, counts
    )

    async def work(hand_over: Callable[[tuple[str, Reply | Failure]], None]) -> None:
        for key, body in todo:
            outcome = await caller.answer(body)
            if isinstance(outcome, Reply):
                keep(cache, key, outcome)
            hand_over((key, outcome))

    async def all_work(hand_over: Callable[[tuple[str, Reply | Failure]], None]) -> None:
        async with caller, asyncio.TaskGroup() as group:
            for _ in range(min(settings.concurrency, len(waiting))):
                group.create_task(work(hand_over))

    try:
        yield from results(all_work)
    except Stop as stop:
        raise SettingsError(str(stop)) from None
