"""Passages: what is given and what is read, of gold text and of own generations."""

import numpy as np
import pandas as pd

from predact.models.passages import gold_passages, own_passages
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
