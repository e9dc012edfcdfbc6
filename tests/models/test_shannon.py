"""The Shannon game, against its definition: one token after the other, with nothing batched and nothing kept."""

import numpy as np
import pytest
import torch

from predact.models import loading, pairs, shannon, tokens
from predact.texts.endings import Ending

ENDINGS = [
    Ending("the cat sat on the", "mat"),
    Ending("the dog ran to the", "river"),
    Ending("a naïve café", "owner"),
    Ending("where the other cat saw a", "zebra"),
    Ending("the cat", "cat"),
    *(Ending(f"the dog saw {place}", word) for place, word in enumerate(["the", "and", "on", "dog"])),
]


@pytest.fixture
def pair(folders):
    return pairs.pair(f"{folders[0]}::{folders[1]}")


def logits_after(model, tokenizer, ids):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0, -1, : len(tokenizer)]


def by_definition(model, tokenizer, ending):
    before, whole = (tokenizer(text, add_special_tokens=False).input_ids for text in (ending.before, ending.text))
    assert whole[: len(before)] == before
    read, wrong = [tokenizer.bos_token_id, *before], 0
    for right in whole[len(before) :]:
        found = logits_after(model, tokenizer, read)
        wrong += sum(other > found[right] for other in found.tolist())
        read.append(right)
    said = [tokenizer.bos_token_id, *before]
    for _ in range(max(8, len(whole) - len(before) + 1)):
        likeliest = int(logits_after(model, tokenizer, said).argmax())
        if likeliest == tokenizer.eos_token_id:
            break
        said.append(likeliest)
    text = tokenizer.decode(said[1 + len(before) :]).split()
    return wrong, text[0].strip(shannon.MARKS) if text else ""


def test_guesses_are_those_of_the_definition(tmp_path, pair):
    played = shannon.play_pair(tmp_path, pair, ENDINGS)
    assert list(played.model.unique()) == ["Base", "RLHF"] and len(played) == 2 * len(ENDINGS)
    for row in played.itertuples():
        model, tokenizer = loading.load(pair.models[row.model])
        ending = ENDINGS[row.passage]
        assert (row.wrong, row.said) == by_definition(model, tokenizer, ending), ending
        assert row.word == ending.word and row.exact == (row.said == row.word)
        ids = [tokens.encode(tokenizer, [f" {word}"])[0] for word in (row.said, row.word)]
        assert row.tokens == len(ids[1]) and row.f1 == shannon.token_f1(*ids)
    assert (played.tokens > 1).any() and (played.wrong > 0).all()


def test_a_model_that_knows_the_passage_needs_no_guess(tmp_path, pair, monkeypatch):
    """A reader that always goes on as the text does, and then with another word, or with more of the same."""
    tokenizer = loading.tokenizer(pair.models["Base"])
    for after, said, exact in ((" cat", "mat", True), ("cat", "matcat", False)):
        (known,) = tokens.encode(tokenizer, ["the cat sat on the mat" + after])
        score_ids, calls = shannon.scoring.score_ids, []

        def knowing(
            model, sequences, given, vocabulary, window_lead, *, context, observe, known=known, score_ids=score_ids
        ):
            places = np.concatenate([np.arange(first, len(each)) for each, first in zip(sequences, given, strict=True)])
            observe(np.arange(len(places)), torch.eye(vocabulary)[[known[place - 1] for place in places]])
            return shannon.scoring.Scores(np.zeros(len(places)), np.zeros(len(places), np.int32))

        def goes_on(*_, known=known, calls=calls):
            calls.append(1)
            return [shannon.sampling.Generation(known[-4:], [], "length")]

        monkeypatch.setattr(shannon.scoring, "score_ids", knowing)
        monkeypatch.setattr(shannon.sampling, "sample", goes_on)
        monkeypatch.setattr(shannon, "_first_word", lambda _, given, ids: tokenizer.decode(ids).split()[0])
        row = shannon.play_pair(tmp_path / said, pair, ENDINGS[:1]).iloc[0]
        monkeypatch.undo()
        assert (row.wrong, bool(row.exact)) == (0, exact) and len(calls) == 2 * (not exact)


def test_of_a_long_passage_the_end_is_read(tmp_path, pair):
    long = Ending("the cat sat on the mat and " * 40 + "the dog ran to the", "river")
    played = shannon.play_pair(tmp_path, pair, [long], context=24)
    for row in played.itertuples():
        model, tokenizer = loading.load(pair.models[row.model])
        before, right = tokens.encode(tokenizer, [long.before, " river"])
        read, wrong = [tokenizer.bos_token_id, *before[-(24 - 8 - len(right) - 1) :]], 0
        for each in right:
            found = logits_after(model, tokenizer, read)
            wrong += int((found > found[each]).sum())
            read = [*read, each]
        assert row.wrong == wrong and row.tokens == len(right) > 1


def test_played_once_and_kept(tmp_path, pair, monkeypatch):
    played = shannon.play_pair(tmp_path, pair, ENDINGS)
    monkeypatch.setattr(loading, "loaded", lambda _: pytest.fail("a model was loaded"))
    assert shannon.play_pair(tmp_path, pair, ENDINGS).equals(played)


@pytest.mark.parametrize(
    ("said", "right", "f1"),
    [([1, 2], [1, 2], 1.0), ([1, 2, 3], [1], 0.5), ([1, 1], [1, 2], 0.5), ([3], [1, 2], 0.0), ([], [1], 0.0)],
)
def test_f1_of_two_bags_of_tokens_by_hand(said, right, f1):
    assert shannon.token_f1(said, right) == f1 == shannon.token_f1(right, said)
