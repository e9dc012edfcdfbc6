"""How much worse a model predicts text than its Base: by corpus and category, by position in the document, by token.

Frames list a pair's models in the order of training, from Base to RLHF. Differences are taken document by document,
before summing, so a model compared with itself shows exactly no increase.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.verdict import Claim, Rung, Verdict, all_above, conclude, only
from predact.errors import UserError
from predact.models.tokens import Per

CLAIM = Claim(
    id="C1",
    claim="RLHF predicts documents worse than Base, on every corpus.",
    figure="Figure 2A",
    chapter="02_world_modeling",
    work=materials.documents_work,
    rungs=lambda run: [rung(materials.documents(run))],
    paper="perplexity higher by 1.42 to 3.44 (Llama 2 7B), 1.12 to 1.45 (70B), 0.14 to 1.69 (Tulu 2), 2.04 to 6.60 "
    "(OLMo), by category",
)
INCREASES = ("perplexity increase", "byte perplexity increase")
RATIOS = ("perplexity ratio", "byte perplexity ratio")
BITS, ABOVE_BASE, ABOVE_WORLD = "bits per byte", "bits per byte above Base", "bits per byte above the world"
TOKEN_BITS, TOKEN_ABOVE_BASE = "bits per token", "bits per token above Base"
OVERALL = "all corpora"
WORLD = "world"
ENTROPY, KL, SHARE = "entropy, bits per byte", "KL, bits per byte", "KL, share of the entropy"


def increase_by_corpus(documents: pd.DataFrame, per: Per) -> pd.DataFrame:
    """Perplexity increase over Base, and distance from the world, for each corpus and over all of them.

    For model m with L_m = sum of nll over a corpus's documents (nats), T tokens, B bytes, and W the world's own nll:
    `perplexity increase` exp(L_m / T) - exp(L_Base / T), the paper's measure, and `perplexity ratio`
    exp((L_m - L_Base) / T); both with B for T, as `byte perplexity ...`, when the tokenizers differ. `bits per byte
    above Base` (L_m - L_Base) / (B ln 2); `bits per byte` L_m / (B ln 2); `bits per byte above the world` (L_m - W) /
    (B ln 2), left out if W is not known: an estimate of KL(world || m) per byte, provided that the text of a document
    determines where it ends.

    Args:
        documents: What `scoring.score_pair` returns.
        per: See `tokens.compared_per`; it decides which perplexity is returned.

    Returns:
        category, corpus, model, unit, estimate, low, high (95 % paired bootstrap over documents), documents. Rows of
        category `all corpora` are means over corpora (geometric for the ratio), documents resampled within each.

    Raises:
        UserError: A corpus has fewer than two documents, which give no interval.
    """
    models = _from_base(documents)
    place = 0 if per is Per.TOKEN else 1
    units = (INCREASES[place], RATIOS[place], ABOVE_BASE, BITS, ABOVE_WORLD)

    def rows(category: Any, corpus: Any, strata: Sequence[pd.DataFrame]) -> pd.DataFrame:
        world = not any(group.world_nll.isna().any() for group in strata)
        sums = [_sums(group, models, per, world) for group in strata]
        values = stats.stratified(sums, partial(_mean_increases, models=len(models)))
        axes = [("unit", units[: 4 + world]), ("model", models)]
        return stats.tidy(values, axes, category=category, corpus=corpus, documents=sum(map(len, sums)))

    groups = list(documents.groupby(["category", "corpus"], sort=False))
    for (_, corpus), group in groups:
        if group.doc.nunique() < 2:
            raise UserError(f"documents: corpus '{corpus}' has only one; an interval needs two or more.")
    frames = [rows(category, corpus, [group]) for (category, corpus), group in groups]
    frames.append(rows(OVERALL, "mean", [group for _, group in groups]))
    return pd.concat(frames, ignore_index=True)


def _from_base(frame: pd.DataFrame) -> list[str]:
    """Return the models of a frame, Base first."""
    return sorted(frame.model.unique(), key=lambda model: model != "Base")


def _sums(documents: pd.DataFrame, models: list[str], per: Per, world: bool) -> np.ndarray:
    """Sums of one corpus by document: [documents, (2 or 3) * models + 2].

    The columns are, for each model, nats above Base, nats and, with `world`, nats above the world; then tokens (bytes
    if the tokenizers differ) and bytes.
    """
    nll = documents.pivot(index="doc", columns="model", values="nll")[models]
    base = documents[documents.model == "Base"].set_index("doc").loc[nll.index]
    nats = [nll.sub(nll["Base"], axis=0), nll] + [nll.sub(base.world_nll, axis=0)] * world
    return np.column_stack([*nats, base.tokens if per is Per.TOKEN else base.bytes, base.bytes]).astype(float)


def _mean_increases(strata: Sequence[np.ndarray], models: int) -> np.ndarray:
    """Mean over corpora of `_increases` [..., units, models]: geometric for the ratio, arithmetic for the others."""
    values = np.stack([_increases(totals, models) for totals in strata])
    means = values.mean(axis=0)
    means[..., 1, :] = np.exp(np.log(values[..., 1, :]).mean(axis=0))
    return means


def _increases(totals: np.ndarray, models: int) -> np.ndarray:
    """Turn totals of `_sums` into values [..., 4 or 5 units, models]; the formulas are in `increase_by_corpus`."""
    nats = totals[..., :-2].reshape(*totals.shape[:-1], -1, models)
    units, size = totals[..., -2, None, None], totals[..., -1, None, None]
    perplexity, ratio = np.exp(nats[..., 1:2, :] / units), np.exp(nats[..., :1, :] / units)
    return np.concatenate([perplexity - perplexity[..., :1], ratio, nats / size / np.log(2)], axis=-2)


def increase_by_category(documents: pd.DataFrame, per: Per) -> pd.DataFrame:
    """Perplexity increase over Base, mean over the corpora of a category: what the paper's Figure 2 shows (E1, E2).

    Args:
        documents: what `scoring.score_pair` returns.
        per: see `tokens.compared_per`.

    Returns:
        category, model (without Base), unit, estimate, low, high (95 % paired bootstrap over documents, drawn within
        each corpus), documents.
    """
    models, unit = _from_base(documents), INCREASES[0 if per is Per.TOKEN else 1]

    def increases(strata: Sequence[np.ndarray]) -> np.ndarray:
        return _mean_increases(strata, len(models))[..., 0, 1:]

    frames = []
    for category, group in documents.groupby("category", sort=False):
        sums = [_sums(corpus, models, per, world=False) for _, corpus in group.groupby("corpus", sort=False)]
        value, place = stats.stratified(sums, increases), {"category": category, "unit": unit}
        frames.append(stats.tidy(value, [("model", models[1:])], **place, documents=sum(map(len, sums))))
    return pd.concat(frames, ignore_index=True)


def increase_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers of `increase_by_corpus` as text: estimate and interval, one row per corpus."""
    told = frame[(frame.model != "Base") | frame.unit.isin((BITS, ABOVE_WORLD))]
    text = [f"{row.estimate:.3f} ({row.low:.3f} to {row.high:.3f})" for row in told.itertuples()]
    cells = told.assign(text=text).set_index(["category", "corpus", "unit", "model"]).text
    return cells.unstack(["unit", "model"], sort=False).fillna("")


def loss_by_position(tokens: pd.DataFrame, per: Per) -> pd.DataFrame:
    """Bits per token along the document, in bins of doubling width: positions 0, 1-2, 3-6, 7-14, ...

    A bin is kept if at least a quarter of a corpus's documents reach it. The rows of corpus `all corpora` are means
    over corpora, in the bins that every corpus keeps.

    Args:
        tokens: What `scoring.score_pair_tokens` returns; tokens that were not scored (NaN) are left out.
        per: See `tokens.compared_per`.

    Returns:
        corpus, documents, model, unit (`bits per token` and, if the tokenizers agree, `bits per token above Base`),
        first and last position of the bin, estimate, low, high (95 % paired bootstrap over documents).
    """
    models = list(tokens.model.unique())
    units = (TOKEN_BITS, TOKEN_ABOVE_BASE)[: 1 + (per is Per.TOKEN)]
    scored = tokens.dropna(subset="nll").astype({"nll": float})
    scored = scored.assign(bin=np.log2(scored.position + 1).astype(int))
    sums = {corpus: _bin_sums(group, models) for corpus, group in scored.groupby("corpus", sort=False)}
    bins = {corpus: np.flatnonzero((each[:, 2, 0] > 0).mean(axis=0) >= 0.25) for corpus, each in sums.items()}

    def rows(corpus: Any, kept: Any, strata: Sequence[np.ndarray]) -> pd.DataFrame:
        flat = [each[..., kept].reshape(len(each), -1) for each in strata]
        values = stats.stratified(flat, partial(_mean_bits, shape=(3, len(models), len(kept)), units=len(units)))
        same = {"corpus": corpus, "documents": sum(map(len, flat))}
        return stats.tidy(values, [("unit", units), ("model", models), ("bin", kept)], **same)

    shared = sorted(set.intersection(*map(set, bins.values())))
    frames = [rows(OVERALL, shared, list(sums.values()))] if len(sums) > 1 else []
    frames += [rows(corpus, bins[corpus], [each]) for corpus, each in sums.items()]
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(first=2**frame.bin - 1, last=2 ** (frame.bin + 1) - 2).drop(columns="bin")


def _bin_sums(tokens: pd.DataFrame, models: Sequence[str]) -> np.ndarray:
    """Sums of one corpus [documents, 3 (nats, nats above Base, tokens), models, bins]."""
    columns = pd.MultiIndex.from_product([models, range(tokens.bin.max() + 1)])
    groups = tokens.groupby(["doc", "model", "bin"]).nll
    nll, count = (
        each.unstack(["model", "bin"]).reindex(columns=columns).fillna(0).to_numpy().reshape(-1, *columns.levshape)
        for each in (groups.sum(), groups.count())
    )
    return np.stack([nll, nll - nll[:, :1], count], axis=1)


def _mean_bits(strata: Sequence[np.ndarray], shape: tuple[int, int, int], units: int) -> np.ndarray:
    """Mean over corpora of flattened totals of `_bin_sums`, as bits per token [..., units, models, bins]."""
    totals = np.stack(strata).reshape(len(strata), *strata[0].shape[:-1], *shape)
    return (totals[..., :units, :, :] / totals[..., 2:, :, :] / np.log(2)).mean(axis=0)  # NaN: none reaches the bin


def losses_by_token(
    tokens: pd.DataFrame, per: Per, decode: Callable[[Sequence[int]], str], examples: int = 9, around: int = 12
) -> pd.DataFrame:
    """Return the tokens whose nll rises most from Base to RLHF, each with its neighbours; at most one per document.

    Args:
        tokens: What `scoring.score_pair_tokens` returns.
        per: See `tokens.compared_per`.
        decode: Maps token ids to text.
        examples: Number of such tokens, divided among the corpora (at least one each).
        around: Number of neighbours on each side.

    Returns:
        Largest first: corpus, example (0 is the largest of its corpus), offset (-around to around) from the token,
        text, base and rlhf (probability of the token), bits (nll of RLHF above Base). Empty if the tokenizers differ.
    """
    columns = ["corpus", "example", "offset", "text", "base", "rlhf", "bits"]
    if per is not Per.TOKEN:
        return pd.DataFrame(columns=columns)
    keys = ["corpus", "doc", "position", "id"]
    wide = tokens.pivot(index=keys, columns="model", values="nll")[["Base", "RLHF"]].reset_index()
    wide = wide.assign(bits=(wide.RLHF - wide.Base) / np.log(2), base=np.exp(-wide.Base), rlhf=np.exp(-wide.RLHF))
    peaks = wide.loc[wide.dropna().groupby(["corpus", "doc"]).bits.idxmax()].sort_values("bits", ascending=False)
    peaks = peaks.assign(peak=peaks.position, example=peaks.groupby("corpus").cumcount())
    peaks = peaks[peaks.example < max(1, examples // tokens.corpus.nunique())]
    frame = peaks[["corpus", "doc", "peak", "example"]].merge(wide, on=["corpus", "doc"])
    frame = frame.assign(offset=frame.position - frame.peak)
    frame = frame[frame.offset.abs() <= around]
    passages = frame.groupby(["corpus", "example"], sort=False).id
    text = [piece for _, ids in passages for piece in _pieces(ids.tolist(), decode)]
    return frame.assign(text=text)[columns].reset_index(drop=True)


def _pieces(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
    """Return the text that each id adds; a character split between ids belongs to the id that completes it."""
    done, pieces = "", []
    for end in range(1, len(ids) + 1):
        text = decode(ids[:end])
        text = done if text.endswith("\ufffd") else text
        pieces.append(text[len(done) :])
        done = text
    return pieces


def distance_from_world(documents: pd.DataFrame) -> pd.DataFrame:
    """Entropy of each corpus, and the distance of each model from the world: KL(world || m) = cross-entropy - entropy.

    With W the world's nll of a document, L_m the model's (nats) and B its bytes, summed over documents: entropy
    W / (B ln 2), KL (L_m - W) / (B ln 2), and its share of the entropy (L_m - W) / W.

    Args:
        documents: What `scoring.score_pair` returns with `end=True`: the world's nll includes the end of a document, so
            the model's must, too.

    Returns:
        category, corpus, documents, model (`world` for the entropy), unit, estimate, low, high (95 % bootstrap over
        documents).

    Raises:
        UserError: The world's nll is not known for a corpus.
    """
    unknown = documents[documents.world_nll.isna()].corpus.unique()
    if len(unknown):
        raise UserError(f"corpora: the probabilities of '{unknown[0]}' are not known; only pocket corpora have them.")
    rows = []
    for (category, corpus), group in documents.groupby(["category", "corpus"], sort=False):
        place = {"category": category, "corpus": corpus, "documents": group.doc.nunique()}
        world = group[group.model == "Base"].set_index("doc")[["world_nll", "bytes"]].astype(float)
        rows.append(place | {"model": WORLD, "unit": ENTROPY} | vars(stats.interval(world.to_numpy(), _entropy)))
        for model, scored in group.groupby("model", sort=False):
            excess = scored.set_index("doc").nll - world.world_nll
            values = vars(stats.interval(np.column_stack([excess, world]), _kl))
            for column, unit in enumerate((KL, SHARE)):
                numbers = {name: value[column] for name, value in values.items()}
                rows.append(place | {"model": model, "unit": unit} | numbers)
    return pd.DataFrame(rows)


def _entropy(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1] / np.log(2)


def _kl(totals: np.ndarray) -> np.ndarray:
    """Turn totals [..., excess, world's nll, bytes] into bits per byte and share of the entropy [..., 2]."""
    excess, world, size = (totals[..., column] for column in range(3))
    return np.stack([excess / size / np.log(2), excess / world], axis=-1)


def distance_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `distance_from_world` as text, a row per corpus: entropy with interval, KL, and KL / entropy."""
    place = ["category", "corpus"]
    world = frame[frame.model == WORLD].set_index(place)
    spans = zip(world.estimate, world.low, world.high, strict=True)
    told = {"Entropy": [f"{estimate:.4f} ({low:.4f} to {high:.4f})" for estimate, low, high in spans]}
    for model in frame.model[frame.model != WORLD].unique():
        numbers = frame[frame.model == model].pivot(index=place, columns="unit", values="estimate").loc[world.index]
        pairs = zip(numbers[KL], numbers[SHARE], strict=True)
        told[f"KL of {model}"] = [f"{bits:.4f} ({share:.1%})" for bits, share in pairs]
    return pd.DataFrame(told, index=world.index)


def judge(frame: pd.DataFrame) -> Verdict:
    """C1: is text harder to predict for RLHF than for Base, on every corpus?

    Args:
        frame: what `increase_by_corpus` returns.
    """
    return judge_increases(CLAIM, frame)


def judge_increases(claim: Claim, frame: pd.DataFrame, said: str = "") -> Verdict:
    """The paper's rule of C1 and C2: RLHF's perplexity lies above Base's on every corpus (`all_above` 0).

    The estimate is the mean over corpora.

    Args:
        claim: C1 or C2.
        frame: rows of `increase_by_corpus`.
        said: text added to the unit.
    """
    increase = frame[(frame.model == "RLHF") & frame.unit.isin(INCREASES)]
    each, mean = increase[increase.category != OVERALL], only(increase[increase.category == OVERALL])
    return conclude(claim, all_above(each.low, each.high, nothing=0), mean, mean.unit + said, mean.documents)


def rung(documents: pd.DataFrame) -> Rung:
    """Bits per byte of gold text, mean over corpora. Takes what `scoring.score_pair` returns."""
    return Rung(CLAIM.id, "bits per byte of gold text", bits_of_documents(documents))


def bits_of_documents(documents: pd.DataFrame) -> list[np.ndarray]:
    """Bits and bytes of each document [documents, models, 2] for each corpus."""
    strata = []
    for _, part in documents.groupby("corpus", sort=False):
        wide, steps = part.pivot(index="doc", columns="model", values=["nll", "bytes"]), list(part.model.unique())
        strata.append(np.stack([wide["nll"][steps] / np.log(2), wide["bytes"][steps]], 2))
    return strata
