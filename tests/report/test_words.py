"""Numbers as readers want them."""

import pytest

from inarch.report._words import compact, count, duration, leaves, listed, percent, points, signed


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(25317.0), "25,317"),
        (compact(876_032), "0.88 M"),
        (compact(260_032), "0.26 M"),
        (compact(7_241_732_096), "7.24 B"),
        (compact(99_999), "99,999"),
        (percent(0.96797), "96.8%"),
        (percent(1.0, 0), "100%"),
        (points(0.0811), "+8.1"),
        (points(-0.427), "−42.7"),
        (points(-0.0001), "0.0"),
        (signed(0.1983, 3), "+0.198"),
        (duration(0.25), "0.2 s"),
        (duration(59.6), "1 min 0 s"),
        (duration(431.2), "7 min 11 s"),
        (duration(3 * 3600 + 61), "3 h 1 min"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_numbers_and_lists(shown, expected):
    assert shown == expected


def test_settings_have_one_line_per_leaf():
    settings = {
        "a": {"b": 1e-5, "c": None},
        "d": [{"e": "x"}, {"e": True}],
        "f": [0.9, 0.95],
        "g": {},
    }
    assert leaves(settings) == {
        "a.b": "1e-05",
        "a.c": "null",
        "d.0.e": "x",
        "d.1.e": "true",
        "f": "[0.9, 0.95]",
        "g": "{}",
    }
