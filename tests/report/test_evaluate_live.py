"""The page of a live run, from the folder that `inarch evaluate judge` leaves."""

from tests.flows.test_judge import Toy, longest, prefers, settings
from tests.io.fake_endpoint import QUICK, completion, serving

from inarch.flows import judge


def named(say):
    """An endpoint that calls itself by the name of the model that is asked for."""
    return lambda body, before: completion(say(body, before)) | {"model": body["model"]}


def test_the_page_of_a_live_run(tmp_path, monkeypatch, page):
    monkeypatch.setattr(judge, "open_benchmark", lambda settings: Toy())
    monkeypatch.setattr(QUICK, 0.01)
    reads_first = prefers(lambda one, other: "1")
    with serving(named(prefers(longest))) as wise, serving(named(reads_first)) as lazy:
        judges = tuple(
            {"name": name, "endpoint": {"url": fake.url, "model": f"{name}-1"}}
            for name, fake in (("wise", wise), ("lazy", lazy))
        )
        judge.run(settings(wise, judges=judges, canary=True), tmp_path)
    found = page(tmp_path)
    # The wise one likes length in both orders, the lazy one what it reads first.
    known = "What is known of the judges"
    assert found.row(known, "wise")[:6] == ["wise-1", "18", "0", "100.0%", "0.0", "0.0 to 0.0"]
    assert found.row(known, "lazy")[3:6] == ["0.0%", "+100.0", "+100.0 to +100.0"]
    assert found.row(known, "wise")[6] == "100.0 (50.0)"  # twenty letters
    boards = [label for label in found.labels if "with 95 % intervals" in label]
    assert [label.partition("intervals. ")[2].split(", ")[0] for label in boards] == [
        "longer 75.0",  # of both judges
        "abc 50.0",
        "longer 100.0",
    ]
    # The lazy one finds ties only, the wise one a winner in each of six answers.
    (row,) = found.tables["Agreement of judges, all models"][1:]
    assert row[1:4] == ["6", "0.0%", "0.00"]
