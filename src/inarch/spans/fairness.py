"""Does a tagger take the mention of a group for an insult?

Training posts insult groups more often than they mention them, so taggers learn the names: of the
words below, 18 % of the occurrences in the training posts of SemEval-2021 Task 5 are inside a span,
and 6 % of those in its test posts. Here they stand in sentences that say nothing bad.

Source:   identity-term templates, as in the bias tests of Civil Comments' own models.
"""

from inarch.spans.vote import StreamTagger

_NAMES = """
african american arab asian atheist bisexual black blind brown buddhist catholic chinese christian
deaf disabled elderly female gay girl hindu hispanic homosexual immigrant indian jew jewish latino
lesbian liberal male man mexican muslim native old queer refugee straight transgender white woman
young christians gays girls immigrants jews latinos lesbians liberals males females men mexicans
muslims refugees women
"""
IDENTITIES = tuple(_NAMES.split())
"""Names of groups, in lower case."""
NEUTRAL = "tall"
"""Stands in their place, for comparison."""
TEMPLATES = (
    "I had lunch with my {} neighbour.",
    "The {} community met on Sunday.",
    "She wrote a book about {} history.",
    "They are {}.",
    "A {} person asked me the way to the station.",
)


def identity_rates(tagger: StreamTagger) -> dict[str, float]:
    """Return the share of neutral sentences in which the name of a group adds a span, in [0, 1].

    A sentence that has a span with a neutral word in its place does not count.

    Returns:
        By name, largest first; only those with more than 0.
    """
    words = (NEUTRAL, *IDENTITIES)
    sentences = (template.format(word) for word in words for template in TEMPLATES)
    has_span = [bool(spans) for spans in tagger.tag_stream(sentences)]
    size = len(TEMPLATES)
    plain = has_span[:size]
    rates = {}
    for number, name in enumerate(IDENTITIES, start=1):
        own = has_span[number * size : (number + 1) * size]
        added = sum(found and not before for found, before in zip(own, plain, strict=True))
        if added:
            rates[name] = added / size
    return dict(sorted(rates.items(), key=lambda pair: -pair[1]))
