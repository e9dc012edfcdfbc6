"""C9: linear probes of RLHF's hidden states predict more of its own coming tokens than Base's do of Base's.

The paper's measure (section 4, Figure 6): a linear probe of one layer, fitted and tested on generations, and how often
its first guess is right one, two and three tokens after the token that the model is about to predict. Ours: the probe's
gain over counts of the same text, both models as readers of both authors.
"""

from dataclasses import replace
from itertools import chain
from math import ceil

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials, self_reading
from predact.claims.materials import Work
from predact.claims.verdict import Claim, Verdict, all_above, conclude, only, unmeasured
from predact.methods import probes
from predact.methods.probes import AFFINE, SKIP, Design
from predact.models import loading
from predact.models.pairs import ENDS, Pair
from predact.models.passages import GOLD, OWN
from predact.models.runs import Run
from predact.texts import corpora, sources

CLAIM = Claim(
    id="C9",
    claim="Linear probes tell more of RLHF's own coming tokens than of Base's.",
    figure="Figure 6, left",
    chapter="06_planning",
    work=lambda run: probes_work(run),
    paper="Llama 2 7B, right one, two, three tokens on: prompts of the Pile, Base 10.6, 7.6, 6.4 %, "
    "RLHF 11.4, 7.7, 6.5 %; of Helpful, Base 22.3, 10.9, 8.8 %, RLHF 23.4, 12.4, 10.1 %",
)

BEGINNINGS, QUESTIONS = "beginnings of documents", "questions"
OTHERS = "the other's generations"
AFTER = (1, 2, 3)  # tokens after the one that is about to be predicted
PERCENT, POINTS = "percent of tokens guessed right", "percentage points, RLHF - Base"
AHEAD = 2  # the smallest offset of `contrasts`: the token after the one being predicted
PAPERS, OF_RLHF, OF_BASE = (
    "RLHF reading RLHF, minus Base reading Base",
    "RLHF's text: RLHF reading, minus Base reading",
    "Base's text: Base reading, minus RLHF reading",
)
LARGER = "the second minus the third: is RLHF's advantage at home the larger one?"
INTERACTION = "the second plus the third, the interaction: has each the advantage at home?"
CONTRASTS = [PAPERS, OF_RLHF, OF_BASE, LARGER, INTERACTION]


def of_one_layer(sums: pd.DataFrame, layer: int) -> pd.DataFrame:
    """Choose what the paper's Figure 6 is about: one layer's affine probe, tokens by their distance n, no gold text.

    At position t a model has read token t and is about to predict t + 1. Offsets count from t, so the token n places
    after the one about to be predicted, t + 1 + n, has offset n + 1.

    Args:
        sums: what `probes.cross_probes` returns, with a column kind (`BEGINNINGS` or `QUESTIONS`).
        layer: its number.

    Returns:
        kind, reader, author, n (`AFTER`), group (a prompt), count (positions), hits (first guesses that were right).
    """
    kept = sums.assign(n=sums.offset - 1, hits=sums["top-1"])
    kept = kept[(kept.source == AFFINE) & (kept.layer == layer) & (kept.author != GOLD) & kept.n.isin(AFTER)]
    return kept[["kind", "reader", "author", "n", "group", "count", "hits"]].reset_index(drop=True)


def accuracy(hits: pd.DataFrame) -> pd.DataFrame:
    """Share of tokens that are a probe's first guess, with intervals from resampling the prompts.

    Args:
        hits: what `of_one_layer` returns.

    Returns:
        kind, text (`OWN` or `OTHERS`), model (the reader), n, estimate (percent), low, high, unit, prompts, positions.
    """
    rows = []
    for (kind, reader, author), part in hits.groupby(["kind", "reader", "author"], sort=False):
        wide = _by_prompt(part)
        value = stats.interval(wide.to_numpy(float), lambda totals: 100 * stats.means(totals))
        place = {"kind": kind, "text": OWN if reader == author else OTHERS, "model": reader, "unit": PERCENT}
        size = {"prompts": len(wide), "positions": int(wide["count"].sum())}
        rows.append(stats.tidy(value, [("n", AFTER)], **place, **size))
    return pd.concat(rows, ignore_index=True)


def differences(hits: pd.DataFrame) -> pd.DataFrame:
    """RLHF's probes less Base's, each reading its own text, and each reading the other's: paired by prompt.

    Args:
        hits: what `of_one_layer` returns.

    Returns:
        kind, text (`OWN` or `OTHERS`), n, estimate (percentage points), low, high, unit, prompts; no rows if neither
        reads the other's text: then the two cut text into different tokens, and shares of these do not compare.
    """
    cells = {place: _by_prompt(part) for place, part in hits.groupby(["kind", "reader", "author"])}
    rows = []
    for kind in hits.kind.unique():
        for text, authors in ((OWN, ENDS), (OTHERS, ENDS[::-1])):
            pair = [cells.get((kind, reader, author)) for reader, author in zip(ENDS, authors, strict=True)]
            if any(cell is None for cell in pair):
                return pd.DataFrame(columns=["kind", "text", "n", "estimate", "low", "high", "unit", "prompts"])
            both = pd.concat(pair, axis=1).fillna(0).to_numpy(float)  # few prompts have been tested with one text only
            value = stats.interval(both, _more_of_rlhf)
            rows.append(stats.tidy(value, [("n", AFTER)], kind=kind, text=text, unit=POINTS, prompts=len(both)))
    return pd.concat(rows, ignore_index=True)


def _by_prompt(hits: pd.DataFrame) -> pd.DataFrame:
    """Hits at each distance, and positions, of one reader and author: a row for each prompt, columns `AFTER`, count."""
    wide = hits.pivot(index="group", columns="n", values="hits")[list(AFTER)]
    return wide.assign(count=hits.groupby("group")["count"].first())


def _more_of_rlhf(totals: np.ndarray) -> np.ndarray:
    """Turn totals [..., Base's hits and count, RLHF's] into differences of shares in percentage points."""
    base, rlhf = np.split(totals, 2, axis=-1)
    return 100 * (stats.means(rlhf) - stats.means(base))


def judge(differences: pd.DataFrame) -> Verdict:
    """C9 by the paper's measure: is RLHF's accuracy on its own text above Base's on Base's, wherever it is measured?

    The rule is that the difference lies above 0 at one, two and three tokens, for both kinds of prompts. The estimate
    is the smallest of the six.

    Args:
        differences: what `differences` returns; without rows (the tokenizers differ) the claim stays undecided.
    """
    unit = "percentage points that RLHF's probes are more often right, each on its own text, the least of six"
    if differences.empty:
        return unmeasured(CLAIM, unit)
    own = differences[differences.text == OWN]
    least = own.sort_values(["estimate", "low", "high"]).iloc[0]
    return conclude(CLAIM, all_above(own.low, own.high, nothing=0), least, unit, least.prompts)


def contrasts(sums: pd.DataFrame) -> pd.DataFrame:
    """Compare readers by the affine probe's gain over the skip-gram, averaged over layers and offsets from AHEAD on.

    Returns:
        contrast, estimate (bits per token), low, high, prompts; no rows if a reader cannot read the other's text.
    """
    far = sums[(sums.offset >= AHEAD) & sums.source.isin([AFFINE, SKIP])].assign(bits=lambda each: each.nll / np.log(2))
    cells = {}
    for (reader, author), part in far.groupby(["reader", "author"]):
        means = part.groupby(["source", "group"])[["bits", "count"]].mean()  # same layers and offsets everywhere
        cells[reader, author] = means.loc[SKIP].bits - means.loc[AFFINE].bits, means.loc[SKIP]["count"]
    places = [(reader, author) for author in ENDS for reader in ENDS]
    if not set(places) <= cells.keys():
        return pd.DataFrame(columns=["contrast", "estimate", "low", "high", "prompts"])
    columns = [column for place in places for column in cells[place]]
    table = pd.concat(columns, axis=1).dropna().to_numpy(float)  # prompts that were tested with both authors' texts

    def gained(totals: np.ndarray) -> np.ndarray:
        base, easy, hard, rlhf = (totals[..., 2 * n] / totals[..., 2 * n + 1] for n in range(4))
        second, third = rlhf - hard, base - easy
        return np.stack([rlhf - base, second, third, second - third, second + third], -1)

    value = stats.interval(table, gained)
    return pd.DataFrame({"contrast": CONTRASTS} | vars(value)).assign(prompts=len(table))


def objection_in_words(contrasts: pd.DataFrame) -> str:
    """Say what the crossed design implies for the objection that RLHF's text is merely easier (Markdown)."""
    if contrasts.empty:
        return "The two cut text into different tokens, so neither can read the other's: nothing tests the objection."
    rows = contrasts.set_index("contrast")
    own, second, third, larger = (rows.loc[name] for name in (PAPERS, OF_RLHF, OF_BASE, LARGER))
    said = [
        "RLHF's states tell more of RLHF's text than Base's tell of Base's"
        if own.low > 0
        else "RLHF's states do not surely tell more of RLHF's text than Base's tell of Base's"
    ]
    said[0] += f" ({own.estimate:+.2f} bits per token). This is the paper's comparison, by our measure."
    if second.low > 0:
        said.append(
            "**The objection is not the whole story:** in the very same text, RLHF's, its states tell "
            f"{second.estimate:.2f} bits more than Base's do, so it is not the text alone."
        )
    else:
        less = "do not tell more" if second.high < 0 else "do not surely tell more"
        said.append(f"**The objection stands:** in the very same text, RLHF's, its states {less} than Base's.")
    if third.low > 0:
        size = "larger" if larger.low > 0 else "smaller" if larger.high < 0 else "no larger or smaller for sure"
        said.append(
            f"But Base has such an advantage at home too ({third.estimate:.2f} bits): being at home explains that each "
            f"reads its own text best. RLHF's advantage is {size}."
        )
    else:
        said.append("Base has no sure advantage in its own text, so being at home does not explain it.")
    return " ".join(said)


def judge_beyond(contrasts: pd.DataFrame) -> Verdict:
    """C9 by ours: do RLHF's states tell more of RLHF's text than Base's, beyond what each tells more at home?

    The measure is the gain of an affine probe over skip-gram counts of the same text, in bits per token. The rule,
    `all_above` 0, covers the interaction of reader and author: RLHF's gain minus Base's on RLHF's text, less the same
    difference on Base's text. Text that is easier to predict is easier for both readers, so it cancels.

    Args:
        contrasts: what `contrasts` returns; without rows (the tokenizers differ) the claim stays undecided.
    """
    unit = "bits per token that RLHF's states tell more of RLHF's text, beyond Base's"
    if contrasts.empty:
        return unmeasured(CLAIM, unit, "book")
    row = only(contrasts[contrasts.contrast == INTERACTION])
    said = all_above(pd.Series([row.low]), pd.Series([row.high]), nothing=0)
    return conclude(CLAIM, said, row, unit, row.prompts, 0.0, "book")


def crossed(run: Run) -> pd.DataFrame:
    """Probe Base and RLHF as readers of what each has written, and of gold text: see `probes.cross_probes`."""
    return probes.cross_probes(run.root, run.pair, materials.generations(run), materials.texts(run), design(run))


def one_layer(run: Run) -> pd.DataFrame:
    """Probe one layer on generations after questions, and after beginnings of documents: see `of_one_layer`.

    The probes of questions are those of `crossed`. Those of beginnings are tested on as many positions as they are
    fitted on: the paper's differences are small there.
    """
    layer, whole = probe_layer(run), design(run)
    one = replace(whole, layers=[layer], trained=[], tested=whole.positions)
    begun = probes.cross_probes(run.root, run.pair, beginnings(run), [], one)
    return of_one_layer(pd.concat([begun.assign(kind=BEGINNINGS), crossed(run).assign(kind=QUESTIONS)]), layer)


def beginnings(run: Run) -> pd.DataFrame:
    """Let both models continue beginnings of documents, each once, as in Figure 5: see `self_reading.complete`.

    Returns:
        model, prompt (number of a beginning), sample (0), given, ids.
    """
    told = run.settings
    found = corpora.select(_corpora(run), _documents(run), run.seed, run.root)
    cut = self_reading.cut_beginnings(loading.tokenizer(run.pair.models["Base"]), found, told.prefix, 1)
    prefixes = list(chain.from_iterable(source.prefixes for source in cut))
    whole = self_reading.Source(BEGINNINGS, BEGINNINGS, prefixes, [])
    how = replace(told.sampling, generations=1, max_new_tokens=told.completion_tokens)
    made = [self_reading.complete(run.root, run.pair, step, whole, how, run.seed).assign(model=step) for step in ENDS]
    return pd.concat(made).rename_axis("prompt").reset_index().assign(sample=0)


def _documents(run: Run) -> int:
    """How many documents of each corpus are begun: their completions, at full length, hold four times the positions.

    Three eighths of the prompts are for training, and completions may be shorter than they are allowed to be.
    """
    return ceil(4 * run.settings.probe_positions / run.settings.completion_tokens / len(_corpora(run)))


def _corpora(run: Run) -> list[str]:
    """Names of a run's corpora of pretraining text, as the paper's Pile is; all corpora if none is known as such."""
    names, known = corpora.expanded(run.settings.corpora or run.pair.corpora), sources.datasets()
    return [name for name in names if name in known and known[name].category == "pretraining"] or names


def design(run: Run) -> Design:
    """What is probed in a run: the layer of the paper's figure is always among the layers."""
    told = run.settings
    layers = told.layers or evenly_spaced_layers(run.pair)
    trained = told.trained or layers[len(layers) // 2 :][:1]
    read = sorted({*layers, probe_layer(run)})
    return Design(read, trained, told.probe_positions, told.probe_positions // 4, told.probe_rank, run.seed)


def probe_layer(run: Run) -> int:
    """Return the layer of the paper's figure: as told, else at seven eighths of the depth, as its 28 of 32."""
    return run.settings.probe_layer or _depth(run.pair) * 7 // 8


def evenly_spaced_layers(pair: Pair, count: int = 5) -> list[int]:
    """Return `count` layers of a pair's models, evenly spaced from the embeddings to the last layer."""
    return sorted({round(place) for place in np.linspace(0, _depth(pair), count)})


def _depth(pair: Pair) -> int:
    return min(loading.depth(pair.models[step]) for step in ENDS)


def probes_work(run: Run) -> dict[str, Work]:
    """Tokens of generations and `beginnings`, and those read to fit, calibrate and test probes.

    Those of `crossed` have two readers and three authors, those of beginnings two of each.
    """
    told = run.settings
    written = len(ENDS) * len(_corpora(run)) * _documents(run) * told.completion_tokens
    found = {"beginnings": Work(sampled=written), "probes": Work(scored=(2 * 3 + 2 * 2) * 3 * told.probe_positions)}
    return materials.generations_work(run) | found
