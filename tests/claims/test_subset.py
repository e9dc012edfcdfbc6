"""C12's rule: Base's probes above RLHF's on the other's text, in every case."""

import pytest

from predact.claims import foresight, subset
from tests.claims.test_foresight import DOWN, HITS, UNSURE, UP, told
from tests.made import shuffled


@pytest.mark.parametrize(("interval", "verdict"), [(DOWN, "holds"), (UP, "fails"), (UNSURE, "undecided")])
def test_base_has_to_be_above_rlhf_in_every_case(interval, verdict):
    frame = told(UP, UP)
    others = frame.text == foresight.OTHERS
    frame.loc[others, ["estimate", "low", "high"]] = (-9.0, -10.0, -8.0)
    decides = others & (frame.kind == foresight.QUESTIONS) & (frame.n == 2)
    frame.loc[decides, ["estimate", "low", "high"]] = interval
    found = subset.judge(frame)
    assert (found.id, found.protocol, found.verdict, found.n) == ("C12", "paper", verdict, 7)
    assert (found.estimate, found.low, found.high) == (-interval[0], -interval[2], -interval[1]), "the least of six"
    assert subset.judge(shuffled(frame)) == found


def test_where_neither_reads_the_other_the_claim_stays_open():
    found = subset.judge(foresight.differences(HITS[HITS.reader == HITS.author]))
    assert (found.id, found.verdict, found.estimate, found.n) == ("C12", "undecided", None, 0)
    assert "tokenizers differ" in found.unit
