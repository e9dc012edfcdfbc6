"""C10 by hand: means over passages, paired differences, the rule, and guesses on gold text."""

import numpy as np
import pandas as pd
import pytest

from predact.claims import last_word, materials, paper
from predact.claims.last_word import AT_ONCE, DIFFERENCE, EXACT, F1, PER_TOKEN, WRONG
from predact.models import runs, shannon
from predact.models.tokens import Per
from predact.texts.endings import Ending


def played(**models):
    """The game as `shannon.play_pair` tells it, from wrong guesses by model and passage; none of them is a hit."""
    rows = [
        {"model": model, "passage": place, "word": f"w{place}", "said": "w" if wrong else f"w{place}", "tokens": 1}
        | {"wrong": wrong, "exact": wrong == 0, "f1": 0.5 if wrong else 1.0}
        for model, guesses in models.items()
        for place, wrong in enumerate(guesses)
    ]
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    return frame.sort_values("model", key=lambda names: names.map(list(models).index), kind="stable")


def test_table_1_by_hand():
    frame = last_word.last_words(played(Base=[0, 0, 3, 1], RLHF=[0, 4, 7, 9])).set_index(["unit", "model"])
    assert frame.estimate.to_dict() == {
        (WRONG, "Base"): 1, (WRONG, "RLHF"): 5, (EXACT, "Base"): 50, (EXACT, "RLHF"): 25,
        (F1, "Base"): 75, (F1, "RLHF"): 62.5,
    }  # fmt: skip
    assert (frame.low <= frame.estimate).all() and (frame.estimate <= frame.high).all() and set(frame.passages) == {4}


def test_differences_are_paired_by_passage():
    game = played(Base=[0, 100, 0, 200], SFT=[5, 5, 5, 5], RLHF=[2, 102, 2, 202])
    frame = last_word.differences(game).set_index("unit")
    assert frame.loc[WRONG, ["estimate", "low", "high"]].tolist() == [2, 2, 2]
    assert frame.estimate[EXACT] == -50 and list(frame.index) == list(last_word.UNITS)


SURE, MORE = [0] * 30 + [9] * 10, [0] * 5 + [9] * 35


@pytest.mark.parametrize(
    ("base", "rlhf", "said"),
    [
        (SURE, MORE, "holds"),
        (MORE, SURE, "fails"),
        (SURE, SURE, "fails"),
        (SURE, [0] * 30 + [99] * 10, "fails"),  # more guesses, but as many hits
        (SURE, [1] * 40, "fails"),  # no hits, but fewer guesses
        ([0] * 39 + [9], [0] * 38 + [9] * 2, "undecided"),
    ],
)
def test_more_wrong_guesses_and_fewer_hits(base, rlhf, said):
    row = last_word.judge(last_word.differences(played(Base=base, RLHF=rlhf)), Per.TOKEN)
    assert (row.verdict, row.n, row.protocol, row.id) == (said, 40, "paper", "C10")
    assert row.estimate == pytest.approx(np.mean(rlhf) - np.mean(base))


def test_other_tokens_take_other_numbers_of_guesses():
    game = played(Base=SURE, RLHF=MORE)
    assert last_word.judge(last_word.differences(game), Per.BYTE).verdict == "undecided"
    assert last_word.judge_beyond(last_word.by_corpus(ranked()), Per.BYTE).verdict == "undecided"


def ranked(more=2):
    """Three documents of two corpora; Base's ranks are 0, 1, 2, 3 and RLHF's `more`; the first token is not scored."""
    rows = [
        {"corpus": corpus, "model": model, "doc": doc, "position": place, "id": 7, "nll": 1.0 if place else np.nan}
        | {"rank": place - 1 + (model == ("RLHF" if more > 0 else "Base")) * abs(more) * (place > 0)}
        for corpus in ("a", "b")
        for model in ("Base", "RLHF")
        for doc in range(3)
        for place in range(5)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0).sort_values(["corpus", "model"])


def test_guesses_on_gold_text_by_hand():
    frame = last_word.by_corpus(ranked()).set_index(["corpus", "unit", "model"]).sort_index()
    assert frame.estimate["a", PER_TOKEN].to_dict() == {"Base": 1.5, "RLHF": 3.5, DIFFERENCE: 2}
    assert frame.estimate["b", AT_ONCE].to_dict() == {"Base": 25, "RLHF": 0, DIFFERENCE: -25}
    assert set(frame.documents) == {3} and (frame.low == frame.high).all()


@pytest.mark.parametrize(("more", "said"), [(2, "holds"), (0, "fails"), (-1, "fails")])
def test_more_guesses_on_every_corpus(more, said):
    row = last_word.judge_beyond(last_word.by_corpus(ranked(more)), Per.TOKEN)
    assert (row.verdict, row.estimate, row.protocol) == (said, more, "book")


def test_the_paper_s_table_stands_beside():
    game = played(Base=[0, 2], RLHF=[1, 3])
    table = last_word.beside_the_paper(last_word.last_words(game), paper.values("Table 1")).set_index("model")
    assert list(table.index[:3]) == ["Base", "RLHF", "paper: Llama 2 7B Base"] and len(table) == 6
    assert table.loc["paper: Llama 2 70B RLHF"].tolist() == ["8.64", "66.47", "67.50"]
    assert table.loc["Base", WRONG] == "1.00 (0.00 to 2.00)"


def test_passages_that_rlhf_misses():
    game = played(Base=[0, 0, 0, 5], RLHF=[3, 0, 8, 9])
    given = [Ending(f"far too long {place} <b>", f"w{place}") for place in range(4)]
    frame = last_word.missed(game, given, words=2)
    assert frame["last word"].tolist() == ["w2", "w0"] and frame["wrong guesses"].tolist() == [8, 3]
    assert frame.passage[0] == "… 2 <b> …" and set(frame["RLHF says"]) == {"w"}


def test_a_run_plays_on_its_pairs_passages(tmp_path, monkeypatch):
    run = runs.run("pocket", "classroom", 2, tmp_path, passages=3, context=99)
    monkeypatch.setattr(shannon, "play_pair", lambda *given: given)
    root, pair, given, context = last_word.guesses(run)
    assert (root, pair, context) == (tmp_path, run.pair, 99) and given == last_word.passages(run) and len(given) == 3
    (tmp_path / "mine.jsonl").write_text('{"text": "one two"}')
    other = runs.run("pocket", "classroom", 2, tmp_path, last_words=str(tmp_path / "mine.jsonl"))
    assert last_word.passages(other) == [Ending("one", "two")]
    work = last_word.CLAIM.work(run)
    assert work["last words"].scored == 3 * 3 * 100 and work["documents"] == materials.documents_work(run)["documents"]


def test_the_rung_is_the_wrong_guesses():
    (rung,) = last_word.rungs(played(Base=[0, 2], SFT=[1, 1], RLHF=[1, 3]))
    assert rung.claim == "C10" and np.array(rung.strata[0]).shape == (2, 3, 2)
    totals = rung.strata[0].sum(axis=0)
    assert (totals[:, 0] / totals[:, 1]).tolist() == [1, 1, 2]
