"""C11: RLHF, although it samples, is surer of its next token than Base is when it always takes the likeliest.

Sampling from fewer tokens makes texts alike, too. The paper's last resort against the thought that low diversity is all
there is: no decoding of Base is less diverse than the greedy one (Figure 16, Table 4).
"""

from dataclasses import replace

import pandas as pd

from predact.claims import materials
from predact.claims.mass import more_mass
from predact.claims.materials import Work
from predact.claims.verdict import Claim, Verdict, all_above, conclude, only, unmeasured
from predact.models import distributions, tokens
from predact.models.distributions import Conditions
from predact.models.pairs import ENDS
from predact.models.passages import GREEDY, MATCHED, OWN, own_passages
from predact.models.runs import Run
from predact.models.tokens import Per

CLAIM = Claim(
    id="C11",
    claim="RLHF, sampled, gathers more of the next-token probability on a few tokens than Base decoded greedily.",
    figure="Figure 16, Table 4",
    chapter="03_collapse",
    work=lambda run: materials.conditions_work(run) | work(run),
    paper="Llama 2 70B, k = 1, 2, 3, 5, 10: RLHF 0.880, 0.948, 0.968, 0.980, 0.980, "
    "greedy Base 0.916, 0.946, 0.960, 0.970, 0.970",
)


def generations(run: Run) -> pd.DataFrame:
    """One generation of Base and RLHF for each prompt, always the likeliest token: see `sampling.sample_pair`."""
    how = replace(run.settings.sampling, generations=1, top_p=1.0, temperature=1.0, top_k=1)
    return materials.sampled(run, how, ENDS, materials.questions(run))


def conditions(run: Run) -> Conditions:
    """Next-token distributions of Base and RLHF on their greedy generations, and of Base's at matched diversity."""
    told, greedily, matched = run.settings, generations(run), materials.matched(run)
    read = {(step, GREEDY): own_passages(greedily[greedily.model == step], 1) for step in ENDS}
    read["Base", MATCHED] = own_passages(matched[matched.model == "Base"], told.measured)
    return {
        (step, text): distributions.measure_distributions(
            run.root,
            run.pair.models[step],
            passages,
            told.positions,
            run.seed,
            tokens.pair_window_lead(run.pair, step),
        )
        for (step, text), passages in read.items()
    }


def judge(conditions: Conditions, per: Per) -> tuple[pd.DataFrame, Verdict]:
    """C11: does RLHF give more probability to a few tokens in its samples than Base in its greedy generations?

    The measure is the mean mass of the k most probable tokens: RLHF's on its own generations minus Base's on its greedy
    ones. Prompts are resampled, with the positions of both. The rule, `all_above` 0, covers every k of `mass.KS`. The
    estimate is the smallest of these differences. Those from Base's other generations stand beside it: sampled at the
    same p, and at the p that matches diversity.

    Args:
        conditions: what `distributions.measure_pair` and `greedy.conditions` return, together.
        per: see `tokens.compared_per`; if the models can be compared per byte only, the claim stays undecided.

    Returns:
        base (what Base has written), k, n (prompts), estimate, low, high, and the verdict.
    """
    parts = {
        text: more_mass(conditions["Base", text], conditions["RLHF", OWN])
        for text in (GREEDY, MATCHED, OWN)
        if ("Base", text) in conditions
    }
    each, wanted = pd.concat(parts, names=["base"]).reset_index("base"), parts[GREEDY]
    least = only(wanted.nsmallest(1, "estimate"))
    unit = f"more mass of the {int(least.k)} likeliest tokens than greedy Base"
    if per is not Per.TOKEN:
        return each, unmeasured(CLAIM, unit)
    return each, conclude(CLAIM, all_above(wanted.low, wanted.high, nothing=0), least, unit, least.n)


def work(run: Run) -> dict[str, Work]:
    """Tokens of `conditions`, and of the generations that they need."""
    asked, longest = len(materials.questions(run)), run.settings.max_new_tokens
    greedily, matched = len(ENDS) * asked * longest, asked * run.settings.measured * longest
    return materials.matched_work(run) | {"greedy": Work(scored=greedily + matched, sampled=greedily)}
