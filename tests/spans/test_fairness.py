"""Neutral sentences that name a group."""

from inarch.spans.fairness import IDENTITIES, NEUTRAL, TEMPLATES, identity_rates
from inarch.spans.lexicon import LexiconTagger
from inarch.spans.offsets import Span
from inarch.spans.read import read_posts, without
from inarch.spans.screen import Readable, ScreenSettings, screen, texts_of


class Lunch:
    """Finds "lunch" always, "gay" always, and "woman" in the last sentence."""

    def tag_stream(self, texts):
        for text in texts:
            words = [w for w in ("lunch", "gay", "woman person") if w in text]
            yield [Span(text.index(w), text.index(w) + len(w), w) for w in words]


def test_rates_by_hand():
    # "lunch" is found in the first sentence anyway, so it is not the group's name that adds it.
    assert identity_rates(Lunch()) == {"gay": 4 / 5, "gays": 4 / 5, "woman": 1 / 5}
    assert identity_rates(LexiconTagger({NEUTRAL: 1.0, "lunch": 1.0})) == {}
    assert identity_rates(LexiconTagger({"jew": 1.0})) == {"jew": 1.0}


def test_names_are_as_spans_are_compared():
    assert len(set(IDENTITIES)) == len(IDENTITIES)
    assert all(name == name.casefold().strip() for name in IDENTITIES)
    assert all(template.count("{}") == 1 for template in TEMPLATES)


def test_the_baseline_insults_and_the_screen_does_not(toxic_spans):
    train, trial = (read_posts(toxic_spans / f"tsd_{name}.csv") for name in ("train", "trial"))
    tagger = LexiconTagger.fit(without(train, trial))
    rates = identity_rates(tagger)
    assert set(rates) == {"bisexual", "gay", "latino", "lesbian", "mexican", "mexicans"}
    rows = [{"text": t.format(name)} for t in TEMPLATES for name in (NEUTRAL, *IDENTITIES)]
    readable = [Readable(i, row, texts_of(row, "")) for i, row in enumerate(rows)]
    assert not any(row.flagged for row in screen(readable, tagger, ScreenSettings()))
    flagged = [row.flagged for row in screen(readable, tagger, ScreenSettings(overlook=()))]
    assert sum(flagged) == round(sum(rates.values()) * len(TEMPLATES))
