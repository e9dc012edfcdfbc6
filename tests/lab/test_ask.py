"""A question is asked as the book asks it; what answers share is counted."""

import numpy as np
import pandas as pd
import pytest

from predact.errors import UserError
from predact.lab import answers, ask
from predact.lab.held import Held
from predact.models import loading, pairs, sampling
from predact.models.sampling import Settings
from predact.texts.prompts import Prompt
from tests.made import SPANS, planned, word

SETTINGS = Settings(generations=3, max_new_tokens=6)
QUESTION = "Where does the river begin?"


@pytest.fixture(scope="module")
def pair():
    return pairs.pair("pocket")


@pytest.mark.parametrize("step", ["Base", "RLHF"])
def test_an_answer_of_the_laboratory_is_that_of_the_book(pair, step, tmp_path):
    room, write = ask.writer(Held(), pair, step, QUESTION, SETTINGS)
    *_, found = answers.Answers().batches(step, QUESTION, SETTINGS, 0, room, write)
    prompt = Prompt(QUESTION, "own", QUESTION)
    expected = sampling.sample_pair(tmp_path, pair, [prompt], SETTINGS, 0, [step])
    assert [each.ids for each in found] == [list(ids) for ids in expected.ids]


def test_a_question_that_cannot_be_asked_is_a_sentence(pair):
    with pytest.raises(UserError, match="question: write one"):
        ask.checked(" \n")
    with pytest.raises(UserError, match="question: it has .* tokens, the model reads at most"):
        ask.writer(Held(), pair, "RLHF", "why " * 5000, SETTINGS)
    assert ask.checked(" Why? ") == "Why?"


def test_what_answers_share_is_counted():
    def rows(model, plans):
        each = [np.array(ids, np.int64) for ids in planned(plans)]
        place = {"model": model, "category": "own", "prompt": answers.PROMPT, "sample": range(len(each))}
        return pd.DataFrame(place | {"ids": each})

    written = pd.concat([rows("Base", ["A", "", "", ""]), rows("RLHF", ["D", "D", "D", ""])], ignore_index=True)
    found = ask.shared(written, {"Base": word, "RLHF": word}, "Why?", share=0.5, length=5)
    base, rlhf = found.table.to_dict("records")
    assert (base["model"], base["answers"], base["different"], base["anchor spans"]) == ("Base", 4, 4, 0)
    assert (rlhf["anchor spans"], rlhf["with the commonest 5-gram"], rlhf["with the commonest 10-gram"]) == (1, 3, 3)
    assert rlhf["with the commonest 25-gram"] == 0 and base["with the commonest 5-gram"] == 1
    size, length = len(SPANS["D"]), sum(map(len, written[written.model == "RLHF"].ids))
    assert rlhf["tokens in them, %"] == round(100 * 3 * size / length)
    assert rlhf["commonest 10-gram"] == word(list(SPANS["D"])[:10])
    assert len(found.figures) == 3 and all(chart.to_dict()["description"] for chart in found.figures)


def test_two_models_stay_in_memory_the_oldest_goes_first(monkeypatch, pair):
    loaded = []
    monkeypatch.setattr(loading, "load", lambda model: loaded.append(model) or (model, None))
    held = Held()
    for step in ("Base", "SFT", "Base", "RLHF", "Base", "SFT"):
        assert held(pair.models[step])[0] == pair.models[step]
    steps = {model: step for step, model in pair.models.items()}
    assert [steps[each] for each in loaded] == ["Base", "SFT", "RLHF", "SFT"]
