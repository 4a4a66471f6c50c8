"""Which of several scored answers make a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inarch.align._candidates import (
    Candidate,
    ChooseSettings,
    Pair,
    best,
    first_part,
    is_tied,
    pair,
    triple,
    winner,
    worst,
)


def answers(model: str, *scores: float | None, texts: str = "") -> list[Candidate]:
    """Answers called a0, a1, ... of a model a, or one letter of ``texts`` each."""
    return [
        Candidate(model, i, 42 + i, texts[i] if texts else f"{model}{i}", score)
        for i, score in enumerate(scores)
    ]


def texts(row) -> tuple[str, ...]:
    return tuple(candidate.text for candidate in row)


def test_a_triple_is_the_best_source_and_the_ends_of_the_target():
    sources = [*answers("a", 0.2, 0.7), *answers("b", 0.9, 0.1)]
    own = answers("t", 0.4, 0.6, 0.3)
    found = triple(sources, own, ChooseSettings())
    assert texts(found) == ("b0", "t1", "t2")
    assert [c.model for c in found] == ["b", "t", "t"]


def test_the_first_of_equals_wins():
    sources = [*answers("a", 0.5, 0.9), *answers("b", 0.9, 0.9)]
    assert winner(sources, ChooseSettings()).text == "a1"
    assert texts(triple(sources, answers("t", 1, 0, 1, 0), ChooseSettings())) == ("a1", "t0", "t1")
    assert winner(sources[::-1], ChooseSettings()).text == "b1"


def test_a_tie_is_between_models_and_not_within_one():
    by_model = lambda candidate: candidate.model  # noqa: E731
    assert is_tied([*answers("a", 0.9), *answers("b", 0.9)], by_model)
    assert not is_tied([*answers("a", 0.9, 0.9), *answers("b", 0.8)], by_model)
    assert not is_tied(answers("a", None), by_model)


def test_answers_without_a_score_are_not_there():
    sources = [*answers("a", None, 0.1), *answers("b", None)]
    assert winner(sources, ChooseSettings()).text == "a1"
    own = answers("t", None, 3.0, 2.0, None)
    assert texts(triple(sources, own, ChooseSettings())) == ("a1", "t1", "t2")


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (answers("t", None, None), "prompts without two scored answers of the target"),
        (answers("t", None, 1.0), "prompts without two scored answers of the target"),
        (answers("t", 1, 1, texts="xx"), "prompts to which all answers of the target are one text"),
        (answers("t", 1, 1), "prompts to which all answers of the target score the same"),
    ],
)
def test_rows_without_a_difference_are_left_out(own, reason):
    assert triple(answers("a", 1.0), own, ChooseSettings()) == reason


def test_without_a_source_there_is_no_row():
    reason = "prompts without a scored answer of a source"
    assert triple(answers("a", None), answers("t", 1, 0), ChooseSettings()) == reason
    assert pair(answers("a", None), ChooseSettings()) == reason


# The gap of the target is 0.6 - 0.3. In binary, 0.6 - 0.3 is 0.3 and 0.3 - 0.2 below 0.1.
@pytest.mark.parametrize(
    ("bounds", "kept"),
    [
        ({"min_gap": 0.3}, True),
        ({"min_gap": 0.31}, False),
        ({"max_gap": 0.3}, True),
        ({"max_gap": 0.29}, False),
    ],
)
def test_bounds_hold_the_gap_of_the_target(bounds, kept):
    found = triple(answers("a", 1.0), answers("t", 0.6, 0.3), ChooseSettings(**bounds))
    assert isinstance(found, str) != kept
    if not kept:
        assert found == "prompts to which the answers of the target have a gap out of bounds"


def test_bounds_are_decimals():
    settings = ChooseSettings(form="pairs", min_gap=0.1)
    assert texts(pair(answers("a", 0.3, 0.2), settings)) == ("a0", "a1")


@pytest.mark.parametrize(("source", "kept"), [(0.61, True), (0.6, False), (0.5, False)])
def test_the_source_may_have_to_be_better(source: float, kept: bool):
    settings = ChooseSettings(source_above_target=True)
    found = triple(answers("a", source), answers("t", 0.6, 0.3), settings)
    assert isinstance(found, str) != kept
    assert not isinstance(
        triple(answers("a", source), answers("t", 0.6, 0.3), ChooseSettings()), str
    )


def test_prompts_that_all_answer_alike_may_be_left_out():
    alike = [*answers("a", 1, 1, texts="xx"), *answers("b", 1, texts="x")]
    other = [*answers("a", 1, 1, texts="xx"), *answers("b", 1, texts="y")]
    own = answers("t", 1, 0)
    reason = "prompts to which all answers of all sources are one text"
    strict = ChooseSettings(drop_uniform=True)
    assert winner(alike, strict) == reason
    assert triple(alike, own, strict) == reason
    assert texts(triple(alike, own, ChooseSettings())) == ("x", "t0", "t1")
    assert texts(triple(other, own, strict)) == ("x", "t0", "t1")


def test_a_pair_is_of_one_source():
    # Best overall is b's 0.9, worst a's 0.1; but pairs are a: 0.8 - 0.1 and b: 0.9 - 0.6.
    sources = [*answers("a", 0.1, 0.8, 0.5), *answers("b", 0.9, 0.6)]
    settings = ChooseSettings(form="pairs")
    assert texts(pair(sources, settings)) == ("b0", "b1")
    assert texts(pair(sources, settings.model_copy(update={"min_gap": 0.5}))) == ("a1", "a0")


def test_a_pair_of_fusechat_3_has_a_gap_within_bounds():
    settings = ChooseSettings(form="pairs", min_gap=0.01, max_gap=0.1)
    near = answers("a", 0.150, 0.151)
    fair = answers("b", 0.10, 0.14)
    far = answers("c", 0.30, 0.15)
    assert texts(pair([*near, *fair, *far], settings)) == ("b1", "b0")
    reason = "prompts to which the answers of any source have a gap out of bounds"
    assert pair([*near, *far], settings) == reason
    assert pair([*near, *answers("c", 1, 1)], settings) == reason


def test_settings_contradict_each_other():
    with pytest.raises(ValidationError, match=r"min_gap 0\.2 and max_gap 0\.1"):
        ChooseSettings(min_gap=0.2, max_gap=0.1)
    with pytest.raises(ValidationError, match="form: triples only"):
        ChooseSettings(form="pairs", source_above_target=True)


scores = st.lists(st.sampled_from([None, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=5)


@given(st.lists(scores, min_size=1, max_size=3), scores, st.booleans(), st.sampled_from([0, 0.5]))
def test_choices_are_those_of_a_plain_loop(each, own, above, min_gap):
    settings = ChooseSettings(source_above_target=above, min_gap=float(min_gap))
    sources = [c for name, s in zip("abc", each, strict=False) for c in answers(name, *s)]
    mine = answers("t", *own)
    top = low = source = None
    for one in sources:
        if one.score is not None and (source is None or one.score > source.score):
            source = one
    for one in mine:
        if one.score is not None and (top is None or one.score > top.score):
            top = one
        if one.score is not None and (low is None or one.score < low.score):
            low = one
    fits = source is not None and top is not None and top.score > low.score
    fits = fits and top.score - low.score >= min_gap and (not above or source.score > top.score)
    found = triple(sources, mine, settings)
    assert found == (source, top, low) if fits else isinstance(found, str)
    assert (best(mine), worst(mine)) == (top, low)


@given(st.lists(scores, min_size=1, max_size=3))
def test_both_answers_of_a_pair_are_of_one_model(each):
    sources = [c for name, s in zip("abc", each, strict=False) for c in answers(name, *s)]
    found = pair(sources, ChooseSettings(form="pairs"))
    wide = {}
    for name in "abc":
        values = [c.score for c in sources if c.model == name and c.score is not None]
        if values and max(values) > min(values):
            wide[name] = (max(values), min(values))
    assert isinstance(found, Pair) == bool(wide)
    if wide:
        assert found.chosen.model == found.rejected.model
        assert (found.chosen.score, found.rejected.score) == wide[found.chosen.model]
        assert found.chosen.score == max(top for top, _ in wide.values())


def test_the_split_is_a_third_and_seeded():
    parts = [first_part(90, 1 / 3, seed) for seed in range(3)]
    assert [len(part) for part in parts] == [30, 30, 30]
    assert len(set(parts)) == 3
    assert parts[0] == first_part(90, 1 / 3, 0)
    assert all(part < set(range(90)) for part in parts)
    assert len(first_part(10, 0.4, 0)) == 4
    # A row is as likely as any other: over 300 seeds about 100 of each; 5 standard deviations.
    counts = [sum(i in first_part(30, 1 / 3, seed) for seed in range(300)) for i in range(30)]
    assert all(abs(count - 100) < 5 * (300 * 2 / 9) ** 0.5 for count in counts)
