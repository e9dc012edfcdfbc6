"""C7: share inside anchor spans, and spans of halves held out, by hand; the rules."""

import re

import numpy as np
import pandas as pd
import pytest

from predact.claims import backbone, paper, skeleton
from predact.claims.skeleton import COVERED, SPANS
from predact.methods import alignment, alignments
from predact.methods.alignments import HALVES, TEXTS
from predact.methods.ngrams import ACROSS, GENERATIONS, SHUFFLED
from tests.made import shuffled, values, word, written


def ordered(order=(0.8, 0.7, 0.9)):
    """What `skeleton.share_and_order` returns; without an order RLHF has none, its nulls and Base have."""
    rows = [("RLHF", GENERATIONS, skeleton.COVERED, 0.6, 0.5, 0.7), ("RLHF", ACROSS, skeleton.ORDER, 0.5, 0.4, 0.6)]
    rows += [("Base", GENERATIONS, skeleton.ORDER, 0.2, 0.1, 0.3)]
    rows += [("RLHF", GENERATIONS, skeleton.ORDER, *order)] * bool(order)
    frame = pd.DataFrame(rows, columns=["model", "text", "measure", "estimate", "low", "high"])
    return frame.assign(prompts=np.where(frame.measure == skeleton.ORDER, 30, 40))


@pytest.mark.parametrize(
    ("order", "verdict"),
    [
        ((0.8, 0.51, 0.9), "holds"),
        ((0.8, 0.5, 0.9), "undecided"),
        ((0.4, 0.3, 0.6), "undecided"),
        ((0.4, 0.3, 0.5), "fails"),
    ],
)
def test_by_our_measure_the_order_held_out_lies_above_chance(order, verdict):
    found = skeleton.judge_beyond(ordered(order))
    assert found.verdict == verdict and found.protocol == "book"
    assert (found.id, found.estimate, found.low, found.high, found.null, found.n) == ("C7", *order, 0.5, 30)
    assert found.unit == "share of pairs of RLHF's anchor spans in the common order, held out"


def test_without_two_spans_anywhere_there_is_no_order():
    frame = ordered(order=())
    for each in (frame, frame[frame.measure != skeleton.ORDER]):
        found = skeleton.judge_beyond(each)
        assert (found.verdict, found.estimate, found.low, found.high, found.n) == ("fails", 0, 0, 0, 0)


def inside(rlhf=(0.3, 0.5), base=(0.1, 0.1), across=(0.1, 0.3), mixed=(0.0, 0.0)):
    """What `skeleton.inside_curves` returns for two prompts whose mean along the text is this."""
    shares = {("RLHF", GENERATIONS): rlhf, ("RLHF", ACROSS): across, ("RLHF", SHUFFLED): mixed}
    shares |= {("Base", GENERATIONS): base, ("Base", ACROSS): (0.9, 0.9)}
    return {key: np.array(each)[:, None] + np.tile([-0.1, 0.1], 50) for key, each in shares.items()}


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, "holds"),
        ({"base": (0.3, 0.5)}, "fails"),
        ({"base": (0.4, 0.4)}, "undecided"),
        ({"across": (0.6, 0.6)}, "fails"),
        ({"across": (0.4, 0.4)}, "undecided"),
        ({"mixed": (0.4, 0.4)}, "undecided"),
    ],
)
def test_by_the_papers_rule_more_is_inside_spans_than_of_base_and_of_chance(given, verdict):
    assert skeleton.judge(inside(**given)).verdict == verdict


def test_the_papers_rule_gives_the_mean_along_the_text_beside_base_and_the_higher_null():
    found = skeleton.judge(inside())
    assert (found.id, found.n, found.protocol) == ("C7", 2, "paper")
    assert [found.estimate, found.low, found.high, found.null] == pytest.approx([0.4, 0.3, 0.5, 0.2])
    assert found.unit == "share of generations inside an anchor span, RLHF's mean along the text (Base's 0.100)"
    cases = skeleton.inside_cases(inside()).set_index("case")
    assert cases.loc["RLHF's, minus Base's"].tolist() == pytest.approx([0.3, 0.2, 0.4]), "paired by prompts"
    assert cases.loc["RLHF's, minus the higher null"].tolist() == pytest.approx([0.2, 0.1, 0.3])


def test_curves_inside_spans_by_hand(tmp_path):
    passage = "Dear reader, here is what I know about it:"  # 42 characters, and as many of their own
    own = ["".join(chr(0x4E00 + 100 * row + place) for place in range(len(passage))) for row in range(5)]
    texts = [passage + own[row] if row < 2 else own[row] for row in range(5)]
    words = {text: [ord(each) for each in text] for text in texts}
    made = written({"a": list(words.values())}, "RLHF")
    characters = alignments.align_characters(tmp_path, made, {"RLHF": lambda ids: "".join(map(chr, ids))})
    curve = skeleton.inside_curves(characters)["RLHF", GENERATIONS]
    assert curve.shape == (1, 100) and curve[0] == pytest.approx([0.4] * 50 + [0] * 50)
    assert not skeleton.inside_curves(characters, share=0.5)["RLHF", GENERATIONS].any()
    assert not skeleton.inside_curves(characters, length=43)["RLHF", GENERATIONS].any()


def test_it_tells_the_means_of_the_papers_figure():
    told = re.findall(r"0\.\d{3}", skeleton.CLAIM.paper)
    means = backbone.paper_pairs(paper.values("14")).set_index("pair")
    models = [("Llama 2 7B", "RLHF"), ("Llama 2 7B", "Base"), ("Llama 2 70B", "RLHF"), ("Llama 2 70B", "Base")]
    assert told == [f"{means.loc[each]:.3f}" for each in models]


def own(seed, *parts):
    """A text of tokens that no other has around the passages given."""
    fresh = np.arange(1000 * (seed + 1), 1000 * (seed + 2))
    return [int(token) for place, part in enumerate(parts) for token in (*fresh[5 * place :][:5], *part)]


def test_spans_of_one_half_are_looked_for_in_the_other(tmp_path):
    both, even, late = list(range(8)), list(range(50, 70)), list(range(80, 86))
    rows = [own(row, both, late) if row % 2 else own(row, both, even, late) for row in range(8)]
    found = skeleton.count_anchored(alignments.align_pair(tmp_path, written({"a": rows}))).set_index("text")
    assert found.columns.tolist() == ["model", "prompt", "spans", "tokens", "covered", "agreeing", "pairs"]
    odd_tokens, even_tokens = 4 * (10 + 14), 4 * (15 + 34)
    first, second = (found.loc[half, found.columns[2:]].tolist() for half in HALVES)
    assert first == [3, odd_tokens, 4 * 14, 4, 4], "what only the even ones have is not in the odd ones"
    assert second == [2, even_tokens, 4 * 14, 4, 4], "and is no span of the odd ones"
    whole = [3, odd_tokens + even_tokens, 8 * 14 + 4 * 20, 4 + 4 * 3, 4 + 4 * 3]
    assert found.loc[GENERATIONS, found.columns[2:]].tolist() == whole
    assert not found.loc[SHUFFLED, ["spans", "covered", "agreeing", "pairs"]].any()
    assert set(found.index) == {*TEXTS, *HALVES} and found.loc[SHUFFLED, "tokens"] == odd_tokens + even_tokens


def test_share_and_length_are_those_of_the_spans(tmp_path):
    rows = [own(row, range(6), range(50, 58)) if row < 2 else own(row, range(6)) for row in range(4)]
    aligned = alignments.align_pair(tmp_path, written({"a": rows}))
    found = [skeleton.count_anchored(aligned, *each).spans[0] for each in [(0.5, 5), (0.75, 5), (0.5, 7), (0.75, 7)]]
    assert found == [2, 1, 1, 0]


@pytest.mark.parametrize(("turned", "agreement"), [((), 1), ((2, 3), 0.5), ((1, 2, 3), 0.75), ((0, 1, 2, 3), 1)])
def test_an_order_turned_round_in_half_of_the_generations_agrees_in_half_of_the_pairs(tmp_path, turned, agreement):
    left, right = list(range(10)), list(range(50, 58))
    texts = {}
    for prompt in "ab":
        orders = [[right, left] if row // 2 % 4 in turned else [left, right] for row in range(16)]
        texts[prompt] = [own(row, *each) for row, each in enumerate(orders)]
    counts = skeleton.count_anchored(alignments.align_pair(tmp_path, written(texts)))
    assert counts.set_index("text").pairs[list(HALVES)].tolist() == [8] * 4, "both spans are found, wherever they stand"
    row = skeleton.share_and_order(counts).query("measure == @skeleton.ORDER").iloc[0]
    assert (row.estimate, row.low, row.high, row.prompts) == (agreement, agreement, agreement, 2)


def counts(text, covered=(0, 0), tokens=(9, 9), spans=(0, 0), agreeing=(0, 0), pairs=(0, 0), model="Base"):
    columns = {"covered": covered, "tokens": tokens, "spans": spans, "agreeing": agreeing, "pairs": pairs}
    return pd.DataFrame({"model": model, "text": text, "prompt": ["a", "b"]} | columns)


def test_shares_numbers_and_order_by_hand():
    frame = pd.concat(
        [
            counts(GENERATIONS, (10, 40), (40, 60), (2, 5), agreeing=(0, 0), pairs=(99, 99)),
            counts(HALVES[0], (1, 1), (2, 2), (9, 9), agreeing=(3, 1), pairs=(4, 2)),
            counts(HALVES[1], (1, 1), (2, 2), (9, 9), agreeing=(4, 0), pairs=(4, 0)),
            counts(SHUFFLED, (0, 9), (9, 9), (0, 2), agreeing=(0, 1), pairs=(0, 3)),
            counts(GENERATIONS, (6, 6), (12, 12), (1, 1), model="RLHF"),
            *(counts(half, model="RLHF") for half in HALVES),
        ],
        ignore_index=True,
    )
    found = skeleton.share_and_order(frame)
    assert found.columns.tolist() == ["measure", "model", "text", "estimate", "low", "high", "unit", "prompts"]
    assert set(found.text) == {GENERATIONS, SHUFFLED} and (found.unit == found.measure).all()
    rows = found.set_index(["model", "text", "measure"])
    own = rows.loc["Base", GENERATIONS]
    assert own.loc[COVERED, ["estimate", "low", "high"]].tolist() == [0.5, 10 / 40, 40 / 60]
    assert own.loc[SPANS, ["estimate", "low", "high"]].tolist() == [3.5, 2, 5]
    assert own.loc[skeleton.ORDER, ["estimate", "low", "high"]].tolist() == [8 / 10, 1 / 2, 7 / 8], "of the halves"
    null = rows.loc["Base", SHUFFLED]
    assert null.estimate.tolist() == [0.5, 1, 1 / 3] and null.prompts.tolist() == [2, 2, 1], "order: where there is one"
    assert rows.loc["RLHF", GENERATIONS].estimate.to_dict() == {COVERED: 0.5, SPANS: 1}, "no two spans, no order"


def test_one_prompt_gives_estimates_without_intervals(tmp_path):
    made = written({"a": [own(row, range(6), range(50, 58)) for row in range(6)]})
    aligned = alignments.align_pair(tmp_path, pd.concat([made, made.assign(model="RLHF")], ignore_index=True))
    curves = backbone.mean_curves(backbone.companion_curves(aligned))
    order = skeleton.share_and_order(skeleton.count_anchored(aligned))
    for frame in (curves, order):
        assert (
            set(frame.prompts) == {1} and frame[["low", "high"]].isna().all(axis=None) and frame.estimate.notna().all()
        )
    assert order.query("model == 'RLHF' and text == @GENERATIONS").estimate.tolist() == [14 / 24, 2, 1]
    assert curves[(curves.others == 5) & (curves.text == GENERATIONS)].estimate.max() == 100


@pytest.mark.parametrize("generations", [[[], []], [[], [4], []]])
def test_texts_of_nothing_are_aligned_and_hold_nothing(tmp_path, generations):
    aligned = alignments.align_pair(tmp_path, written({"a": generations, "b": [[1, 2], [1, 3]]}))
    part = aligned[(aligned.prompt == "a") & (aligned.text == GENERATIONS)]
    assert np.array_equal(alignments.matrix(part), alignment.align(generations))
    assert not skeleton.count_anchored(aligned)[["spans", "covered", "agreeing", "pairs"]].any(axis=None)
    assert not backbone.companion_curves(aligned)["Base", GENERATIONS][0].any()


def test_one_generation_of_a_prompt_leaves_none_to_hold_out(tmp_path):
    aligned = alignments.align_pair(tmp_path, written({"a": [[1, 2, 3, 4, 5, 6]]}))
    assert not skeleton.count_anchored(aligned)[["spans", "covered", "pairs"]].any(axis=None)


@pytest.mark.parametrize("generations", range(1, 7))
def test_too_few_generations_are_undecided_not_a_claim_that_fails(tmp_path, generations):
    """A single generation has nothing to share, and five have no five others: zero there is no measurement."""
    passage = list(range(40))
    texts = {prompt: [own(row, passage) for row in range(generations)] for prompt in "ab"}
    made = pd.concat([written(texts), written(texts, "RLHF")], ignore_index=True)
    characters = alignments.align_characters(tmp_path, made, dict.fromkeys(("Base", "RLHF"), word))
    inside, overlap = skeleton.inside_curves(characters), backbone.overlap_curves(characters)
    aligned = alignments.align_pair(tmp_path, made)
    counts = skeleton.share_and_order(skeleton.count_anchored(aligned))
    found = {
        "C7": (skeleton.judge(inside, generations), 2),
        "C7, ours": (skeleton.judge_beyond(counts, generations), 2),
        "C8": (backbone.judge(overlap, generations), 5),
        "C8, ours": (backbone.judge_beyond(backbone.companion_curves(aligned), 5, generations)[1], 6),
    }
    for name, (verdict, least) in found.items():
        measured = generations >= least
        assert (verdict.estimate is not None) == measured, name
        assert measured or (verdict.verdict, verdict.n) == ("undecided", 0), name


def test_an_order_that_rests_on_one_prompt_is_undecided(tmp_path):
    left, right = list(range(10)), list(range(50, 58))
    texts = {"a": [own(row, left, right) for row in range(8)], "b": [own(row) for row in range(8)]}
    counts = skeleton.count_anchored(alignments.align_pair(tmp_path, written(texts, "RLHF")))
    found = skeleton.judge_beyond(skeleton.share_and_order(counts))
    assert (found.verdict, found.estimate, found.protocol) == ("undecided", None, "book")
    assert found.unit.endswith("held out: fewer than two prompts or documents could be measured")


def test_its_rung_is_the_share_of_tokens_in_spans():
    counted = pd.DataFrame(
        {
            "prompt": prompt,
            "model": model,
            "text": text,
            "covered": 2 * place if text == GENERATIONS else 9,
            "tokens": 10,
        }
        for place, model in enumerate(("Base", "SFT", "RLHF"))
        for prompt in ("p", "q")
        for text in (GENERATIONS, ACROSS, HALVES[0])
    )
    rung = skeleton.rung(counted)
    assert values(rung) == pytest.approx([0, 0.2, 0.4]) and rung.claim == "C7"


@pytest.mark.parametrize("seed", range(3))
def test_the_rule_knows_no_order_of_rows(seed):
    assert skeleton.judge_beyond(shuffled(ordered(), seed)) == skeleton.judge_beyond(ordered())
