"""A chat endpoint on loopback that answers, or fails, as a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Fault(NamedTuple):
    """How one call goes wrong, or right in another form."""

    status: int = 200
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    hang_s: float = 0.0
    """Wait before anything is said."""
    cut: bool = False
    """Close the connection in the middle of the body."""


def completion(text: str | None, **choice: Any) -> dict[str, Any]:
    """Return the JSON of a reply; OpenAI's form."""
    return {
        "object": "chat.completion",
        "model": "fake-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
                **choice,
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    }


def logprobs(pairs: dict[str, float]) -> dict[str, Any]:
    """Return what a choice says about its first token."""
    top = [{"token": token, "logprob": logp, "bytes": None} for token, logp in pairs.items()]
    return {"content": [{**top[0], "top_logprobs": top}]}


QUICK = "inarch.io._retry.FIRST_WAIT_S"
"""Set this to a hundredth of a second with monkeypatch, and retries take no time."""

Say = Callable[[dict[str, Any], int], "str | dict[str, Any] | Fault"]
"""Gets the body of a call, and how many times this body came before; gives the answer's text, the
whole JSON, or a fault."""


class FakeEndpoint:
    """What a server saw."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.calls: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.most_at_once = 0
        self.url = ""
        self._at_once = 0
        self._lock = threading.Lock()

    def times_asked(self, body: dict[str, Any]) -> int:
        """Return how many calls had this body."""
        return sum(call == body for call in self.calls)

    def questions(self) -> list[str]:
        """Return the last message of each call."""
        return [call["messages"][-1]["content"] for call in self.calls]

    def enter(self, body: dict[str, Any], key: str | None) -> int:
        """Note a call; return how many times its body came before."""
        with self._lock:
            before = self.times_asked(body)
            self.calls.append(body)
            self.keys.append(key)
            self.times.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return before

    def leave(self) -> None:
        """Note that a call has ended."""
        with self._lock:
            self._at_once -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # or more than five new connections at once wait for a second


@contextmanager
def serving(say: Say) -> Iterator[FakeEndpoint]:
    """Run a server on a free port of loopback; its ``url`` is for EndpointSettings."""
    fake = FakeEndpoint(say)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or every reply takes 40 ms

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.loads(raw)
            before = fake.enter(body, self.headers.get("Authorization"))
            try:
                said = fake.say(body, before)
                if isinstance(said, str):
                    said = completion(said)
                fault = said if isinstance(said, Fault) else Fault(body=json.dumps(said))
                time.sleep(fault.hang_s)
            finally:
                fake.leave()  # before the caller has the reply and sends its next call
            self._reply(fault)

        def _reply(self, fault: Fault) -> None:
            raw = fault.body.encode()
            self.send_response(fault.status)
            for name, value in fault.headers:
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw) + (100 if fault.cut else 0)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # who hung up in the meantime
                self.wfile.write(raw)
            if fault.cut:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
