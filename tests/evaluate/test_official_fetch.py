"""Official files fetched from a server on loopback that does all that servers do; nothing is kept
but what is right."""

import hashlib
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from inarch.errors import DataError, SettingsError
from inarch.evaluate.judges import official, official_fetch
from inarch.evaluate.judges.official import FILES, OfficialFile
from inarch.evaluate.judges.official_fetch import fetch, files_of

TEXT = b'{"a": "\xc3\xa9"}\r\n' * 5000
"""Larger than a packet; its line ends must stay."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.ended = threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path[1:])
        with suppress(ConnectionError):
            getattr(self, self.path[1:])()

    def send(self, text, length=None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text) if length is None else length))
        self.end_headers()
        self.wfile.write(text)

    def right(self):
        assert self.headers["User-Agent"].startswith("inarch/")
        self.send(TEXT)

    def changed(self):
        self.send(TEXT.replace(b"a", b"b", 1))

    def longer(self):
        self.send(TEXT + b"\n")

    def cut(self):
        self.send(TEXT[:-1000], len(TEXT))
        self.close_connection = True

    def short(self):
        self.send(TEXT[:-1000])

    def absent(self):
        self.send_error(404)

    def broken(self):
        self.send_error(503)

    def moved(self):
        self.send_response(302)
        self.send_header("Location", self.server.url("right"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def away(self):
        self.send_response(302)
        self.send_header("Location", "file:///etc/hostname")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def hanging(self):
        self.server.ended.wait(5)
        self.right()

    def stalled(self):
        self.send(TEXT[:100], len(TEXT))
        self.server.ended.wait(5)
        self.wfile.write(TEXT[100:])

    def dripping(self):
        self.send(b"", 10**9)
        for _ in range(300):
            self.wfile.write(b"x")
            if self.server.ended.wait(0.01):
                return
        self.close_connection = True

    def nonsense(self):
        self.wfile.write(b"no HTTP at all\r\n\r\n")
        self.close_connection = True


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(official_fetch, "PATIENCE_S", 0.2)
    return tmp_path / "cache"


def file_at(*urls, name="mt_bench/question.jsonl", text=TEXT):
    return OfficialFile(name, "q", len(text), hashlib.sha256(text).hexdigest(), urls)


def held(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("way", ["right", "moved"])
def test_a_right_file_is_fetched_once(server, cache, way):
    file = file_at(server.url(way))
    (found,) = fetch([file])
    assert found == (file, cache / file.name, "fetched")
    assert found.path.read_bytes() == TEXT
    assert held(cache) == ["mt_bench/question.jsonl"]
    asked = list(server.asked)
    assert [row.how for row in fetch([file])] == ["was there"]
    assert server.asked == asked


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("changed", "found 65000 bytes of 65000, with another digest"),
        ("longer", "found 65001 bytes of 65000"),
        ("cut", "found 64000 bytes of 65000"),
        ("short", "found 64000 bytes of 65000"),
        ("absent", "HTTP 404"),
        ("broken", "HTTP 503"),
        ("away", "HTTP 302"),
        ("hanging", "timed out"),
        ("stalled", "timed out"),
        ("nonsense", "no HTTP at all"),
    ],
)
def test_what_is_not_right_leaves_nothing(server, cache, way, said):
    with pytest.raises(DataError) as caught:
        list(fetch([file_at(server.url(way))]))
    for part in (said, server.url(way), "nothing of it is kept", "--from"):
        assert part in str(caught.value)
    assert not cache.exists() or held(cache) == []


def test_a_file_that_never_ends_is_given_up(server, cache, monkeypatch):
    file = file_at(server.url("dripping"))
    monkeypatch.setattr(official_fetch, "LIMIT_S", 0.1)
    with pytest.raises(DataError, match=r"not done after 0 s"):
        list(fetch([file]))
    monkeypatch.setattr(official_fetch, "LIMIT_S", 60)
    monkeypatch.setattr(official_fetch, "LIMIT_BYTES", 5)
    with pytest.raises(DataError, match=r"more than 5 bytes"):
        list(fetch([file]))
    assert not cache.exists()


def test_no_server_is_a_message(server, cache):
    port = server.server_port
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="Connection refused"):
        list(fetch([file_at(f"http://127.0.0.1:{port}/right")]))


def test_the_second_place_is_asked_where_the_first_has_it_not(server, cache):
    file = file_at(*map(server.url, ("absent", "changed", "right", "broken")))
    (found,) = fetch([file])
    assert server.asked == ["absent", "changed", "right"]
    assert found.path.read_bytes() == TEXT


def test_a_changed_file_in_the_cache_is_fetched_anew(server, cache):
    file = file_at(server.url("right"))
    list(fetch([file]))
    (cache / file.name).write_bytes(TEXT[:-1])
    with pytest.raises(DataError, match="another digest"):
        list(fetch([file._replace(urls=(server.url("changed"),))]))
    # what is there stays, and find() refuses it
    assert (cache / file.name).read_bytes() == TEXT[:-1]
    assert [row.how for row in fetch([file])] == ["fetched"]
    assert (cache / file.name).read_bytes() == TEXT


def test_those_before_a_failure_are_kept(server, cache):
    files = [
        file_at(server.url("right"), name="mt_bench/a"),
        file_at(server.url("absent"), name="mt_bench/b"),
        file_at(server.url("right"), name="mt_bench/c"),
    ]
    with pytest.raises(DataError, match="cannot fetch mt_bench/b"):
        list(fetch(files))
    assert held(cache) == ["mt_bench/a"]


@pytest.mark.parametrize("value", ["1", "true", "ON", "yes"])
def test_offline_means_offline(server, cache, monkeypatch, value):
    file = file_at(server.url("right"))
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    with pytest.raises(DataError, match=r"found HF_HUB_OFFLINE set, so mt_bench/question.jsonl is"):
        list(fetch([file]))
    assert server.asked == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert [row.how for row in fetch([file])] == ["fetched"]
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert [row.how for row in fetch([file])] == ["was there"]


def test_a_place_that_is_no_folder_is_a_message(server, cache):
    cache.write_text("a file in the way")
    with pytest.raises(DataError, match=r"cannot write .*: Not a directory; set INARCH_CACHE"):
        list(fetch([file_at(server.url("right"))]))


# ------------------------------------------------------------------------------------- a folder


def test_files_are_taken_from_a_folder_by_content(server, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = tmp_path / "usb"
    for folder in ("a", "b/c"):
        (source / folder).mkdir(parents=True)
    # two benchmarks have a file of this name: the content tells which is which
    one = file_at(server.url("right"), name="arena_hard_v2/question.jsonl", text=b"one")
    two = file_at(server.url("right"), name="mt_bench/question.jsonl", text=b"two")
    (source / "a/question.jsonl").write_bytes(b"two")
    (source / "b/c/question.jsonl").write_bytes(b"one")
    found = list(fetch([one, two], source))
    assert [row.how for row in found] == ["taken", "taken"]
    assert [row.path.read_bytes() for row in found] == [b"one", b"two"]
    assert held(source) == ["a/question.jsonl", "b/c/question.jsonl"]
    assert server.asked == []


def test_a_folder_without_a_right_file_is_refused_once_all_others_are_taken(cache, tmp_path):
    source = tmp_path / "usb"
    source.mkdir()
    files = [
        file_at("https://x/y/a", name="mt_bench/a", text=b"a"),
        file_at("https://x/y/b", name="mt_bench/b", text=b"b"),
        file_at("https://x/y/c", name="mt_bench/c", text=b"c"),
        file_at("https://x/y/d", name="mt_bench/d", text=b"d"),
    ]
    (source / "a").write_bytes(b"changed")
    (source / "b").write_bytes(b"b")
    (source / "d").mkdir()
    with pytest.raises(DataError) as caught:
        list(fetch(files, source))
    assert "3 of 4 files" in str(caught.value)
    for part in (f"mt_bench/a: {source / 'a'} has other content", "mt_bench/c: https://x/y/c"):
        assert part in str(caught.value)
    assert "mt_bench/b" not in str(caught.value)
    assert held(cache) == ["mt_bench/b"]
    with pytest.raises(DataError, match="found no folder"):
        list(fetch(files, tmp_path / "nowhere"))


# ------------------------------------------------------------------------------------- the names


def test_benchmarks_have_the_names_of_verbs_and_protocols():
    by = {
        names: [file.benchmark for file in files_of(names)]
        for names in [("alpaca",), ("alpaca_eval2",), ("arena",), ("arena_hard_v2", "mtbench")]
    }
    assert by["alpaca",] == by["alpaca_eval2",] == ["alpaca_eval2"] * 3
    assert by["arena",] == ["arena_hard_v0.1"] * 3 + ["arena_hard_v2"] * 5
    assert by["arena_hard_v2", "mtbench"] == ["arena_hard_v2"] * 5 + ["mt_bench"] * 5
    assert files_of(()) == FILES
    with pytest.raises(
        SettingsError, match="found no benchmark 'lpaca'; expected some of alpaca, a"
    ):
        files_of(("alpaca", "lpaca"))


def test_every_official_file_is_small_enough():
    assert all((file.size or 0) < official_fetch.LIMIT_BYTES for file in FILES)
    assert official.FILES is FILES
