"""Distributions of a tiny random model on gold text and own generations, against a dense softmax; C3 and C4."""

import numpy as np
import pandas as pd
import pytest
import torch

from predact.claims import mass, support
from predact.models import distributions, loading, pairs
from predact.models.distributions import Measured
from predact.models.passages import GOLD, OWN, gold_passages, own_passages
from predact.texts.corpora import Corpus

TEXTS = ["the cat sat on the mat", "a dog ran", "to the river where the other cat saw a naïve café owner"]
CORPUS = Corpus("tales", "narrative", TEXTS, None, "tales")


def written(tokenizer, counts):
    """Generations as `sampling.of_pair` gives them: for each prompt so many, some empty."""
    draw = np.random.default_rng(0)
    rows = [
        {"prompt": prompt, "sample": sample, "given": np.array([0, 5 + place]), "ids": draw.integers(5, 290, size)}
        for place, (prompt, sizes) in enumerate(counts.items())
        for sample, size in enumerate(sizes)
    ]
    return pd.DataFrame(rows)


def test_gold_passages_are_documents_after_one_prefix_token(tokenizer):
    passages = gold_passages(tokenizer, [CORPUS, CORPUS])
    assert passages.given == [1] * 6 and passages.groups == [0, 1, 2, 3, 4, 5]
    assert tokenizer.decode(passages.sequences[4][1:]) == TEXTS[1]
    assert {each[0] for each in passages.sequences} == {tokenizer.bos_token_id}


def test_own_passages_are_the_first_generations_of_each_prompt(tokenizer):
    frame = written(tokenizer, {"a": [3, 0, 4, 5], "b": [0, 0], "c": [2]})
    passages = own_passages(frame, each=3)
    assert [len(each) for each in passages.sequences] == [5, 6, 4] and passages.given == [2, 2, 2]
    assert passages.groups == [0, 0, 2], "a prompt without words keeps its number, so that models can be paired"
    assert passages.sequences[0] == [0, 5, *frame.ids[0].tolist()]


@pytest.mark.parametrize("positions", [10**6, 7])
def test_measures_against_a_dense_softmax(tmp_path, folders, tokenizer, positions):
    model = pairs.Model(str(folders[0]))
    passages = own_passages(written(tokenizer, {"a": [3, 9], "b": [4]}), each=9)
    found = distributions.measure_distributions(tmp_path, model, passages, positions)
    dense = {}
    for sequence, given, group in zip(passages.sequences, passages.given, passages.groups, strict=True):
        with torch.no_grad():
            logits = loading.load(model)[0](torch.tensor([sequence])).logits[0, given - 1 : -1, : len(tokenizer)]
        for place, p in enumerate(logits.double().softmax(-1).numpy()):
            nll = -np.log(p[sequence[given + place]])
            dense[group, place, round(nll, 3)] = (p, nll)
    assert len(found.positions) == min(positions, 16)
    sums = np.zeros_like(found.mass)
    for row in found.positions.itertuples():
        p, nll = dense[row.group, row.position, round(float(row.nll), 3)]
        assert row.top1 == pytest.approx(p.max(), rel=1e-4) and row.nll == pytest.approx(nll, rel=1e-4)
        assert row.entropy == pytest.approx(-(p * np.log(p)).sum(), rel=1e-4)
        assert found.positions.loc[row.Index, "1e-04"] == (p > 1e-4).sum()
        sums[row.group] += -np.sort(-p)[: len(found.ranks)].cumsum()[found.ranks - 1]
    np.testing.assert_allclose(found.mass, sums, rtol=1e-4)


def test_positions_are_the_same_for_models_that_cut_text_alike_and_follow_the_seed(tmp_path, folders, tokenizer):
    passages = gold_passages(tokenizer, [CORPUS])
    base, rlhf = (pairs.Model(str(folder)) for folder in folders)
    places = [
        distributions.measure_distributions(tmp_path, model, passages, 9, seed)
        .positions[["group", "position"]]
        .to_numpy()
        .tolist()
        for model, seed in ((base, 0), (rlhf, 0), (base, 1))
    ]
    assert places[0] == places[1] != places[2]


def measured(mass, support, groups=2, positions=50):
    """What `measure` returns for a model that is everywhere the same, up to a little noise by group."""
    ranks = distributions.ranks(64)
    noise = 1 + 0.01 * np.arange(groups)
    curve = np.minimum(1, mass + (1 - mass) * (ranks - 1) / 63)
    frame = pd.DataFrame(
        {"group": np.repeat(np.arange(groups), positions), "position": np.tile(np.arange(positions), groups)}
    )
    frame = frame.assign(nll=1.0, top1=mass, entropy=0.5)
    for threshold in distributions.THRESHOLDS:
        frame[f"{threshold:.0e}"] = np.round(support * noise[frame.group] * 10)
    return Measured(frame, np.outer(noise, curve) * positions, ranks)


def conditions(base_gold, rlhf_gold, base_own, rlhf_own):
    given = {("Base", GOLD): base_gold, ("RLHF", GOLD): rlhf_gold, ("Base", OWN): base_own, ("RLHF", OWN): rlhf_own}
    return {place: measured(*numbers) for place, numbers in given.items()}


@pytest.mark.parametrize(
    ("numbers", "c3", "c4"),
    [
        ([(0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4)], "holds", "holds"),
        ([(0.4, 5), (0.4, 5), (0.5, 5), (0.8, 4)], "fails", "fails"),
        ([(0.4, 5), (0.3, 6), (0.5, 5), (0.8, 6)], "fails", "fails"),
    ],
)
def test_verdicts_follow_their_rules(numbers, c3, c4):
    made = conditions(*numbers)
    table, verdict = mass.judge(made, "a pair")
    at_ten = [mass + (1 - mass) * 9 / 63 for mass, _ in numbers]
    assert table.estimate.tolist() == pytest.approx([(at_ten[1] - at_ten[0]) * 1.005, (at_ten[3] - at_ten[2]) * 1.005])
    assert verdict.estimate == table.estimate.min() and verdict.verdict == c3 and verdict.n == 2
    for judged in (mass.judge, support.judge):
        each, open_one = judged(made, "a pair", same_tokenizer=False)
        assert len(each) == 2 and (open_one.verdict, open_one.estimate) == ("undecided", None)
        assert "not compared, for the tokenizers differ" in open_one.unit
    ratios, verdict = support.judge(made, "a pair")
    support = [each for _, each in numbers]
    assert ratios.estimate.tolist() == pytest.approx([support[1] / support[0], support[2] / support[3]], rel=0.01)
    assert verdict.estimate == ratios.estimate.min() and verdict.verdict == c4 and verdict.n == 2


def test_the_frames_of_the_figures():
    made = conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4))
    curves = mass.mass_curves(made).set_index(["model", "text"]).loc[("Base", GOLD)]
    assert curves.k.iloc[0] == 1 and curves.k.iloc[-1] == 64 and curves.k.is_monotonic_increasing
    assert curves.estimate.iloc[0] == pytest.approx(0.4 * 1.005) and (curves.low <= curves.high).all()
    along = mass.certainty_by_position(made, least=2)
    top = along[(along.measure == mass.TOP1) & (along.model == "RLHF") & (along.text == OWN)]
    assert top["first"].tolist() == [0, 1, 3, 7, 15, 31] and top.estimate.tolist() == pytest.approx([0.8] * 6)
    assert mass.certainty_by_position(made, least=16)["first"].min() == 7, "bins with few positions are left out"
    shares = support.support_histograms(made)
    assert shares.groupby(["model", "text", "threshold"]).share.sum().to_numpy() == pytest.approx(np.ones(20))
    inside = shares[(shares.model == "Base") & (shares.text == GOLD) & (shares.share > 0)]
    assert (inside.low_edge <= 64).all()
    means = support.mean_support(made).set_index(["model", "text", "threshold"])
    assert means.estimate["RLHF", GOLD, "1e-08"] == pytest.approx(60.5)
