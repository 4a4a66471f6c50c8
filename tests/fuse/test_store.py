import numpy as np
import pytest

from inarch.errors import DataError
from inarch.fuse import Example, Examples, write_examples
from tests.fuse.test_objective import EXAMPLES


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "examples.arrow"
    plain = Example(EXAMPLES[1].row, None)
    write_examples(path, [EXAMPLES[:2], [plain]])
    stored = Examples(path)
    assert len(stored) == 3
    assert stored.lengths == [9, 5, 5]
    for made, expected in zip((stored[0], stored[1]), EXAMPLES, strict=False):
        np.testing.assert_array_equal(made.row.ids, expected.row.ids)
        np.testing.assert_array_equal(made.row.supervised, expected.row.supervised)
        for a, b in zip(made.lesson, expected.lesson, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
    assert stored[2].lesson is None
    with pytest.raises(IndexError):
        stored[3]


def test_a_cut_file_is_named(tmp_path):
    path = tmp_path / "examples.arrow"
    write_examples(path, [EXAMPLES])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"examples.arrow: not a whole Arrow file.*run the same"):
        Examples(path)
