"""Completions and the matrix of readers and authors on tiny random models; C5."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from predact.claims import self_reading
from predact.errors import UserError
from predact.models import loading, pairs, sampling, tokens
from predact.models.passages import GOLD
from predact.models.tokens import Per
from predact.texts.corpora import Corpus
from tests.made import shuffled, values

TEXTS = ["the cat sat on the mat and the dog ran", "a dog", "to the river where the other cat saw a naïve café owner"]
SETTINGS = sampling.Settings(max_new_tokens=6)


def corpus(name="tales", category="narrative", texts=TEXTS):
    return Corpus(name, category, texts, None, name)


@pytest.fixture()
def pair(folders):
    return pairs.pair(f"{folders[0]}::{folders[1]}")


@pytest.fixture()
def sources(tokenizer):
    kinds = [corpus(), corpus("talk", "conversation", TEXTS[::-1] * 2), corpus("notes", "narrative")]
    return self_reading.cut_beginnings(tokenizer, kinds, prefix=4, longest=6)


def test_prefix_and_gold_continuation_are_one_document(tokenizer):
    (source,) = self_reading.cut_beginnings(tokenizer, [corpus()], prefix=4, longest=100)
    ids = tokens.encode(tokenizer, TEXTS)
    for prefix, gold, whole in zip(source.prefixes, source.gold, ids, strict=True):
        assert prefix[0] == tokenizer.bos_token_id and prefix[1:] + gold == whole
        assert len(prefix) - 1 == min(4, len(whole) // 2)
    (cut,) = self_reading.cut_beginnings(tokenizer, [corpus()], prefix=4, longest=3)
    assert max(map(len, cut.gold)) == 3
    with pytest.raises(UserError, match="prefix: .*not 0"):
        self_reading.cut_beginnings(tokenizer, [corpus()], prefix=0, longest=3)


def dense_nll(model, given, ids, vocabulary):
    with torch.no_grad():
        logits = model(torch.tensor([[*given, *ids]])).logits[0, len(given) - 1 : -1, :vocabulary].double()
    return -logits.log_softmax(-1).gather(1, torch.tensor([[each] for each in ids], dtype=torch.long)).sum().item()


def test_every_reader_scores_every_author_after_the_prefix(tmp_path, pair, sources, tokenizer):
    scores = self_reading.cross_reading(tmp_path, pair, sources, SETTINGS)
    assert len(scores) == 2 * 3 * 12
    loaded = {step: loading.load(model)[0] for step, model in pair.models.items()}
    for source in sources:
        made = {step: self_reading.complete(tmp_path, pair, step, source, SETTINGS, 0) for step in pair.models}
        for row in scores[scores.source == source.name].itertuples():
            given = source.prefixes[row.prefix]
            ids = source.gold[row.prefix] if row.author == GOLD else made[row.author].ids[row.prefix].tolist()
            assert row.nll == pytest.approx(dense_nll(loaded[row.scorer], given, ids, len(tokenizer)), rel=1e-4)
            whole, start = (tokenizer.decode(each[1:]).encode() for each in ([*given, *ids], given))
            assert row.tokens == len(ids) and row.bytes == len(whole) - len(start)


def test_a_completion_does_not_depend_on_the_other_prefixes(tmp_path, pair, sources):
    source = sources[1]
    whole = self_reading.complete(tmp_path, pair, "RLHF", source, SETTINGS, 0)
    part = replace(source, prefixes=source.prefixes[:2], gold=source.gold[:2])
    alone = self_reading.complete(tmp_path, pair, "RLHF", part, SETTINGS, 0)
    assert [ids.tolist() for ids in alone.ids] == [ids.tolist() for ids in whole.ids[:2]]


def test_models_of_different_tokenizers_read_the_text(tmp_path, folders, make_tokenizer, make_model, sources):
    """A model that cuts text into bytes pays for the bytes of the author, and the prefix is not paid for."""
    folder = tmp_path / "bytes"
    tokenizer = make_tokenizer(text="x", vocabulary=259, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    make_model(3, max_position_embeddings=256).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pair = pairs.pair(f"{folders[0]}::{folder}")
    assert tokens.compared_per(pair) is Per.BYTE
    scores = self_reading.cross_reading(tmp_path / "store", pair, sources[:1], SETTINGS)
    row = scores[(scores.scorer == "RLHF") & (scores.author == GOLD)].iloc[0]
    reader, base = loading.load(pair.models["RLHF"])[0], loading.tokenizer(pair.models["Base"])
    given, gold = sources[0].prefixes[0], sources[0].gold[0]
    begin, text = base.decode(given[1:]), base.decode(given[1:] + gold)
    ids = [[tokenizer.bos_token_id, *tokens.encode(tokenizer, [each])[0]] for each in (begin, text)]
    assert ids[1][: len(ids[0])] == ids[0]
    expected = dense_nll(reader, ids[0], ids[1][len(ids[0]) :], len(tokenizer))
    assert row.nll == pytest.approx(expected, rel=1e-4) and row.bytes == len(text) - len(begin)


def table(nll):
    """What `crossed` returns, for nll {source: {model: one number per prefix}}; 10 tokens and 40 bytes each."""
    rows = [
        {"scorer": model, "author": model, "category": "narrative", "source": source, "prefix": place, "nll": each}
        for source, models_ in nll.items()
        for model, values in models_.items()
        for place, each in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(tokens=10, bytes=40)


def test_self_perplexity_by_hand():
    scores = table({"one": {"Base": [5, 15], "RLHF": [5, 5]}, "two": {"Base": [10, 30], "RLHF": [10, 10]}})
    frame = self_reading.self_perplexity(scores, Per.TOKEN).set_index(["category", "source", "unit", "model"])
    assert frame.estimate["narrative", "one", self_reading.PERPLEXITY, "Base"] == pytest.approx(np.exp(1))
    assert frame.estimate["narrative", "two", self_reading.BITS, "Base"] == pytest.approx(0.5 / np.log(2))
    assert frame.estimate["narrative", "one", self_reading.RATIO, "RLHF"] == pytest.approx(np.exp(-0.5))
    overall = frame.loc[(self_reading.ALL, self_reading.MEAN, self_reading.RATIO, "RLHF")]
    assert overall.estimate == pytest.approx(np.exp((-0.5 - 1) / 2)) and overall.prefixes == 4
    assert frame.low["narrative", "one", self_reading.RATIO, "RLHF"] == pytest.approx(np.exp(-1))
    bytewise = self_reading.self_perplexity(scores, Per.BYTE)
    assert self_reading.PERPLEXITY not in set(bytewise.unit)
    ratio = bytewise[(bytewise.unit == self_reading.RATIO) & (bytewise.model == "RLHF") & (bytewise.source == "one")]
    assert ratio.estimate.item() == pytest.approx(np.exp(-5 / 40))


def judged(one, two, kinds=("talk", "talk")):
    """Verdicts by the paper's rule and by ours on two sources of a category each, where Base has 10 nats for all."""
    scores = table({"one": {"Base": [10, 10, 10], "RLHF": one}, "two": {"Base": [10, 10, 10], "RLHF": two}})
    scores["category"] = scores.source.map(dict(zip(("one", "two"), kinds, strict=True)))
    frame = self_reading.self_perplexity(scores, Per.TOKEN)
    return self_reading.judge(frame), self_reading.judge_beyond(frame)


@pytest.mark.parametrize(
    ("rlhf", "said"), [([4, 5, 6], "holds"), ([10, 10, 10], "fails"), ([9.8, 10, 10.1], "undecided")]
)
def test_c5_looks_at_every_category_and_ours_at_every_source(rlhf, said):
    theirs, ours = judged([4, 5, 6], rlhf)
    assert (theirs.verdict, ours.verdict) == ("holds", said) and (theirs.protocol, ours.protocol) == ("paper", "book")
    for found in (theirs, ours):
        assert found.n == 6 and found.estimate == pytest.approx(np.exp((0.5 + sum(rlhf) / 30) / 2 - 1))
    assert [each.verdict for each in judged([4, 5, 6], rlhf, ("talk", "news"))] == [said, said]


def test_a_category_that_is_harder_fails_though_one_of_its_sources_is_easier():
    theirs, ours = judged([9, 9, 9], [13, 13, 13])
    assert (theirs.verdict, ours.verdict) == ("fails", "fails") and theirs.estimate == pytest.approx(np.exp(0.1))


def test_matrix_by_hand():
    frame = pd.concat(
        [
            table({"one": {"Base": [5, 15]}, "two": {"Base": [10, 30]}}).assign(author=author)
            for author in ("Base", "RLHF")
        ]
    )
    frame.loc[frame.author == "RLHF", "nll"] *= 2
    cells = self_reading.reading_matrix(frame).set_index(["category", "scorer", "author"])
    assert cells.index.get_level_values("category").unique().tolist() == [self_reading.ALL, "narrative"]
    assert cells.prefixes["all", "Base", "RLHF"] == len(frame.groupby(["source", "prefix"]))
    assert cells.estimate["all", "Base", "Base"] == pytest.approx((0.25 + 0.5) / 2 / np.log(2))
    assert cells.estimate["all", "Base", "RLHF"] == pytest.approx((0.5 + 1) / 2 / np.log(2))


def test_its_rung_is_nats_per_token_of_own_completions():
    nll = {
        "one": {"Base": [5, 15], "SFT": [8, 8], "RLHF": [1, 3]},
        "two": {"Base": [1, 1], "SFT": [2, 4], "RLHF": [7, 7]},
    }
    scores = table(nll)
    foreign = scores.assign(author=GOLD, nll=99)
    rung = self_reading.rung(pd.concat([foreign, scores], ignore_index=True))
    assert values(rung) == pytest.approx([(1 + 0.1) / 2, (0.8 + 0.3) / 2, (0.2 + 0.7) / 2]) and rung.claim == "C5"


@pytest.mark.parametrize("seed", range(3))
def test_the_rule_knows_no_order_of_rows(seed):
    scores = table({"one": {"Base": [5, 15], "RLHF": [4, 9]}, "two": {"Base": [10, 30], "RLHF": [10, 10]}})
    frame = self_reading.self_perplexity(scores, Per.TOKEN)
    for rule in (self_reading.judge, self_reading.judge_beyond):
        assert rule(shuffled(frame, seed)) == rule(frame)
