"""Which states are kept, and which of them still hold after a removal."""

import pytest

from inarch.prune._states import Cache, Places, State, plan_places
from tests.prune.made_up import block


def states(*places: int) -> dict[int, State]:
    """One state per place, told apart by identity."""
    return {place: State(object(), None) for place in places}  # type: ignore[arg-type]


def unit(*names: str):
    return tuple(block(name) for name in names)


def test_a_candidate_starts_at_its_own_state_or_in_front_of_its_first_block():
    cache = Cache()
    assert cache.start(unit("mha2")) == (0, None)
    cache.base = states(1, 3, 4, 6)
    assert cache.start(unit("mha2")) == (4, cache.base[4])
    assert cache.start(unit("mlp2")) == (4, cache.base[4])
    assert cache.start(unit("mha0")) == (0, None)
    # mha2 reads at 4, mlp1 at 3.
    assert cache.start(unit("mha2", "mlp1")) == (3, cache.base[3])
    own = states(5, 6)
    cache.keep(unit("mha1"), own)
    assert cache.start(unit("mha1")) == (6, own[6])


def test_a_removal_voids_what_lies_behind_it_and_the_winner_takes_its_place():
    cache = Cache()
    cache.base = base = states(1, 2, 3, 4, 5)
    other, winner = states(1, 2, 3, 4, 5), states(3, 4, 5)
    cache.keep(unit("mha0"), dict(other))
    cache.keep(unit("mha1"), dict(winner))
    cache.remove(unit("mha1"), adopt=True)  # mha1 reads at 2
    assert cache.base == {1: base[1], 2: base[2], 3: winner[3], 4: winner[4], 5: winner[5]}
    assert cache.kept == {unit("mha0"): {1: other[1], 2: other[2]}}


def test_without_adoption_and_for_other_sets_states_are_void():
    for removed, adopt in ((unit("mha1"), False), (unit("mha1", "mlp1"), True)):
        cache = Cache()
        cache.base = base = states(1, 2, 3)
        cache.keep(unit("mha1"), states(3))
        cache.keep(unit("mlp1"), states(3))
        cache.remove(removed, adopt=adopt)
        assert cache.base == {1: base[1], 2: base[2]}


def test_units_that_lose_a_block_are_forgotten():
    cache = Cache()
    cache.keep(unit("mha1", "mlp0"), states(1))
    cache.keep(unit("mha0", "mlp0"), states(1))
    cache.remove(unit("mha1", "mlp1"), adopt=True)
    assert list(cache.kept) == [unit("mha0", "mlp0")]


def test_trimming_keeps_the_planned_places():
    cache = Cache()
    own = states(1, 2, 3)
    cache.keep(unit("mha0"), dict(own))
    cache.trim(unit("mha0"), {2, 9})
    assert cache.kept[unit("mha0")] == {2: own[2]}


# --------------------------------------------------------------------------------------------- plan


def plan(num_tensors: float, num_blocks: int = 8, kept: bool = True, twice: bool = True) -> Places:
    return plan_places(range(num_blocks), num_tensors, kept=kept, twice=twice)


def test_with_memory_for_all_states_are_kept_everywhere():
    # Base at 1 ... 7: the inputs of four layers and the outputs of four attentions, twice: 16.
    # Candidates at 0, 1, ... keep what is behind them: 8 + 6 + 6 + 4 + 4 + 2 + 2 = 32.
    everywhere = frozenset(range(1, 8))
    assert plan(48) == Places(everywhere, everywhere)
    assert plan(47).base == everywhere
    assert plan(47).kept < everywhere


def test_candidates_keep_layer_inputs_in_the_last_two_thirds():
    # 16 of the base; one place p costs p tensors, one for each candidate in front of it.
    # A third and two thirds of the way from 7 / 3 to 7: 3.9 and 5.4.
    assert plan(16 + 4 + 4).kept == {4}
    assert plan(16 + 4 + 6).kept == {4, 6}
    assert plan(16 + 3).kept == frozenset()
    assert plan(1e9, kept=False).kept == frozenset()


def test_the_base_is_thinned_where_it_does_not_fit():
    assert plan(15).base == {2, 4, 6}
    assert plan(15, twice=False).base == set(range(1, 8))
    assert plan(5).base == {2, 4}
    assert plan(1) == Places(frozenset(), frozenset())


@pytest.mark.parametrize("num_blocks", [2, 5, 24, 64])
def test_a_plan_never_needs_more_than_there_is(num_blocks: int):
    def tensors(places, start: int) -> int:
        behind = [p for p in places if p > start]
        return len({p // 2 for p in behind}) + sum(p % 2 for p in behind)

    for budget in range(0, 3 * num_blocks**2, max(1, num_blocks // 3)):
        base, kept = plan(budget, num_blocks)
        assert kept <= base
        used = 2 * tensors(base, -1) + sum(tensors(kept, start) for start in range(num_blocks))
        assert used <= budget
