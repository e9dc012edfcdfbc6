"""C12: Base's hidden states tell more of RLHF's text than RLHF's of Base's, as if RLHF lived in a part of Base.

The paper's Figure 6, right: the linear probes of C9, each model reading what the other has written.
"""

import pandas as pd

from predact.claims import foresight
from predact.claims.foresight import OTHERS
from predact.claims.verdict import Claim, Verdict, all_above, conclude, unmeasured

CLAIM = Claim(
    id="C12",
    claim="Base's hidden states tell more of RLHF's text than RLHF's tell of Base's.",
    figure="Figure 6, right",
    chapter="06_planning",
    work=foresight.probes_work,
    paper="Llama 2 7B, right one, two, three tokens on: prompts of the Pile, Base 11.0, 8.6, 5.8 %, "
    "RLHF 9.7, 7.1, 5.2 %; of Helpful, Base 19.1, 9.0, 6.7 %, RLHF 17.4, 8.8, 6.2 %",
)


def judge(differences: pd.DataFrame) -> Verdict:
    """C12: is Base's accuracy on RLHF's text above RLHF's on Base's, wherever it is measured?

    The rule is that Base - RLHF lies above 0 at one, two and three tokens, for both kinds of prompts. The estimate is
    the smallest of the six.

    Args:
        differences: what `foresight.differences` returns; without rows (the tokenizers differ, so neither reads the
            other's text) the claim stays undecided.
    """
    unit = "percentage points that Base's probes are more often right, each on the other's text, the least of six"
    if differences.empty:
        return unmeasured(CLAIM, unit)
    others = differences[differences.text == OTHERS]
    turned = others.assign(estimate=-others.estimate, low=-others.high, high=-others.low)
    least = turned.sort_values(["estimate", "low", "high"]).iloc[0]
    return conclude(CLAIM, all_above(turned.low, turned.high, nothing=0), least, unit, least.prompts)
