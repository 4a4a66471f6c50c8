"""Which tokens of a text are predicted together, and from which that stand before.

Source:  lm-evaluation-harness 0.4.13 (``get_rolling_token_windows``), Hugging Face's guide to
         perplexity of models of fixed length, and the loop of GPTQ's evaluation, which papers on
         quantisation and pruning share.
Differs: a stride in `rolling` is lm-eval's ``context_len = window - stride + 1``, which its models
         never set. The guide divides by one token less per window than it has added up; here each
         token that is predicted counts as one.
"""

from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """Tokens ``begin`` to ``end`` of a stream are read; the last ``num`` of them predict one each.

    So tokens ``end - num + 1`` to ``end``, the end included, are those that are scored.
    """

    begin: int
    end: int
    num: int


def rolling(num_tokens: int, window: int, stride: int) -> list[Window]:
    """Return windows over a stream of one token in front and ``num_tokens`` that are scored.

    The first window predicts as many tokens as it reads, all others at most ``stride`` new ones
    behind as much context as fits: with ``stride = window``, whole windows have but one token of
    context, and only the last one, which is short, reads some tokens again.
    """
    done = min(window, num_tokens)
    windows = [Window(0, done, done)] if done else []
    while done < num_tokens:
        new = min(num_tokens - done, stride)
        done += new
        windows.append(Window(done - window, done, new))
    return windows


def strided(num_tokens: int, window: int, stride: int) -> list[Window]:
    """Return windows over a stream of ``num_tokens`` of which the first is not scored.

    Window k begins at ``k stride``; what an earlier one scored is context. Without overlap, the
    first token of no window is scored, as nothing that it could follow from is read.
    """
    windows: list[Window] = []
    done = begin = 0
    while done < num_tokens:
        end = min(begin + window, num_tokens)
        windows.append(Window(begin, end - 1, min(end - done, end - begin - 1)))
        done, begin = end, begin + stride
    return [window for window in windows if window.num]


def chunks(num_tokens: int, window: int) -> list[Window]:
    """Return disjoint windows of one length, whose first tokens are not scored; no rest."""
    begins = range(0, num_tokens - window + 1, window)
    return [Window(begin, begin + window - 1, window - 1) for begin in begins]
