"""The world against its targets, on so little of it that it takes a second."""

import math
from functools import partial

import pandas as pd
import pytest

from predact.methods import alignment
from predact.pocket.grammar import Document
from predact.recipe import calibration, variety


def test_bits_per_byte_by_hand():
    texts = [Document("ab", -2 * math.log(2)), Document("abcdef", -10 * math.log(2))]
    bits, error = calibration.bits_per_byte(texts)  # 12 bits in 8 bytes; residuals -1 and 1; 4 bytes a document
    assert (bits, error) == (pytest.approx(1.5), pytest.approx(1 / 4 / math.sqrt(2)))
    assert calibration.bits_per_byte([Document("é", -math.log(2))])[0] == pytest.approx(0.5), "bytes, not letters"


def test_documents_have_the_words_that_were_asked_for():
    drawn = calibration.documents("dialogue", words=400)
    lengths = [len(variety.words(each.text)) for each in drawn]
    assert sum(lengths) >= 400 > sum(lengths[:-1])


def test_the_table_tells_what_holds(monkeypatch):
    monkeypatch.setattr(calibration, "ANSWERS", 6)
    monkeypatch.setattr(variety, "of_answers", partial(variety.of_answers, align=alignment.align))
    corpora = calibration.of_corpora({name: calibration.documents(name, words=600) for name in ("stories", "news")})
    assert list(corpora.index) == ["stories", "news"] and (corpora.bits > 0.6).all()
    answers = {
        "world": calibration.of_questions(20),
        "Base": calibration.of_questions(20, lambda name, entity: ["a"] * 6),
    }
    table = calibration.against_targets(corpora, [8, 4, 2, 1] * 5, answers)
    assert table.Base["common5"] == "0" and pd.isna(table.Base["word forms"]) and not table.holds["unique1"]
    table = calibration.against_targets(corpora, [8, 4, 2, 1] * 5, {"world": answers["world"]})
    assert table.holds["common10"] and not table.holds["word forms"] and table.world["word forms"] == "20"
    assert {"unique1", "common50", "overlap", "tokens of an answer"} < set(table.index)
