"""One request to a chat endpoint, sent until it is answered or given up."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from inarch.errors import MissingExtra
from inarch.io._reply_store import Reply
from inarch.io._retry import LONGEST_ASKED_WAIT_S, asked_wait_s, passes, wait_s

if TYPE_CHECKING:
    from collections import Counter

logger = logging.getLogger(__name__)

MOST_FAILED_IN_A_ROW = 20
"""As many requests without a reply in between end a run."""
EMPTY = "an empty answer"
"""How the reason of a failure begins where the endpoint replies, and says nothing."""
_SHOWN = 300
"""Characters of a server's words that a message repeats."""
_OF_THIS_REQUEST = re.compile(
    r"context.?(length|size|window)|content.?(filter|management|policy)"
    r"|\b(prompt|inputs?|request)\b.{0,60}(too (long|large)|longer|exceeds)",
    re.IGNORECASE,
)
"""What a server says when it refuses one request, and would take others."""


class Failure(NamedTuple):
    """A request that was given up."""

    reason: str


class Stop(Exception):
    """The endpoint refuses all requests; its text is for the user."""


class _Passing(Exception):
    """A call failed in a way that may pass."""

    def __init__(self, reason: str, asked_s: float | None = None, absent: bool = False) -> None:
        super().__init__(reason)
        self.asked_s = asked_s
        self.absent = absent
        """Nothing listens there."""


class Caller:
    """Calls to one endpoint; an asynchronous context that closes its connections."""

    def __init__(
        self, url: str, key: str | None, timeout_s: float, max_retries: int, counts: Counter[str]
    ) -> None:
        try:
            from openai import AsyncOpenAI
        except ImportError as error:
            raise MissingExtra(
                "asking an endpoint needs the package openai; install it with"
                " `pip install inarch[judge]`"
            ) from error
        self._client = AsyncOpenAI(
            base_url=url, api_key=key or "none", timeout=timeout_s, max_retries=0
        )
        # Looked up here, as openai imports what it needs at first use, which is not a slow reply.
        self._create = self._client.chat.completions.with_raw_response.create
        self._url, self._secret = url, key
        self._timeout_s, self._max_retries = timeout_s, max_retries
        self._counts = counts
        self._not_before = 0.0
        self._was_reached = False
        self._failed_in_a_row = 0

    async def __aenter__(self) -> Self:
        """Open nothing: connections are opened when they are needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._client.close()

    async def answer(self, body: dict[str, Any]) -> Reply | Failure:
        """Return the reply to a request, or why there is none.

        Raises:
            Stop: No request can be answered.
        """
        try:
            json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return Failure("it holds half of a surrogate pair, which has no UTF-8")
        attempt = 0
        while True:
            attempt += 1
            await self._wait_for_turn()
            try:
                outcome = await self._send(body)
            except _Passing as problem:
                if attempt > self._max_retries or (problem.asked_s or 0) > LONGEST_ASKED_WAIT_S:
                    return self._give_up(problem, attempt)
                await self._wait(problem, attempt)
            else:
                if isinstance(outcome, Reply):
                    self._failed_in_a_row = 0
                    self._counts["prompt_tokens"] += outcome.num_prompt_tokens or 0
                    self._counts["answer_tokens"] += outcome.num_answer_tokens or 0
                return outcome

    def _give_up(self, problem: _Passing, attempts: int) -> Failure:
        """Return the failure of a request; `Stop` is raised where the others would fail as well."""
        self._failed_in_a_row += 1
        times = "once" if attempts == 1 else f"{attempts} times"
        if problem.absent and not self._was_reached:
            raise Stop(
                f"{self._url}: {problem}, {times}; expected a server that answers there; "
                "start it, or correct the url"
            )
        if self._failed_in_a_row >= MOST_FAILED_IN_A_ROW:
            raise Stop(
                f"{self._url}: {self._failed_in_a_row} requests in a row have failed, the last one "
                f"with: {problem}, {times}. What was answered is kept; run the same "
                "command again when the endpoint works"
            )
        asked = f", and it asks to wait {problem.asked_s:.0f} s" if problem.asked_s else ""
        return Failure(f"{problem}, {times}{asked}")

    async def _wait(self, problem: _Passing, attempt: int) -> None:
        """Wait before a request is sent again; what a server asks for holds for all requests."""
        if not self._counts["retries"]:
            logger.warning("%s: %s; it is asked again, as all that fails so", self._url, problem)
        self._counts["retries"] += 1
        if problem.asked_s:
            self._not_before = max(self._not_before, time.monotonic() + problem.asked_s)
        await asyncio.sleep(wait_s(attempt, problem.asked_s))

    async def _wait_for_turn(self) -> None:
        while (left_s := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(left_s)

    async def _send(self, body: dict[str, Any]) -> Reply | Failure:
        """Return the reply to one call; `_Passing` is raised where another call may be answered."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        self._counts["sent"] += 1
        own = {"model", "messages"}
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._create(
                    model=body["model"],
                    messages=body["messages"],
                    extra_body={name: value for name, value in body.items() if name not in own},
                )
        except (TimeoutError, APITimeoutError):
            raise _Passing(f"no reply within {self._timeout_s:g} s") from None
        except APIConnectionError as error:
            absent = type(error.__cause__).__name__ == "ConnectError"
            why = f"no connection ({str(error.__cause__ or error) or 'cut'})"
            raise _Passing(why, absent=absent) from None
        except APIStatusError as error:
            self._was_reached = True
            return self._refused(error)
        self._was_reached = True
        return read_reply(response.text)

    def _refused(self, error: Any) -> Failure:
        """Return the failure of this request alone, where the endpoint's status says so."""
        status, said = error.status_code, self._said(error)
        if passes(status):
            raise _Passing(f"HTTP {status} ({said})", asked_wait_s(error.response.headers))
        if status == 413 or (status in {400, 422} and _OF_THIS_REQUEST.search(said)):
            return Failure(f"HTTP {status} ({said})")
        advice = {
            401: "set api_key_env to the name of a variable that holds a valid key",
            403: "use a key that may use this model",
            404: "correct `url`, which often ends with /v1, or `model`",
        }.get(status, "correct what it names")
        raise Stop(f"{self._url} refuses requests: HTTP {status}: {said}; {advice}")

    def _said(self, error: Any) -> str:
        """Return a server's own words, short and without the key."""
        said = " ".join(error.response.text.split())
        try:
            found = json.loads(said)
            inner = found.get("error", found.get("detail", found))
            said = str(inner.get("message", inner) if isinstance(inner, dict) else inner)
        except (ValueError, AttributeError):
            pass
        if self._secret:
            said = said.replace(self._secret, "***")
        return said[:_SHOWN]


def read_reply(text: str) -> Reply | Failure:
    """Return what an endpoint's JSON says; `_Passing` is raised where it says nothing."""
    try:
        found = json.loads(text)
        choice = found["choices"][0]
        content = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        shown = " ".join(text.split())[:_SHOWN]
        raise _Passing(f"a reply that holds no answer ({shown})") from None
    reason, top = str(choice.get("finish_reason") or ""), _top_logprobs(choice)
    content = content if isinstance(content, str) else ""
    if not content.strip() and top is None:
        if reason == "content_filter":
            return Failure("an answer that the endpoint's filter took away")
        raise _Passing(f"{EMPTY} (finish_reason {reason or 'absent'})")
    usage = found.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        content,
        reason,
        str(found.get("model") or ""),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        top,
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _top_logprobs(choice: dict[str, Any]) -> tuple[tuple[str, float], ...] | None:
    """Return the alternatives of the first token that have a chance, if there are any."""
    try:
        first = choice["logprobs"]["content"][0]["top_logprobs"]
        pairs = [(str(item["token"]), float(item["logprob"])) for item in first]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    known = [pair for pair in pairs if math.isfinite(pair[1])]
    return tuple(sorted(known, key=lambda pair: -pair[1])) or None
