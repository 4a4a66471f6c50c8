"""Calibration rows over which there is no mean."""

import pytest
import torch

from inarch.errors import DataError
from inarch.prune._rows import Rows, check_rows


def rows(mask: list[list[int]]) -> Rows:
    supervised_ST = torch.tensor(mask, dtype=torch.bool)
    return Rows(torch.zeros(supervised_ST.shape, dtype=torch.int64), supervised_ST)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Rows(torch.zeros(2, 4, dtype=torch.int64), torch.ones(2, 3) > 0), r"\(2, 4\).*\(2, 3\)"),
        (Rows(torch.zeros(4, dtype=torch.int64), torch.ones(4) > 0), "rows by positions"),
        (rows([[0]]), "of 1 tokens"),
        (Rows(torch.zeros(0, 4, dtype=torch.int64), torch.ones(0, 4) > 0), "found 0 calibration"),
        (rows([[1, 0], [1, 1]]), "last position"),
        (rows([[1, 0], [0, 0]]), "row 1 has no position"),
    ],
)
def test_rows_without_a_mean_are_refused(found: Rows, message: str):
    with pytest.raises(DataError, match=message):
        check_rows(found)


def test_rows_with_a_mean_pass():
    check_rows(rows([[1, 0], [1, 0]]))
