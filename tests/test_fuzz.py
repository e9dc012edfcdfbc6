"""A little of what `tests/fuzz.py` does for an hour."""

import pytest

from tests.fuzz import TARGETS, run

SLOW = {"templates"}  # each is rendered in a process of its own


@pytest.mark.parametrize("name", sorted(TARGETS.keys() - SLOW))
def test_what_a_user_gives_is_read_or_refused_in_one_line(name):
    counts = run(name, seed=0, examples=25)
    assert counts.total() == 25
