"""An endpoint on loopback that fails in every way: counts add up, nothing is asked twice."""

from __future__ import annotations

import json
import logging
import math
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.io.fake_endpoint import QUICK, Fault, Say, completion, logprobs, serving

from inarch.errors import DataError, MissingExtra, SettingsError
from inarch.io import _chat_call
from inarch.io._chat_call import read_reply
from inarch.io.endpoints import (
    EndpointSettings,
    Failure,
    Reply,
    Request,
    ask,
    estimate,
    identity,
    probe_logprobs,
    spent,
)
from inarch.records import Message

OK = "fine"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QUICK, 0.01)


def _question(text: str, **more: Any) -> Request:
    return Request((Message("user", text),), max_tokens=8, **more)


def _settings(url: str, **more: Any) -> EndpointSettings:
    return EndpointSettings(
        **{"url": url, "model": "m", "max_retries": 2, "timeout_s": 60.0} | more
    )


def _asked(
    settings: EndpointSettings, requests: list[Request], cache: Path
) -> tuple[dict[int, Reply | Failure], Counter[str]]:
    counts: Counter[str] = Counter()
    found = list(ask(settings, requests, cache, counts))
    assert len(found) == len(dict(found)) == len(requests)  # each once
    assert counts["cached"] + counts["answered"] + counts["failed"] == len(requests)
    return dict(found), counts


def _last(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


# ------------------------------------------------------------------------------------ one request


def test_what_is_asked_is_what_is_sent(tmp_path: Path) -> None:
    settings = {"extra_body": {"top_k": 5, "nested": {"a": [1, 2]}}}
    request = Request(
        (Message("system", "be"), Message("user", "你好 😀")), 0.5, 0.9, 7, seed=3, top_logprobs=4
    )
    top = {"yes": -0.1, "no": -2.5, "May": -3.0}
    with serving(lambda body, _: completion("yes", logprobs=logprobs(top))) as fake:
        found, _ = _asked(_settings(fake.url, **settings), [request], tmp_path / "c.jsonl")
    assert fake.calls == [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be"},
                {"role": "user", "content": "你好 😀"},
            ],
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 7,
            "seed": 3,
            "logprobs": True,
            "top_logprobs": 4,
            "top_k": 5,
            "nested": {"a": [1, 2]},
        }
    ]
    assert found[0] == Reply("yes", "stop", "fake-1", 10, 3, tuple(top.items()))


def test_what_is_none_is_not_sent(tmp_path: Path) -> None:
    request = Request((Message("user", "q"),), max_tokens=7, seed=3)
    more = {"max_tokens_key": "max_completion_tokens", "send_seed": False}
    with serving(lambda body, _: OK) as fake:
        found, _ = _asked(_settings(fake.url, **more), [request], tmp_path / "c.jsonl")
    assert set(fake.calls[0]) == {"model", "messages", "max_completion_tokens"}
    assert found[0] == Reply(OK, "stop", "fake-1", 10, 3, None)


def test_a_reply_may_lack_all_but_its_text(tmp_path: Path) -> None:
    bare = {"choices": [{"message": {"content": " x\n"}}]}
    with serving(lambda body, _: bare) as fake:
        found, _ = _asked(_settings(fake.url), [_question("q")], tmp_path / "c.jsonl")
    assert found == {0: Reply(" x\n", "", "", None, None, None)}
    odd = bare | {"usage": {"prompt_tokens": "10", "completion_tokens": {}}}
    with serving(lambda body, _: odd) as fake:
        found, _ = _asked(_settings(fake.url), [_question("q")], tmp_path / "odd.jsonl")
    assert found == {0: Reply(" x\n", "", "", None, None, None)}


def test_an_empty_answer_with_logprobs_is_a_reply(tmp_path: Path) -> None:
    """A judge that is asked for one token may be given a special one, which has no text."""
    with serving(lambda body, _: completion("", logprobs=logprobs({"</s>": -0.5}))) as fake:
        found, _ = _asked(_settings(fake.url), [_question("q")], tmp_path / "c.jsonl")
    assert found[0] == Reply("", "stop", "fake-1", 10, 3, (("</s>", -0.5),))


# ------------------------------------------------------------------------------------ faults

PASSING = {
    "429": Fault(429, '{"error": {"message": "slow down"}}', (("Retry-After", "0"),)),
    "408": Fault(408),
    "409": Fault(409),
    "500": Fault(500, "<html>oops</html>"),
    "503": Fault(503),
    "cut": Fault(body='{"choices": [{"mess', cut=True),
    "malformed": Fault(body='{"choices": [{"mess'),
    "no json": Fault(body="hello"),
    "a list": Fault(body="[1]"),
    "null": Fault(body="null"),
    "no choices": Fault(body='{"choices": []}'),
    "choices null": Fault(body='{"choices": null}'),
    "no message": Fault(body='{"choices": [{"message": null}]}'),
    "empty": Fault(body=json.dumps(completion(""))),
    "no text": Fault(body=json.dumps(completion(None))),
    "blank": Fault(body=json.dumps(completion(" \n"))),
}


def _failing(times: int) -> Say:
    """Fail the named way so many times, then answer."""
    return lambda body, before: PASSING[_last(body)] if before < times else OK + _last(body)


def test_what_passes_is_asked_again(tmp_path: Path) -> None:
    requests = [_question(name) for name in PASSING]
    with serving(_failing(2)) as fake:
        found, counts = _asked(_settings(fake.url), requests, tmp_path / "c.jsonl")
    assert {i: reply.text for i, reply in found.items() if isinstance(reply, Reply)} == {
        i: OK + name for i, name in enumerate(PASSING)
    }
    num = len(PASSING)
    assert len(fake.calls) == counts["sent"] == 3 * num
    assert (counts["answered"], counts["failed"], counts["retries"]) == (num, 0, 2 * num)
    assert (counts["prompt_tokens"], counts["answer_tokens"]) == (10 * num, 3 * num)


def test_what_does_not_pass_in_time_is_a_counted_failure(tmp_path: Path) -> None:
    requests = [*(_question(name) for name in PASSING), _question("good")]
    say = _failing(10**9)
    with serving(lambda body, n: OK if _last(body) == "good" else say(body, n)) as fake:
        settings = _settings(fake.url, max_retries=1)
        found, counts = _asked(settings, requests, tmp_path / "c.jsonl")
        num = len(PASSING)
        assert counts["sent"] == 2 * num + 1
        assert (counts["answered"], counts["failed"], counts["retries"]) == (1, num, num)
        reasons = dict(zip(PASSING, (found[i] for i in range(num)), strict=True))
        assert all(
            isinstance(r, Failure) and r.reason.endswith("2 times") for r in reasons.values()
        )
        assert "HTTP 429 (slow down)" in str(reasons["429"])
        assert "no connection" in str(reasons["cut"])
        assert '{"choices": [{"mess' in str(reasons["malformed"])
        # A failure is not kept, a reply is: only what failed is asked again.
        fake.calls.clear()
        fake.say = lambda body, before: OK
        _, counts = _asked(settings, requests, tmp_path / "c.jsonl")
    assert sorted(map(_last, fake.calls)) == sorted(PASSING)
    assert (counts["cached"], counts["answered"]) == (1, num)


def test_a_reply_that_does_not_come_is_asked_for_again_and_then_given_up(tmp_path: Path) -> None:
    late = Fault(body=json.dumps(completion("late")), hang_s=60.0)

    def say(body: dict[str, Any], before: int) -> str | Fault:
        return late if _last(body) == "never" or before == 0 else OK

    with serving(say) as fake:
        settings = _settings(fake.url, timeout_s=1.0, max_retries=3)
        requests = [_question("never"), _question("second")]
        found, counts = _asked(settings, requests, tmp_path / "c.jsonl")
    assert found[0] == Failure("no reply within 1 s, 4 times")
    assert found[1] == Reply(OK, "stop", "fake-1", 10, 3)
    assert counts["retries"] >= 4


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, '{"error": {"message": "bad key sk-secret"}}', r"401: bad key \*\*\*.*api_key_env"),
        (403, "", r"403.*key that may use"),
        (404, '{"detail": "Not Found"}', r"404: Not Found.*/v1"),
        (400, '{"error": {"message": "unknown field foo"}}', r"400: unknown field foo"),
        (422, '{"detail": [{"msg": "bad"}]}', r"422: .*bad"),
        (
            400,
            '{"error": {"message": "max_tokens is too large: 5000. This model..."}}',
            r"400: max_",
        ),
    ],
)
def test_what_is_wrong_for_all_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, body: str, expected: str
) -> None:
    monkeypatch.setenv("KEY", "sk-secret")
    requests = [_question(str(i)) for i in range(40)]
    with serving(lambda _, before: Fault(status, body)) as fake:
        settings = _settings(fake.url, concurrency=2, api_key_env="KEY")
        with pytest.raises(SettingsError, match=expected):
            list(ask(settings, requests, tmp_path / "c.jsonl"))
        assert len(fake.calls) <= 4


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "This model's maximum context length is 8192 tokens. However, you requested 9000"),
        (400, "the request exceeds the available context size. try increasing it"),
        (400, "The response was filtered due to the prompt triggering content management policy"),
        (400, "prompt is too long: 210000 tokens > 200000 maximum"),
        (422, "The input (9000 tokens) is longer than the model's limit"),
        (413, ""),
    ],
)
def test_a_request_that_is_refused_alone_stops_nothing(
    tmp_path: Path, status: int, said: str
) -> None:
    refusal = Fault(status, json.dumps({"error": {"message": said}}))
    with serving(lambda body, _: refusal if _last(body) == "1" else OK) as fake:
        requests = [_question(str(i)) for i in range(3)]
        found, counts = _asked(_settings(fake.url), requests, tmp_path / "c.jsonl")
        assert len(fake.calls) == 3
    assert isinstance(found[1], Failure)
    assert said in found[1].reason
    assert (counts["answered"], counts["failed"]) == (2, 1)


def test_an_answer_that_is_filtered_away_is_not_asked_for_again(tmp_path: Path) -> None:
    filtered = completion(None, finish_reason="content_filter")
    with serving(lambda body, _: filtered) as fake:
        found, counts = _asked(_settings(fake.url), [_question("q")], tmp_path / "c.jsonl")
    assert isinstance(found[0], Failure)
    assert counts["sent"] == 1


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serving(lambda body, _: OK) as fake:
        pass  # its port is free again
    requests = [_question(str(i)) for i in range(100)]
    with pytest.raises(SettingsError, match=r"127.0.0.1.*3 times; expected a server"):
        list(ask(_settings(fake.url), requests, tmp_path / "c.jsonl"))


def test_many_failures_in_a_row_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_chat_call, "MOST_FAILED_IN_A_ROW", 5)
    requests = [_question(str(i)) for i in range(100)]
    good = {0, 1, 2, 7, 8}  # 4 failures lie between 2 and 7
    with serving(lambda body, _: OK if int(_last(body)) in good else Fault(500)) as fake:
        settings = _settings(fake.url, concurrency=1, max_retries=0)
        outcomes = ask(settings, requests, tmp_path / "c.jsonl")
        with pytest.raises(SettingsError, match=r"5 requests in a row.*HTTP 500"):
            found = [next(outcomes) for _ in range(101)]
        assert len(fake.calls) == 14  # 9 ... 13 are the row
        del outcomes
        # What was answered is kept.
        fake.calls.clear()
        fake.say = lambda body, _: OK
        found = dict(ask(settings, requests, tmp_path / "c.jsonl"))
        assert len(found) == 100
        assert len(fake.calls) == 95


def test_a_server_that_asks_to_wait_is_left_alone_by_all(tmp_path: Path) -> None:
    def say(body: dict[str, Any], before: int) -> str | Fault:
        if _last(body) == "0" and before == 0:
            return Fault(429, headers=(("Retry-After", "2"),))
        time.sleep(0.05)
        return OK

    with serving(say) as fake:
        requests = [_question(str(i)) for i in range(60)]
        settings = _settings(fake.url, concurrency=2)
        _, counts = _asked(settings, requests, tmp_path / "c.jsonl")
        assert counts["retries"] == 1
        begun = fake.times[fake.questions().index("0")]
        # The other worker alone would take three seconds for the rest.
        assert not [t for t in fake.times if 1.0 < t - begun < 2.0]


def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(tmp_path: Path) -> None:
    with serving(lambda body, _: Fault(429, headers=(("Retry-After", "86400"),))) as fake:
        found, counts = _asked(_settings(fake.url), [_question("q")], tmp_path / "c.jsonl")
    assert counts["sent"] == 1
    assert "86400 s" in str(found[0])


# ------------------------------------------------------------------------------- asked once


def test_no_request_is_asked_twice(tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "c.jsonl"
    requests = [_question(str(i % 7)) for i in range(21)]
    with serving(lambda body, _: OK + _last(body)) as fake:
        first, counts = _asked(_settings(fake.url), requests, cache)
        assert sorted(fake.questions()) == list("0123456")
        assert (counts["sent"], counts["answered"]) == (7, 21)
        more = [*requests, _question("7")]
        second, counts = _asked(_settings(fake.url), more, cache)
        assert len(fake.calls) == 8
        assert (counts["cached"], counts["answered"]) == (21, 1)
    assert {i: second[i] for i in first} == first
    assert [second[i].text for i in (3, 20, 21)] == ["fine3", "fine6", "fine7"]  # type: ignore[union-attr]


def test_whatever_decides_the_reply_is_another_request(tmp_path: Path) -> None:
    base = Request((Message("user", "q"),), 0.5, 0.9, 7, 3, 2)
    changed = [
        base,
        base._replace(messages=(Message("user", "q "),)),
        base._replace(messages=(Message("system", "q"),)),
        base._replace(messages=(Message("user", "q"), Message("user", "q"))),
        base._replace(temperature=0.6),
        base._replace(temperature=None),
        base._replace(top_p=None),
        base._replace(max_tokens=8),
        base._replace(seed=4),
        base._replace(top_logprobs=None),
        base._replace(sample=1),
    ]
    ways: list[dict[str, Any]] = [{}, {"model": "n"}, {"extra_body": {"k": 1}}]
    ways.append({"extra_body": {"k": 2}})
    with serving(lambda body, _: OK) as fake, serving(lambda body, _: OK) as other:
        for url in (fake.url, other.url):
            for way in ways:
                _, counts = _asked(_settings(url, **way), changed, tmp_path / "c.jsonl")
                assert counts["sent"] == len(changed)
        # What decides nothing: patience, prices, a slash.
        more = {"timeout_s": 9.0, "concurrency": 1, "max_retries": 0, "prompt_price": 1.0}
        again = _settings(fake.url + "/", **more)
        assert _asked(again, changed, tmp_path / "c.jsonl")[1]["sent"] == 0


def test_a_line_that_a_kill_cut_short_is_asked_for_again(tmp_path: Path) -> None:
    cache = tmp_path / "c.jsonl"
    requests = [_question(str(i)) for i in range(4)]
    with serving(lambda body, _: OK + _last(body)) as fake:
        settings = _settings(fake.url, concurrency=1)
        first, _ = _asked(settings, requests, cache)
        whole = cache.read_bytes()
        for end in (len(whole) - 1, len(whole) - 20):
            cache.write_bytes(whole[:end])
            again, counts = _asked(settings, requests, cache)
            assert (counts["cached"], counts["answered"]) == (3, 1)
            assert again == first
            assert cache.read_bytes() == whole
        cache.write_bytes(whole.replace(b'"text"', b'"tixt"', 1))
        with pytest.raises(DataError, match=r"c.jsonl:1.*delete"):
            list(ask(settings, requests, cache))


KILLED = """
import sys
from pathlib import Path
from inarch.io.endpoints import EndpointSettings, Request, ask
from inarch.records import Message

settings = EndpointSettings(url=sys.argv[1], model="m", concurrency=3)
requests = [Request((Message("user", str(i)),), max_tokens=8) for i in range(200)]
list(ask(settings, requests, Path(sys.argv[2])))
"""


def test_a_process_that_is_killed_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    cache = tmp_path / "c.jsonl"

    def say(body: dict[str, Any], before: int) -> str:
        time.sleep(0.01)
        return OK + _last(body)

    with serving(say) as fake:
        command = [sys.executable, "-c", KILLED, fake.url, str(cache)]
        process = subprocess.Popen(command)
        while len(fake.calls) < 40 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        requests = [_question(str(i)) for i in range(200)]
        found, counts = _asked(_settings(fake.url), requests, cache)
        assert [found[i].text for i in range(200)] == [f"{OK}{i}" for i in range(200)]  # type: ignore[union-attr]
        assert counts["cached"] >= 37
        # Only what was in flight when the kill came is asked twice.
        assert 200 <= len(fake.calls) <= 203


def test_a_reply_is_in_the_cache_before_it_is_handed_on(tmp_path: Path) -> None:
    cache = tmp_path / "c.jsonl"
    with serving(lambda body, _: OK) as fake:
        with closing(
            ask(_settings(fake.url), [_question(str(i)) for i in range(9)], cache)
        ) as all_:
            for number, _ in enumerate(all_, 1):
                assert cache.read_bytes().count(b"\n") >= number


def test_a_caller_who_stops_ends_the_asking(tmp_path: Path) -> None:
    cache = tmp_path / "c.jsonl"

    def say(body: dict[str, Any], before: int) -> str:
        time.sleep(0.02)
        return OK

    with serving(say) as fake:
        settings = _settings(fake.url, concurrency=2)
        requests = [_question(str(i)) for i in range(300)]
        with closing(ask(settings, requests, cache)) as outcomes:
            for _ in range(5):
                next(outcomes)
        at_end = len(fake.calls)
        assert at_end < 20
        time.sleep(0.2)
        assert len(fake.calls) <= at_end + 2  # what was on its way
        assert not [t for t in threading.enumerate() if t.name == "inarch"]
        _, counts = _asked(settings, requests[:5], cache)  # the cache is free again
        assert counts["cached"] >= 3


def test_a_second_run_through_one_cache_is_refused(tmp_path: Path) -> None:
    cache = tmp_path / "c.jsonl"
    with serving(lambda body, _: OK) as fake:
        settings = _settings(fake.url)
        with closing(ask(settings, [_question("a"), _question("b")], cache)) as outcomes:
            next(outcomes)
            with pytest.raises(DataError, match=r"another run.*c.jsonl"):
                next(ask(settings, [_question("a")], cache))


def test_as_many_as_allowed_are_in_flight(tmp_path: Path) -> None:
    five = threading.Barrier(5)

    def say(body: dict[str, Any], before: int) -> str:
        five.wait(30)
        return OK

    with serving(say) as fake:
        requests = [_question(str(i)) for i in range(30)]
        _asked(_settings(fake.url, concurrency=5), requests, tmp_path / "c.jsonl")
        assert fake.most_at_once == 5


def test_asking_goes_on_while_the_caller_works(tmp_path: Path) -> None:
    with serving(lambda body, _: OK) as fake:
        requests = [_question(str(i)) for i in range(8)]
        with closing(ask(_settings(fake.url), requests, tmp_path / "c.jsonl")) as outcomes:
            next(outcomes)
            deadline = time.monotonic() + 10
            while len(fake.calls) < 8 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(fake.calls) == 8


# -------------------------------------------------------------------------- keys, money, logprobs


def test_a_key_is_sent_and_kept_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-123")
    caplog.set_level(logging.DEBUG, logger="inarch")
    echo = Fault(500, '{"error": {"message": "key sk-secret-123 is tired"}}')
    with serving(lambda body, n: echo if _last(body) == "bad" else OK) as fake:
        settings = _settings(fake.url, api_key_env="MY_KEY")
        found, _ = _asked(settings, [_question("a"), _question("bad")], tmp_path / "c.jsonl")
        assert set(fake.keys) == {"Bearer sk-secret-123"}
        assert "key *** is tired" in str(found[1])
        written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
        assert b"sk-secret" not in written
        assert "sk-secret" not in caplog.text
        assert "sk-secret" not in str(identity(settings))
        monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
        _asked(_settings(fake.url), [_question("b")], tmp_path / "c.jsonl")
        assert fake.keys[-1] == "Bearer none"  # a key goes only where the settings send it
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(SettingsError, match=r"no environment variable MY_KEY"):
        list(ask(settings, [_question("c")], tmp_path / "c.jsonl"))


def test_an_estimate_before_and_the_cost_after(tmp_path: Path) -> None:
    cache = tmp_path / "c.jsonl"
    requests = [_question("x" * 400), _question("x" * 400), _question("y" * 800)]
    with serving(lambda body, _: OK) as fake:
        settings = _settings(fake.url, prompt_price=3.0, answer_price=15.0)
        before = estimate(settings, requests, cache)
        # two different ones: 400 and 800 bytes at 4 a token, 4 for each turn, at most 8 answered
        assert before == (2, 0, 100 + 4 + 200 + 4, 16, (308 * 3 + 16 * 15) / 1e6)
        assert not fake.calls
        _asked(settings, requests[:2], cache)
        assert estimate(settings, requests, cache)[:4] == (1, 1, 204, 8)
        assert spent(settings, cache) == (1, 10, 3, (10 * 3 + 3 * 15) / 1e6)
        assert spent(_settings(fake.url, prompt_price=3.0), cache).cost is None
        endless = [_question("z")._replace(max_tokens=None)]
        assert estimate(settings, endless, cache)[3:] == (None, None)


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (completion("yes", logprobs=logprobs({"yes": -0.1, "no": -2.0, "No": -4.0})), 3),
        (completion("yes", logprobs=None), 0),
        (completion("yes", logprobs={"content": []}), 0),
        (completion("yes", logprobs={"content": [{"token": "yes", "logprob": -0.1}]}), 0),
        (completion("yes"), 0),
        (Fault(422, '{"detail": "Unexpected fields in the request: {\'top_logprobs\'}"}'), 0),
    ],
)
def test_whether_an_endpoint_gives_logprobs(tmp_path: Path, said: Any, number: int) -> None:
    with serving(lambda body, _: said) as fake:
        assert probe_logprobs(_settings(fake.url), tmp_path / "c.jsonl") == number
        assert fake.calls[0]["top_logprobs"] == 5
        if number:
            request = _question("q", top_logprobs=3)
            found, _ = _asked(_settings(fake.url), [request], tmp_path / "d.jsonl")
            again, _ = _asked(_settings(fake.url), [request], tmp_path / "d.jsonl")
            assert again == found
            assert found[0].top_logprobs == (("yes", -0.1), ("no", -2.0), ("No", -4.0))  # type: ignore[union-attr]


def test_a_probe_of_an_endpoint_that_is_wrong_stops(tmp_path: Path) -> None:
    with serving(lambda body, _: Fault(404)) as fake:
        with pytest.raises(SettingsError, match="404"):
            probe_logprobs(_settings(fake.url), tmp_path / "c.jsonl")


def test_a_probe_that_fails_says_nothing_about_logprobs(tmp_path: Path) -> None:
    """A server that is down for a while is not taken for one without log-probs."""
    with serving(lambda body, _: Fault(500, "down")) as fake:
        with pytest.raises(SettingsError, match=r"no answer to a first question: HTTP 500 \(down"):
            probe_logprobs(_settings(fake.url, max_retries=0), tmp_path / "c.jsonl")
    with serving(lambda body, _: completion("", finish_reason="length")) as fake:
        assert probe_logprobs(_settings(fake.url, max_retries=0), tmp_path / "c.jsonl") == 0


def test_a_token_without_a_chance_is_no_alternative() -> None:
    """JSON in Python knows NaN, and servers write -Infinity for what they never say."""
    known = {"m": -0.1, "M": math.nan, "x": -math.inf}
    reply = read_reply(json.dumps(completion("m", logprobs=logprobs(known))))
    assert isinstance(reply, Reply)
    assert reply.top_logprobs == (("m", -0.1),)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"url": "localhost:8000"}, "http://host"),
        ({"url": "http://localhost:80000/v1"}, "[Pp]ort"),
        ({"url": "http://user:pw@host/v1"}, "api_key_env"),
        ({"url": "http://host/v1?key=sk"}, "api_key_env"),
        ({"url": "http://host/v1/chat/completions"}, "before that"),
        ({"extra_body": {"temperature": 1}}, "temperature"),
        ({"extra_body": {"n": 4}}, "holds n"),
        ({"retries": 1}, "retries"),
    ],
)
def test_settings_that_make_no_sense_are_refused(more: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        _settings(**{"url": "http://host/v1"} | more)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtra, match=r"inarch\[judge\]"):
        list(ask(_settings("http://127.0.0.1:9/v1"), [_question("q")], tmp_path / "c.jsonl"))
