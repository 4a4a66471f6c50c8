"""Compiled twins of plain code in several modules here, for methods that merge changes.

They are None where numba is not there. Loops that call each other are in one file, for the reason
that `inarch.compiled` gives; those that call none may lie beside their twins, as in ``_sums``.

Shapes: K = models, N = elements of a part, B = elements of a block, R = rows, C = columns.
"""

from typing import Any

import numpy as np

from inarch.compiled import as_bits, compiled

BLOCK = 1024
"""Elements whose sums stay in the nearest cache while all models are gone through."""

NUM_BITS = 31
FIRST, SECOND = 0x7FEB352D, 0x846CA68B
"""The multipliers of Wellons' ``lowbias32``, whose output bits flip with each input bit at close
to even odds."""


def _hash(index: Any, before: Any, within: Any) -> Any:
    """Return the bits of a flat index under a key, which is two uint32."""
    # numba widens sums and products of 32 bits to 64, so each is cut back
    bits = np.uint32(index) ^ before
    bits = np.uint32(bits ^ (bits >> np.uint32(16)))
    bits = np.uint32(bits * np.uint32(FIRST) + within)
    bits = np.uint32(bits ^ (bits >> np.uint32(15)))
    bits = np.uint32(bits * np.uint32(SECOND))
    bits = np.uint32(bits ^ (bits >> np.uint32(16)))
    return np.uint32(bits >> np.uint32(32 - NUM_BITS))


_hash = compiled(_hash) or _hash


def _bits_loop(first: Any, before: Any, within: Any, bits_N: Any) -> None:
    for i in range(bits_N.size):
        bits_N[i] = _hash(first + np.uint32(i), before, within)


def _sum_block(deltas_KB: Any, base_B: Any, how: Any, room_3B: Any, out_B: Any) -> None:
    """Write ``base + lambda sum_k w_k d_k``; `room_3B` is memory for sums."""
    weights_K, lambda_, size = how[0], how[5], out_B.size
    total_B = room_3B[0, :size]
    total_B[:] = np.float32(0)
    for k in range(weights_K.size):
        delta_B, weight = deltas_KB[k, :size], weights_K[k]
        for i in range(size):
            total_B[i] += delta_B[i] * weight
    for i in range(size):
        out_B[i] = base_B[i] + total_B[i] * lambda_


def _elect_block(deltas_KB: Any, base_B: Any, how: Any, room_3B: Any, out_B: Any) -> None:
    """Write what `combine` returns with an election; `room_3B` is memory for sums."""
    weights_K, votes_K, _, normalize, least, lambda_ = how
    zero, one, size = np.float32(0), np.float32(1), out_B.size
    sign_B, merged_B, share_B = room_3B[0, :size], room_3B[1, :size], room_3B[2, :size]
    room_3B[:] = zero
    for k in range(weights_K.size):
        delta_B, vote = deltas_KB[k, :size], votes_K[k]
        for i in range(size):
            sign_B[i] += delta_B[i] * vote
    for i in range(size):
        sign_B[i] = one if sign_B[i] >= zero else -one
    for k in range(weights_K.size):
        delta_B, vote, weight = deltas_KB[k, :size], votes_K[k], weights_K[k]
        for i in range(size):
            merged_B[i] += delta_B[i] * weight if delta_B[i] * vote * sign_B[i] > zero else zero
        for i in range(size if normalize else 0):
            share_B[i] += weight if delta_B[i] * vote * sign_B[i] > zero else zero
    for i in range(size if normalize else 0):
        share = share_B[i] if (share_B[i] > least) | (least == zero) else least
        merged_B[i] /= one if share == zero else share
    for i in range(size):
        out_B[i] = base_B[i] + merged_B[i] * lambda_


_sum_block = compiled(_sum_block) or _sum_block
_elect_block = compiled(_elect_block) or _elect_block


def _combine_loop(deltas_KN: Any, base_N: Any, how: Any, out_N: Any) -> None:
    room_3B = np.empty((3, BLOCK), np.float32)
    deltas_KB = np.empty((deltas_KN.shape[0], BLOCK), np.float32)
    for start in range(0, out_N.size, BLOCK):
        end = min(start + BLOCK, out_N.size)
        for k in range(deltas_KN.shape[0]):
            deltas_KB[k, : end - start] = deltas_KN[k, start:end]
        if how[2]:
            _elect_block(deltas_KB, base_N[start:end], how, room_3B, out_N[start:end])
        else:
            _sum_block(deltas_KB, base_N[start:end], how, room_3B, out_N[start:end])


def _bands_loop(
    models_KN: Any, base_N: Any, limits_K2: Any, scales_K: Any, how: Any, out_N: Any
) -> None:
    room_3B = np.empty((3, BLOCK), np.float32)
    deltas_KB = np.empty((scales_K.size, BLOCK), np.float32)
    for start in range(0, out_N.size, BLOCK):
        end = min(start + BLOCK, out_N.size)
        base_B = base_N[start:end]
        for k in range(scales_K.size):
            low, high, scale = limits_K2[k, 0], limits_K2[k, 1], scales_K[k]
            model_B, delta_B = models_KN[k, start:end], deltas_KB[k]
            for i in range(end - start):
                delta = model_B[i] - base_B[i]
                bits = as_bits(delta) & np.uint32(0x7FFFFFFF)
                delta_B[i] = delta * scale if (bits >= low) & (bits < high) else np.float32(0)
        if how[2]:
            _elect_block(deltas_KB, base_B, how, room_3B, out_N[start:end])
        else:
            _sum_block(deltas_KB, base_B, how, room_3B, out_N[start:end])


def _drawn_loop(models_KN: Any, base_N: Any, first: Any, draws: Any, how: Any, out_N: Any) -> None:
    draws_K3, scales_K = draws
    room_3B = np.empty((3, BLOCK), np.float32)
    deltas_KB = np.empty((scales_K.size, BLOCK), np.float32)
    for start in range(0, out_N.size, BLOCK):
        end = min(start + BLOCK, out_N.size)
        base_B = base_N[start:end]
        for k in range(scales_K.size):
            before, within, limit = draws_K3[k, 0], draws_K3[k, 1], draws_K3[k, 2]
            model_B, delta_B, scale = models_KN[k, start:end], deltas_KB[k], scales_K[k]
            origin = first + np.uint32(start)
            for i in range(end - start):
                is_drawn = _hash(origin + np.uint32(i), before, within) < limit
                delta = (model_B[i] - base_B[i]) * scale
                delta_B[i] = delta if is_drawn else np.float32(0)
        if how[2]:
            _elect_block(deltas_KB, base_B, how, room_3B, out_N[start:end])
        else:
            _sum_block(deltas_KB, base_B, how, room_3B, out_N[start:end])


def _spread_block(models_KN: Any, start: Any, mean_B: Any, out_B: Any) -> None:
    """Write what ``sce.spread`` returns of the elements from `start` on."""
    num_models, n = models_KN.shape[0], out_B.size
    first_B = models_KN[0, start : start + n]
    mean_B[:] = np.float32(0)
    for k in range(1, num_models):
        model_B = models_KN[k, start : start + n]
        for i in range(n):
            mean_B[i] += model_B[i] - first_B[i]
    for i in range(n):
        mean_B[i] /= np.float32(num_models)
        out_B[i] = mean_B[i] * mean_B[i]
    for k in range(1, num_models):
        model_B = models_KN[k, start : start + n]
        for i in range(n):
            distance = (model_B[i] - first_B[i]) - mean_B[i]
            out_B[i] += distance * distance


_spread_block = compiled(_spread_block) or _spread_block


def _spread_loop(models_KN: Any, spread_N: Any) -> None:
    mean_B = np.empty(BLOCK, np.float32)
    for start in range(0, spread_N.size, BLOCK):
        _spread_block(models_KN, start, mean_B, spread_N[start : start + BLOCK])


def _varying_loop(models_KN: Any, base_N: Any, floor: Any) -> None:
    """Write the changes in the place of the models, 0 where the spread's bits are below `floor`."""
    mean_B, spread_B = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    for start in range(0, base_N.size, BLOCK):
        base_B = base_N[start : start + BLOCK]
        n = base_B.size
        _spread_block(models_KN, start, mean_B, spread_B[:n])
        for k in range(models_KN.shape[0]):
            model_B = models_KN[k, start : start + n]
            for i in range(n):
                delta = model_B[i] - base_B[i]
                model_B[i] = delta if as_bits(spread_B[i]) >= floor else np.float32(0)


def _squares_loop(values_N: Any, sums_L: Any) -> None:
    lanes = sums_L.size
    whole = values_N.size // lanes * lanes
    for start in range(0, whole, lanes):
        values_L = values_N[start : start + lanes]
        for i in range(lanes):
            sums_L[i] += np.float64(values_L[i] * values_L[i])
    for i in range(values_N.size - whole):
        sums_L[i] += np.float64(values_N[whole + i] * values_N[whole + i])


def _average_changes_loop(
    models_KN: Any, base_N: Any, epsilon: Any, scales_K: Any, out_N: Any
) -> None:
    zero, one = np.float32(0), np.float32(1)
    room_3B = np.empty((3, BLOCK), np.float32)
    for start in range(0, out_N.size, BLOCK):
        end = min(start + BLOCK, out_N.size)
        base_B, out_B = base_N[start:end], out_N[start:end]
        total_B, alone_B, count_B = room_3B[0], room_3B[1], room_3B[2]
        room_3B[:] = zero
        for k in range(scales_K.size):
            model_B, scale = models_KN[k, start:end], scales_K[k]
            for i in range(end - start):
                delta = model_B[i] - base_B[i]
                is_change = abs(delta) > epsilon
                total_B[i] += delta if is_change else zero
                alone_B[i] += delta * scale if is_change else zero
                count_B[i] += one if is_change else zero
        for i in range(end - start):
            mean = total_B[i] / max(count_B[i], one)
            out_B[i] = base_B[i] + (alone_B[i] if count_B[i] == one else mean)


def _ranks_loop(bits_RC: Any, ranks_RC: Any) -> None:
    """Sort each row by three digits of its 31 bits, the last first; equals from right to left."""
    columns = bits_RC.shape[1]
    counts = np.empty((3, 2048), np.int32)
    one_C, two_C = np.empty(columns, np.int32), np.empty(columns, np.int32)
    digit = np.uint32(2047)
    for row in range(bits_RC.shape[0]):
        bits_C, ranks_C = bits_RC[row], ranks_RC[row]
        counts[:] = 0
        for i in range(columns):
            bits = bits_C[i]
            counts[0, bits & digit] += 1
            counts[1, (bits >> np.uint32(11)) & digit] += 1
            counts[2, bits >> np.uint32(22)] += 1
        for which in range(3):
            before = 0
            for value in range(2048):
                count = counts[which, value]
                counts[which, value] = before
                before += count
        for i in range(columns - 1, -1, -1):
            value = bits_C[i] & digit
            one_C[counts[0, value]] = i
            counts[0, value] += 1
        for i in range(columns):
            value = (bits_C[one_C[i]] >> np.uint32(11)) & digit
            two_C[counts[1, value]] = one_C[i]
            counts[1, value] += 1
        for i in range(columns):
            value = bits_C[two_C[i]] >> np.uint32(22)
            ranks_C[two_C[i]] = counts[2, value]
            counts[2, value] += 1


uniform_bits = compiled(_bits_loop)
combine = compiled(_combine_loop)
bands = compiled(_bands_loop)
drawn = compiled(_drawn_loop)
spread = compiled(_spread_loop)
varying = compiled(_varying_loop)
squares = compiled(_squares_loop)
ranks = compiled(_ranks_loop)
average_changes = compiled(_average_changes_loop)
