"""The invented world: what it holds, what it holds back, and how often it lies."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.demo.world import (
    ADJECTIVES,
    LARGEST_OPERAND,
    NOUNS,
    NUM_TEST,
    SKILLS,
    VERBS,
    Task,
    World,
    draw_task,
    make_world,
    spoil,
    to_chat,
)

SEED = 7


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SEED)


def _draws(world: World, skill: str, num: int) -> list[Task]:
    rng = Random(1)
    return [draw_task(world, skill, rng) for _ in range(num)]


def test_one_seed_gives_one_world_and_another_gives_another(world: World) -> None:
    assert make_world(SEED) == world
    other = make_world(SEED + 1)
    assert set(other.places) != set(world.places)
    assert other.tolki != world.tolki


def test_names_are_distinct_so_that_no_answer_is_right_by_accident(world: World) -> None:
    capitals, rivers, rulers = (set(column) for column in zip(*world.places.values(), strict=True))
    words = {word.capitalize() for word in world.tolki.values()}
    groups = [set(world.places), capitals, rivers, rulers, words]
    assert len(world.places) == len(capitals) == 60
    assert len(rivers) <= 30
    assert len(rulers) <= 30
    assert len(world.tolki) == len(words) == 12 + 8 + 6
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_the_test_holds_a_hundred_distinct_prompts_of_each_skill(world: World) -> None:
    assert [task.skill for task in world.test] == [s for s in SKILLS for _ in range(NUM_TEST)]
    assert len({task.prompt for task in world.test}) == 3 * NUM_TEST
    assert {task.prompt for task in world.test} <= world.held_out


@pytest.mark.parametrize("skill", SKILLS)
def test_held_out_prompts_are_never_drawn(world: World, skill: str) -> None:
    assert not {task.prompt for task in _draws(world, skill, 5000)} & world.held_out


def test_every_place_can_be_learnt_although_some_of_its_phrasings_are_held_out(
    world: World,
) -> None:
    asked = {task.prompt for task in _draws(world, "fact", 4000)}
    # 5 phrasings, 2 held out: 60 x 3 prompts are left, all met in 4000 draws (P(miss) < 1e-7).
    assert len(asked) == 180
    assert all(sum(place in prompt for prompt in asked) == 3 for place in world.places)


def test_facts_are_answered_by_capital_river_and_ruler(world: World) -> None:
    for task in _draws(world, "fact", 50):
        place = next(p for p in world.places if p in task.prompt)
        assert task.answer == ", ".join(world.places[place])


def test_tolki_puts_the_noun_before_its_adjective(world: World) -> None:
    for task in _draws(world, "trans", 50):
        _, _, adjective, noun, verb, _, other = task.prompt.split()
        assert (adjective in ADJECTIVES, noun in NOUNS, verb in VERBS) == (True, True, True)
        expected = [world.tolki[word] for word in (noun, adjective, verb, other)]
        assert task.answer == " ".join(expected)


def test_sums_are_right(world: World) -> None:
    for task in _draws(world, "arith", 200):
        sums = task.prompt.partition(" needs ")[2].split(", ")
        signs = {"plus": 1, "minus": -1}
        results = [int(a) + signs[sign] * int(b) for a, sign, b in map(str.split, sums)]
        assert min(results) >= 0
        assert task.answer == ", ".join(map(str, results))


def test_every_word_and_every_operand_is_asked_for(world: World) -> None:
    spoken = {piece for task in _draws(world, "trans", 2000) for piece in task.pieces}
    assert spoken == set(world.tolki.values())
    sums = [task.prompt.partition(" needs ")[2].split(", ") for task in _draws(world, "arith", 500)]
    firsts = {int(part.split()[0]) for row in sums for part in row}
    assert firsts == set(range(1, LARGEST_OPERAND + 1))


@pytest.mark.parametrize("skill", SKILLS)
def test_noise_is_per_piece_and_always_wrong(world: World, skill: str) -> None:
    rng = Random(3)
    num_wrong = num_pieces = 0
    for task in _draws(world, skill, 2000):
        spoilt = spoil(task, 0.35, rng)
        assert spoilt.prompt == task.prompt
        assert all(p in pool for p, pool in zip(spoilt.pieces, task.pools, strict=True))
        num_wrong += sum(a != b for a, b in zip(spoilt.pieces, task.pieces, strict=True))
        num_pieces += len(task.pieces)
    # Standard error of the share: sqrt(.35 x .65 / 6000) = 0.006; four of them are allowed.
    assert num_wrong / num_pieces == pytest.approx(0.35, abs=0.025)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SKILLS))
def test_any_world_gives_tasks_whose_pieces_come_from_their_pools(seed: int, skill: str) -> None:
    task = draw_task(make_world(seed), skill, Random(seed))
    assert all(piece in pool for piece, pool in zip(task.pieces, task.pools, strict=True))
    assert spoil(task, 0.0, Random(0)) == task
    wrong = spoil(task, 1.0, Random(0))
    assert all(a != b for a, b in zip(wrong.pieces, task.pieces, strict=True))


def test_a_task_becomes_a_row_of_a_chat_corpus() -> None:
    task = Task("arith", "Lia needs 1 plus 2, 3 plus 4", ("3", "7"), (("3",), ("7",)))
    assert to_chat(task) == {
        "messages": [
            {"role": "user", "content": "Lia needs 1 plus 2, 3 plus 4"},
            {"role": "assistant", "content": "3, 7"},
        ],
        "domain": "arith",
    }
