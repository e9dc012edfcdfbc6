"""C1: by corpus, along the document and token by token; the distance from the world; the rule."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from predact import stats
from predact.claims import prediction
from predact.errors import UserError
from predact.figures import prediction as prediction_figures
from predact.models.tokens import Per
from tests.made import shuffled, values

LN2 = np.log(2)
WORDS = ["zero", " one", " two", " three", " four", " five", " six", " seven"]


def decode(ids):
    return "".join(WORDS[i % 8] for i in ids)


def frame(scores):
    """Tokens for `scores` {corpus: {model: [nll of each token of each document]}}; ids are positions."""
    rows = [
        (corpus, model, doc, position, position, nll)
        for corpus, models in scores.items()
        for model, texts in models.items()
        for doc, text in enumerate(texts)
        for position, nll in enumerate(text)
    ]
    return pd.DataFrame(rows, columns=["corpus", "model", "doc", "position", "id", "nll"]).astype({"nll": np.float32})


@pytest.fixture(scope="module")
def documents():
    """Three corpora as a Base, an SFT and an RLHF model score them; the world of the last is not known."""
    rng = np.random.default_rng(1)
    parts = []
    for corpus, category, n, world in (("a", "x", 40, 1.0), ("b", "x", 25, 2.0), ("c", "y", 30, np.nan)):
        size = rng.integers(50, 400, n)
        world_nll = world * size * rng.uniform(0.9, 1.1, n)
        for model, worse in (("Base", 1.1), ("SFT", 1.3), ("RLHF", 1.4)):
            nll = size * worse * rng.uniform(0.8, 1.2, n)
            row = {"doc": range(n), "bytes": size, "tokens": size // 4, "nll": nll, "world_nll": world_nll}
            parts.append(pd.DataFrame(row).assign(corpus=corpus, category=category, model=model))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def by_corpus(documents):
    return prediction.increase_by_corpus(documents, Per.TOKEN)


def pick(rows, **wanted):
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def test_the_units_of_a_corpus_are_what_their_formulas_say(documents, by_corpus):
    sums = documents[documents.corpus == "b"].groupby("model")[["nll", "tokens", "bytes", "world_nll"]].sum()
    base, rlhf = sums.loc["Base"], sums.loc["RLHF"]
    expected = {
        "perplexity increase": np.exp(rlhf.nll / rlhf.tokens) - np.exp(base.nll / base.tokens),
        "perplexity ratio": np.exp(rlhf.nll / rlhf.tokens) / np.exp(base.nll / base.tokens),
        "bits per byte above Base": (rlhf.nll - base.nll) / base.bytes / LN2,
        "bits per byte": rlhf.nll / base.bytes / LN2,
        "bits per byte above the world": (rlhf.nll - base.world_nll) / base.bytes / LN2,
    }
    rows = by_corpus[(by_corpus.corpus == "b") & (by_corpus.model == "RLHF")].set_index("unit").estimate
    assert dict(rows) == pytest.approx(expected)


def test_intervals_are_those_of_resampled_documents(documents, by_corpus):
    rng = np.random.default_rng(5)
    wide = documents[documents.corpus == "a"].pivot(index="doc", columns="model", values="nll")
    size = documents[(documents.corpus == "a") & (documents.model == "Base")].bytes.to_numpy()
    more = (wide.RLHF - wide.Base).to_numpy()
    draws = [rng.integers(40, size=40) for _ in range(4000)]
    expected = np.quantile([more[draw].sum() / size[draw].sum() / LN2 for draw in draws], [0.025, 0.975])
    row = pick(by_corpus, corpus="a", model="RLHF", unit="bits per byte above Base")
    assert (row.low, row.high) == pytest.approx(tuple(expected), abs=0.005)
    assert row.low < row.estimate < row.high and row.documents == 40


def test_the_mean_over_corpora_is_geometric_for_the_ratio_only(by_corpus):
    rlhf = by_corpus[(by_corpus.model == "RLHF") & (by_corpus.corpus != "mean")]
    ratios = rlhf[rlhf.unit == "perplexity ratio"].estimate
    bits = rlhf[rlhf.unit == "bits per byte"].estimate
    assert pick(by_corpus, corpus="mean", model="RLHF", unit="perplexity ratio").estimate == pytest.approx(
        ratios.prod() ** (1 / 3)
    )
    mean = pick(by_corpus, corpus="mean", model="RLHF", unit="bits per byte")
    assert mean.estimate == pytest.approx(bits.mean()) and mean.documents == 95 and mean.category == "all corpora"


def test_a_category_has_the_mean_increase_of_its_corpora(documents, by_corpus):
    found = prediction.increase_by_category(documents, Per.TOKEN)
    assert set(found.category) == {"x", "y"} and set(found.model) == {"SFT", "RLHF"}
    rlhf = by_corpus[(by_corpus.model == "RLHF") & (by_corpus.unit == "perplexity increase")].set_index("corpus")
    row = pick(found, category="x", model="RLHF")
    assert row.estimate == pytest.approx((rlhf.estimate["a"] + rlhf.estimate["b"]) / 2) and row.documents == 65
    assert row.low < row.estimate < row.high
    alone, corpus = pick(found, category="y", model="RLHF"), rlhf.loc["c"]
    ends = (corpus.estimate, corpus.low, corpus.high)
    assert (alone.estimate, alone.low, alone.high) == pytest.approx(ends, rel=0.02)
    mixed = prediction.increase_by_category(shuffled(documents), Per.TOKEN).set_index(["category", "model"])
    wanted = found.set_index(["category", "model"]).loc[mixed.index]
    np.testing.assert_allclose(mixed.estimate, wanted.estimate)


def test_the_excess_is_told_only_where_the_world_is_known(by_corpus):
    assert set(by_corpus[by_corpus.unit == "bits per byte above the world"].corpus) == {"a", "b"}
    assert by_corpus[["estimate", "low", "high"]].notna().all(axis=None)


def test_the_table_has_a_row_for_each_corpus_and_nothing_trivial(by_corpus):
    table = prediction.increase_table(by_corpus)
    assert list(table.index) == [("x", "a"), ("x", "b"), ("y", "c"), ("all corpora", "mean")]
    assert ("perplexity ratio", "Base") not in table.columns and ("bits per byte", "Base") in table.columns
    row = pick(by_corpus, corpus="a", model="SFT", unit="perplexity ratio")
    assert table["perplexity ratio", "SFT"]["x", "a"] == f"{row.estimate:.3f} ({row.low:.3f} to {row.high:.3f})"
    assert table["bits per byte above the world", "RLHF"]["y", "c"] == ""


def test_bits_along_the_document_equal_those_of_a_loop():
    rng = np.random.default_rng(2)
    lengths = {"a": [1, 3, 9, 20, 16], "b": [8, 8, 40]}
    scores = {c: {m: [rng.gamma(1, 2, n) for n in each] for m in ("Base", "RLHF")} for c, each in lengths.items()}
    scores["a"]["Base"][1][0] = scores["a"]["RLHF"][1][0] = np.nan
    found = prediction.loss_by_position(frame(scores), Per.TOKEN)
    counted = {corpus: set(part.documents) for corpus, part in found.groupby("corpus")}
    assert counted == {"a": {5}, "b": {3}, "all corpora": {8}}
    for corpus, models in scores.items():
        for first, last in ((0, 0), (1, 2), (3, 6), (7, 14)):
            inside = {m: np.concatenate([text[first : last + 1] for text in texts]) for m, texts in models.items()}
            bits = {m: np.nanmean(each) / LN2 for m, each in inside.items()}
            row = pick(found, corpus=corpus, first=first, last=last, model="RLHF", unit="bits per token")
            more = pick(found, corpus=corpus, first=first, last=last, model="RLHF", unit="bits per token above Base")
            assert row.estimate == pytest.approx(bits["RLHF"], rel=1e-5)
            assert more.estimate == pytest.approx(bits["RLHF"] - bits["Base"], rel=1e-5)


def test_bins_that_few_documents_reach_are_left_out():
    lengths = [7] * 7 + [31] * 2  # two of nine documents, less than a quarter, go beyond position 6
    longer = [15] * 4
    scores = {"a": {"Base": [np.ones(n) for n in lengths]}, "b": {"Base": [np.full(n, 3.0) for n in longer]}}
    found = prediction.loss_by_position(frame(scores), Per.TOKEN)
    lasts = {corpus: sorted(set(each["last"])) for corpus, each in found.groupby("corpus")}
    assert lasts == {"a": [0, 2, 6], "b": [0, 2, 6, 14], "all corpora": [0, 2, 6]}
    mean = found[(found.corpus == "all corpora") & (found.unit == "bits per token")]
    assert list(mean.estimate) == pytest.approx([2 / LN2] * 3)


def test_one_corpus_has_no_mean_and_different_tokenizers_no_difference():
    scores = {"a": {"Base": [np.ones(5), np.ones(6)], "RLHF": [np.ones(4), np.ones(7)]}}
    found = prediction.loss_by_position(frame(scores), Per.BYTE)
    assert set(found.corpus) == {"a"} and set(found.unit) == {"bits per token"}
    assert prediction.losses_by_token(frame(scores), Per.BYTE, decode).empty


def test_tokens_that_lose_most_with_their_neighbours():
    quiet = np.full(8, 1.0)
    first, second = quiet.copy(), quiet.copy()
    first[[5, 2]], second[1] = [4.0, 3.0], 2.0  # only the largest of a document counts
    scores = {"a": {"Base": [quiet, quiet], "SFT": [quiet + 9, quiet], "RLHF": [first, second]}}
    scores["b"] = {"Base": [quiet], "SFT": [quiet], "RLHF": [quiet + 5]}
    found = prediction.losses_by_token(frame(scores), Per.TOKEN, decode, examples=4, around=2)
    peaks = found[found.offset == 0]
    assert list(zip(peaks.corpus, peaks.example, peaks.text, strict=True)) == [
        ("b", 0, "zero"),
        ("a", 0, " five"),
        ("a", 1, " one"),
    ]
    assert list(peaks.bits) == pytest.approx([5 / LN2, 3 / LN2, 1 / LN2])
    assert list(peaks.rlhf) == pytest.approx([np.exp(-6), np.exp(-4), np.exp(-2)], rel=1e-5)
    texts = found.groupby(["corpus", "example"], sort=False).text.sum()
    assert list(texts) == ["zero one two", " three four five six seven", "zero one two three"]
    few = prediction.losses_by_token(frame(scores), Per.TOKEN, decode, examples=1)
    assert few.groupby("corpus").example.nunique().to_dict() == {"a": 1, "b": 1}


def test_tokens_that_were_not_scored_are_neighbours_but_never_examples():
    scores = {"a": {"Base": [[np.nan, 1.0, 1.0]], "RLHF": [[np.nan, 1.0, 2.0]]}}
    found = prediction.losses_by_token(frame(scores), Per.TOKEN, decode)
    assert list(found.offset) == [-2, -1, 0] and list(found.bits.isna()) == [True, False, False]


def test_pieces_of_a_text_put_it_together_again(tokenizer):
    text = "the naïve café: 北京 🙂 ok"
    ids = tokenizer(text)["input_ids"]
    pieces = prediction._pieces(ids, tokenizer.decode)
    assert "".join(pieces) == text and len(pieces) == len(ids) and "\ufffd" not in "".join(pieces)
    assert prediction._pieces([], tokenizer.decode) == []


def scored(nll, tokens=20):
    """What scoring returns for `nll` {corpus: {model: one number per document}}."""
    parts = [
        pd.DataFrame({"doc": range(len(each)), "nll": each, "bytes": 90, "tokens": tokens, "world_nll": np.nan}).assign(
            corpus=corpus, category="file", model=model
        )
        for corpus, models in nll.items()
        for model, each in models.items()
    ]
    return pd.concat(parts, ignore_index=True)


def judged(frame, per=Per.TOKEN):
    """The frame of the figure, and the verdict on it."""
    frame = prediction.increase_by_corpus(frame, per)
    return frame, prediction.judge(frame)


def test_the_estimate_is_the_mean_of_the_corpora():
    nll = {
        "one": {"Base": [10, 20], "SFT": [0, 0], "RLHF": [14, 24]},  # of 40 tokens
        "two": {"Base": [30, 30], "SFT": [0, 0], "RLHF": [46, 46]},
    }
    frame, verdict = judged(scored(nll))
    one, two = np.exp(38 / 40) - np.exp(30 / 40), np.exp(92 / 40) - np.exp(60 / 40)
    assert verdict.estimate == pytest.approx((one + two) / 2) and verdict.low <= verdict.estimate <= verdict.high
    assert (verdict.id, verdict.verdict, verdict.n) == ("C1", "holds", 4)
    assert verdict.unit == "perplexity increase" and verdict.protocol == "paper"
    assert set(frame.corpus) == {"one", "two", "mean"}


def test_one_corpus_without_an_increase_is_enough_to_fail():
    better = {"one": {"Base": [10, 20], "RLHF": [14, 24]}, "two": {"Base": [30, 30], "RLHF": [20, 21]}}
    unsure = {"one": {"Base": [10, 20], "RLHF": [14, 24]}, "two": {"Base": [30, 30], "RLHF": [20, 41]}}
    assert judged(scored(better))[1].verdict == "fails"
    assert judged(scored(unsure))[1].verdict == "undecided"


def test_a_model_against_itself_is_exactly_as_good_and_fails():
    nll = np.random.default_rng(0).gamma(3, 17.3, size=(3, 37))
    same = {f"corpus {n}": {"Base": each, "SFT": each * 1.1, "RLHF": each} for n, each in enumerate(nll)}
    frame, verdict = judged(scored(same, tokens=23))
    assert (verdict.estimate, verdict.low, verdict.high, verdict.verdict) == (0.0, 0.0, 0.0, "fails")
    rlhf = frame[(frame.model == "RLHF") & (frame.unit == "perplexity ratio")]
    assert (rlhf[["estimate", "low", "high"]] == 1.0).all(axis=None)


def test_different_tokenizers_are_compared_by_bytes():
    one = {"one": {"Base": [10.0, 20.0], "RLHF": [19.0, 29.0]}}
    verdict = judged(scored(one), Per.BYTE)[1]
    assert verdict.unit == "byte perplexity increase"
    assert verdict.estimate == pytest.approx(np.exp(48 / 180) - np.exp(30 / 180))


def test_one_document_gives_no_verdict():
    with pytest.raises(UserError, match="documents: .*'two'"):
        judged(scored({"one": {"Base": [1, 2]}, "two": {"Base": [1]}}))


def of_world(world, models, size=10):
    frames = [
        pd.DataFrame({"doc": range(len(world)), "bytes": size, "nll": nll, "world_nll": world}).assign(
            model=name, corpus="c", category="k"
        )
        for name, nll in models.items()
    ]
    return pd.concat(frames, ignore_index=True)


def test_by_hand():
    frame = prediction.distance_from_world(
        of_world([4 * LN2, 6 * LN2], {"Base": [5 * LN2, 6 * LN2], "RLHF": [6 * LN2, 9 * LN2]})
    )
    told = frame.set_index(["model", "unit"])
    assert told.estimate.to_dict() == pytest.approx(
        {
            ("world", prediction.ENTROPY): 10 / 20,
            ("Base", prediction.KL): 1 / 20,
            ("Base", prediction.SHARE): 0.1,
            ("RLHF", prediction.KL): 5 / 20,
            ("RLHF", prediction.SHARE): 0.5,
        }
    )
    base = told.loc["Base", prediction.KL]
    assert base.low == pytest.approx(0) and base.high == pytest.approx(2 / 20)
    text = prediction.distance_table(frame)
    assert text.columns.tolist() == ["Entropy", "KL of Base", "KL of RLHF"]
    assert text.iloc[0].tolist() == ["0.5000 (0.4000 to 0.6000)", "0.0500 (10.0%)", "0.2500 (50.0%)"]


def test_the_interval_covers_the_true_divergence(monkeypatch):
    """A world of four texts and a model that believes otherwise: KL and entropy are sums over the four."""
    monkeypatch.setattr(stats, "interval", partial(stats.interval, resamples=1000))
    rng = np.random.default_rng(0)
    p, q = np.array([0.5, 0.25, 0.15, 0.1]), np.array([0.25, 0.25, 0.25, 0.25])
    entropy, kl = -(p * np.log2(p)).sum() / 10, (p * np.log2(p / q)).sum() / 10
    covered = []
    for _ in range(60):
        drawn = rng.choice(4, size=400, p=p)
        frame = prediction.distance_from_world(of_world(-np.log(p[drawn]), {"Base": -np.log(q[drawn])}))
        told = frame.set_index("unit")
        expected = {prediction.ENTROPY: entropy, prediction.KL: kl}
        covered += [told.low[unit] <= true <= told.high[unit] for unit, true in expected.items()]
    assert np.mean(covered) > 0.88


def test_a_corpus_without_a_world_is_refused():
    with pytest.raises(UserError, match="corpora: the probabilities of 'c' are not known"):
        prediction.distance_from_world(of_world([np.nan, np.nan], {"Base": [1.0, 2.0]}))


def test_the_figure_shows_models_by_corpus():
    frame = prediction.distance_from_world(
        of_world([4 * LN2, 6 * LN2], {"Base": [5 * LN2, 6 * LN2], "RLHF": [6 * LN2, 9 * LN2]})
    )
    spec = prediction_figures.distances(frame).to_dict()
    assert "RLHF c 0.250" in spec["description"]
    shown = [row for rows in spec["datasets"].values() for row in rows]
    assert {row["model"] for row in shown} == {"Base", "RLHF"}


def test_its_rung_is_bits_per_byte_of_every_model_mean_over_corpora():
    draw = np.random.default_rng(2)
    rows = [
        {"corpus": corpus, "doc": doc, "model": model, "nll": draw.uniform(1, 9), "bytes": 3 + doc}
        for corpus in ("x", "y")
        for doc in range(4)
        for model in ("Base", "SFT", "RLHF")
    ]
    rung = prediction.rung(pd.DataFrame(rows))
    sums = pd.DataFrame(rows).groupby(["model", "corpus"])[["nll", "bytes"]].sum()
    bits = (sums.nll / sums.bytes / LN2).groupby("model").mean()
    assert values(rung) == pytest.approx([bits[step] for step in ("Base", "SFT", "RLHF")])
    assert rung.claim == "C1" and [each.shape for each in rung.strata] == [(4, 3, 2)] * 2


@pytest.mark.parametrize("seed", range(3))
def test_the_rule_knows_no_order_of_rows(seed, by_corpus):
    assert prediction.judge(shuffled(by_corpus, seed)) == prediction.judge(by_corpus)
