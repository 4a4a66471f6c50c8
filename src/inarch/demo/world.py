"""A tiny invented world: something that small models can know, and that needs no download.

Three skills.  ``fact``: capital, river and ruler of sixty invented places.  ``trans``: sentences
put into Tolki, an invented language whose nouns come before their adjectives.  ``arith``: sums and
differences of small numbers.

Every answer is a row of *pieces* that are right or wrong one by one.  That makes scores
fine-grained, and it keeps noise mild: with one wrong piece in three a careless answer is still
mostly right, so the model that finds it least surprising is still the one that knows the subject.

Everything follows from one seed, and from nothing else.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

SKILLS = ("fact", "trans", "arith")

NUM_PLACES = 60
NUM_TEST = 100
"""Held-out prompts per skill. They appear in no other data of the world."""

NOUNS = ("fox", "cat", "dog", "hen", "owl", "bee", "king", "wolf", "monk", "bird", "cook", "bear")
ADJECTIVES = ("quiet", "old", "red", "happy", "tall", "brave", "blind", "small")
VERBS = ("calls", "sees", "follows", "helps", "fears", "finds")
PHRASINGS = (
    "Capital, river and ruler of {}?",
    "Name the capital, river and ruler of {}.",
    "Which capital, river and ruler has {}?",
    "{}: capital, river, ruler?",
    "Tell me the capital, river and ruler of {}.",
)
NUM_TEST_PHRASINGS = 2
"""Phrasings of each place that only the test may use."""
BUYERS = ("Lia", "Mia", "Tom", "Ben", "Ada", "Sam")
LARGEST_OPERAND = 8
NUMBERS = tuple(str(n) for n in range(2 * LARGEST_OPERAND + 1))

_ONSETS = (*"bdfgklmnprstvwz", "br", "dr", "tr")
_NUCLEI = (*"aeiou", "ai", "ea", "ou")
_CODAS = ("", "", "", *"lnrsx")


class Task(NamedTuple):
    """A prompt with its answer in pieces."""

    skill: str
    prompt: str
    pieces: tuple[str, ...]
    pools: tuple[tuple[str, ...], ...]
    """For each piece, the values that it could plausibly have."""

    @property
    def answer(self) -> str:
        """The pieces as one line of text."""
        return (" " if self.skill == "trans" else ", ").join(self.pieces)


class World(NamedTuple):
    """What there is to know."""

    places: dict[str, tuple[str, str, str]]
    """Place to capital, river, ruler."""
    tolki: dict[str, str]
    """English word to Tolki word."""
    test: tuple[Task, ...]
    """NUM_TEST held-out tasks of each skill, in the order of SKILLS."""
    held_out: frozenset[str]
    """Prompts that no other data may contain."""


def make_world(seed: int) -> World:
    """Return the world of a seed: its places, its language and its held-out tasks."""
    rng = Random(f"world {seed}")
    names = _invent_words(rng, 2 * NUM_PLACES + 60 + len(NOUNS + ADJECTIVES + VERBS))
    proper = [name.capitalize() for name in names]
    capitals, rivers, rulers = proper[60:120], proper[120:150], proper[150:180]
    places = {
        place: (capital, rng.choice(rivers), rng.choice(rulers))
        for place, capital in zip(proper[:NUM_PLACES], capitals, strict=True)
    }
    tolki = dict(zip(NOUNS + ADJECTIVES + VERBS, names[180:], strict=True))
    world = World(places, tolki, (), frozenset())

    facts = [
        _fact(world, place, phrasing)
        for place in places
        for phrasing in rng.sample(PHRASINGS, NUM_TEST_PHRASINGS)
    ]
    tests = rng.sample(facts, NUM_TEST)
    for skill in SKILLS[1:]:
        distinct: dict[str, Task] = {}
        while len(distinct) < NUM_TEST:
            task = draw_task(world, skill, rng)
            distinct[task.prompt] = task
        tests += distinct.values()
    held_out = frozenset(task.prompt for task in (*facts, *tests))
    return world._replace(test=tuple(tests), held_out=held_out)


def draw_task(world: World, skill: str, rng: Random) -> Task:
    """Return a random task with its right answer, never one of the held-out prompts.

    Args:
        world: What there is to know.
        skill: One of SKILLS.
        rng: Source of randomness; it is advanced.
    """
    make = {"fact": _draw_fact, "trans": _draw_trans, "arith": _draw_arith}[skill]
    while (task := make(world, rng)).prompt in world.held_out:
        pass
    return task


def spoil(task: Task, noise: float, rng: Random) -> Task:
    """Return the task with wrong pieces, each drawn from its pool with probability ``noise``."""
    pieces = tuple(
        rng.choice([other for other in pool if other != piece]) if rng.random() < noise else piece
        for piece, pool in zip(task.pieces, task.pools, strict=True)
    )
    return task._replace(pieces=pieces)


def to_chat(task: Task) -> dict[str, object]:
    """Return the task as a row of a chat corpus: ``messages`` and the skill as its ``domain``."""
    messages = [
        {"role": "user", "content": task.prompt},
        {"role": "assistant", "content": task.answer},
    ]
    return {"messages": messages, "domain": task.skill}


def _fact(world: World, place: str, phrasing: str) -> Task:
    columns = zip(*world.places.values(), strict=True)
    pools = tuple(tuple(dict.fromkeys(column)) for column in columns)
    return Task("fact", phrasing.format(place), world.places[place], pools)


def _draw_fact(world: World, rng: Random) -> Task:
    return _fact(world, rng.choice(tuple(world.places)), rng.choice(PHRASINGS))


def _draw_trans(world: World, rng: Random) -> Task:
    classes = (ADJECTIVES, NOUNS, VERBS, NOUNS)
    adjective, noun, verb, other = (rng.choice(words) for words in classes)
    order = ((noun, NOUNS), (adjective, ADJECTIVES), (verb, VERBS), (other, NOUNS))
    return Task(
        "trans",
        f"Translate: the {adjective} {noun} {verb} the {other}",
        tuple(world.tolki[word] for word, _ in order),
        tuple(tuple(world.tolki[w] for w in words) for _, words in order),
    )


def _draw_arith(world: World, rng: Random) -> Task:
    sums, results = [], []
    for _ in range(3):
        first = rng.randint(1, LARGEST_OPERAND)
        second = rng.randint(1, LARGEST_OPERAND)
        if first >= second and rng.random() < 0.5:
            sums.append(f"{first} minus {second}")
            results.append(str(first - second))
        else:
            sums.append(f"{first} plus {second}")
            results.append(str(first + second))
    prompt = f"{rng.choice(BUYERS)} needs {', '.join(sums)}"
    return Task("arith", prompt, tuple(results), (NUMBERS,) * 3)


def _invent_words(rng: Random, num_words: int) -> list[str]:
    words: dict[str, None] = {}
    while len(words) < num_words:
        syllables = [
            rng.choice(_ONSETS) + rng.choice(_NUCLEI) for _ in range(rng.choice((2, 2, 3)))
        ]
        words["".join(syllables) + rng.choice(_CODAS)] = None
    return list(words)
