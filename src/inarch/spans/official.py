"""The files of SemEval-2021 Task 5, and how to tell them from others of the same name.

Source:   github.com/ipavlopoulos/toxic_spans (CC0), as of 2023-03; docs/methods/spans.md.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from inarch.errors import DataError

logger = logging.getLogger(__name__)


class Official(NamedTuple):
    """What an official file holds."""

    md5: str
    num_posts: int
    num_empty: int
    """Posts without a toxic character."""


OFFICIAL = {
    "tsd_train.csv": Official("5973ec67ffa7cba223bcfb618a4a136d", 7939, 485),
    "tsd_trial.csv": Official("1de9c0631c1aba2b3f25ae97ad9d7e2c", 690, 43),
    "tsd_test.csv": Official("e055fb79689e84c21529ae9c518481fe", 2000, 394),
}


def check_official(path: Path, offsets: Sequence[Sequence[int]]) -> None:
    """Refuse a file that is not the official one of its name.

    Args:
        path: The file.
        offsets: The toxic characters of each of its posts, as they were read.

    Raises:
        DataError: The sum of the file, its posts or those without a span are other than expected,
            or no official file has this name.
    """
    if path.name not in OFFICIAL:
        raise DataError(f"{path}: found this name; expected one of {', '.join(OFFICIAL)}")
    found = Official(_md5(path), len(offsets), sum(not row for row in offsets))
    expected = OFFICIAL[path.name]
    if found != expected:
        raise DataError(
            f"{path}: found {found.num_posts} posts, {found.num_empty} without a span, md5"
            f" {found.md5}; expected {expected.num_posts}, {expected.num_empty}, {expected.md5};"
            " take the file from the organisers"
        )


def tell_if_changed(path: Path) -> None:
    """Warn if a file has the name of an official one and another content."""
    official = OFFICIAL.get(path.name)
    if official and _md5(path) != official.md5:
        logger.warning(
            "%s has the name of an official file of SemEval-2021 Task 5, but not its content (md5"
            " %s); scores on it cannot be compared with published ones",
            path,
            official.md5,
        )


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
