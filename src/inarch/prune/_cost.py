"""What a search costs, counted before it is run: forwards, and blocks under each saving."""

from collections.abc import Collection, Sequence

from inarch.prune._lane import Lane, Task, Work
from inarch.prune._order import Block, Unit
from inarch.prune._states import Places, State, States, first_place
from inarch.prune._units import Candidates
from inarch.prune.settings import SearchSettings


def num_passes(num_candidates: int, num_steps: int) -> int:
    """Return how many losses a greedy search computes, ``K N - K (K - 1) / 2``.

    Args:
        num_candidates: Units at the first step, N; each step leaves one fewer.
        num_steps: Units removed, K.
    """
    return num_steps * num_candidates - num_steps * (num_steps - 1) // 2


def plain_work(blocks: Collection[Block], order: Sequence[Unit], candidates: Candidates) -> Work:
    """Return what whole forwards run for each batch: every survivor, for each candidate."""
    return search_work(blocks, order, candidates, SearchSettings(reuse_prefix=False))


def search_work(
    blocks: Collection[Block],
    order: Sequence[Unit],
    candidates: Candidates,
    settings: SearchSettings,
    places: Places | None = None,
) -> Work:
    """Return what a greedy search runs for each batch, if ``order`` is what it finds.

    Early stops, which depend on the losses, are not foreseen.

    Args:
        blocks: All blocks of the model.
        order: The units in the order of their removal.
        candidates: Which units may go at each step.
        settings: What is reused.
        places: Where states are kept; None: in front of every candidate, as with memory for all.
    """
    lane = Lane(blocks, num_batches=1)
    (cache,) = lane.caches
    removed: set[Block] = set()
    stream = sorted(blocks, key=lambda block: block.place)
    if places is None:
        starts = {first_place(unit) for unit in candidates(stream)} - {0}
        kept = starts if settings.reuse_candidates else set()
        places = Places(frozenset(starts), frozenset(kept))
    if not settings.reuse_prefix:
        places = Places(frozenset(), frozenset())
    watched = places.base if settings.reuse_winner else places.kept
    for unit in order:
        lane.base(0, removed, places, _pretend)
        for candidate in candidates([block for block in stream if block not in removed]):
            lane.candidate(0, removed, candidate, watched, _pretend)
            if candidate != unit:
                cache.trim(candidate, places.kept)
        cache.remove(unit, adopt=settings.reuse_winner)
        removed |= set(unit)
    return lane.work


def _pretend(task: Task) -> States:
    return dict.fromkeys(task.watch, State(None, None))  # type: ignore[arg-type]  # never looked at
