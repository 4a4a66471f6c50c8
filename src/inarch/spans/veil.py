"""Texts that can be shown: of words that were marked, one letter is left.

A veil is as long as what it covers, so spans stay where they are. Marked words are veiled in full,
even if a mark covers a part of them. So are, in all texts, *known* words: those that a mark
somewhere covers alone, but for names of groups (`inarch.spans.fairness`), and longer words in which
one of at least four letters stands. What nobody marked anywhere can still be read.
"""

from collections.abc import Collection, Iterable, Iterator

from inarch.spans.fairness import IDENTITIES
from inarch.spans.offsets import strip_range
from inarch.spans.words import WORD

Range = tuple[int, int]
VEIL = "*"
_STEM = 4
"""Letters from which a known word is looked for in longer ones."""


class Veil:
    """Knows the words that are to be veiled."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        """Hold words in any case."""
        self._known = {word.casefold() for word in known}
        self._stems = sorted(word for word in self._known if len(word) >= _STEM)
        self._found: dict[str, bool] = {}

    def over(self, text: str, marks: Collection[Range] = ()) -> str:
        """Return the text, veiled; it has the same length, and white space where it was.

        Args:
            text: Any text.
            marks: Start and end of what is marked in it.
        """
        letters = list(text)
        marked = set().union(*(range(*mark) for mark in marks))
        firsts = {strip_range(text, *mark)[0] for mark in marks}
        for word in WORD.finditer(text):
            start, end = word.span()
            if not (word[0].isascii() or word[0][0].isalnum()):
                continue  # an emoji, or a part of one
            if not marked.isdisjoint(range(start, end)):
                # Words of one letter may spell another: s-h-i-t.
                shown = start if end - start > 1 or start in firsts else None
            elif self._is_known(word[0].casefold()):
                shown = start
            else:
                continue
            for at in range(start, end):
                letters[at] = letters[at] if at == shown else VEIL
        return "".join(letters)

    def _is_known(self, word: str) -> bool:
        found = self._found.get(word)
        if found is None:
            longer = len(word) > _STEM and any(stem in word for stem in self._stems)
            found = self._found[word] = word in self._known or longer
        return found


def veiled(text: str) -> str:
    """Return a text that is marked as a whole, veiled; see `Veil.over`."""
    return Veil().over(text, [(0, len(text))])


def marked_words(text: str, marks: Iterable[Range]) -> Iterator[str]:
    """Yield the words that a mark covers alone, without regard to capitals."""
    for start, end in marks:
        words = WORD.findall(text, start, end)
        if len(words) == 1 and len(words[0]) > 1 and words[0].casefold() not in IDENTITIES:
            yield words[0].casefold()
