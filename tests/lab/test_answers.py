"""Answers come a few at a time, are kept by their settings, and are shown as data."""

import numpy as np
import pytest

from predact.lab import answers
from predact.lab.answers import Answers
from predact.methods import blueprint
from predact.models.sampling import Generation, Settings
from tests.made import SPANS, aligned_rows, planned, word

SETTINGS = Settings(generations=10, max_new_tokens=5)


@pytest.fixture
def asked():
    """What a writer was asked, and the writer: it writes the first random number of each row."""
    asked = []

    def write(numbers):
        asked.append(numbers)
        return [Generation([int(1000 * row[0])], [0.0], "stop") for row in numbers]

    return asked, write


def test_answers_come_in_batches_and_a_stopped_question_goes_on_where_it_stopped(asked):
    kept, (numbers, write) = Answers(), asked
    first = kept.batches("RLHF", "Why?", SETTINGS, 0, 100, write)
    assert [len(next(first)) for _ in range(3)] == [0, 4, 8]
    first.close()
    assert [len(each) for each in kept.batches("RLHF", "Why?", SETTINGS, 0, 100, write)] == [8, 10]
    assert [len(each) for each in numbers] == [4, 4, 2] and numbers[0].shape[1] == 5
    *_, whole = Answers().batches("RLHF", "Why?", SETTINGS, 0, 100, write)
    *_, resumed = kept.batches("RLHF", "Why?", SETTINGS, 0, 100, write)
    assert resumed == whole, "an answer does not depend on when it was sampled"


def test_what_is_kept_is_not_sampled_again_but_other_settings_are(asked):
    kept, (numbers, write) = Answers(), asked
    *_, ten = kept.batches("RLHF", "Why?", SETTINGS, 0, 100, write)
    assert list(kept.batches("RLHF", "Why?", Settings(3, max_new_tokens=5), 0, 100, write)) == [ten[:3]]
    assert len(numbers) == 3
    for other in (
        ("Base", "Why?", SETTINGS, 0),
        ("RLHF", "How?", SETTINGS, 0),
        ("RLHF", "Why?", Settings(10, top_p=0.5, max_new_tokens=5), 0),
        ("RLHF", "Why?", SETTINGS, 1),
    ):
        before = len(numbers)
        list(kept.batches(*other, 100, write))
        assert len(numbers) == before + 3, other


def test_two_writers_draw_from_the_same_random_numbers(asked):
    kept, (_, write) = Answers(), asked
    both = [list(kept.batches(name, "Why?", SETTINGS, 0, 100, write))[-1] for name in ("Base", "RLHF")]
    assert both[0] == both[1]


def test_answers_become_a_frame_with_a_row_for_each():
    frame = answers.frame({"Base": [Generation([1, 2], [], "stop")], "RLHF": [Generation([], [], "stop")] * 2})
    assert list(zip(frame.model, frame["sample"], map(list, frame.ids), strict=True)) == [
        ("Base", 0, [1, 2]),
        ("RLHF", 0, []),
        ("RLHF", 1, []),
    ]
    assert frame.ids[1].dtype == np.int64


def test_passages_that_are_shared_are_marked_with_their_number():
    aligned = aligned_rows(planned(["AB", "AB", "A", ""]), prompt=answers.PROMPT)
    drawn = blueprint.blueprint(aligned, {"RLHF": word})
    texts = [word(ids) for ids in aligned.ids]
    page = answers.page({"RLHF": texts}, drawn)
    said = {name: word(SPANS[name]) for name in "AB"}
    assert page.count(f">{said['A']}</u><sup>1</sup>") == 3 and page.count(f">{said['B']}</u><sup>2</sup>") == 2
    assert "<u" not in answers.page({"RLHF": texts})


def test_parts_make_the_text_again():
    assert answers._parts("abcdef", [(2, 3, 5), (1, 1, 4)]) == [("a", 0), ("bc", 1), ("de", 2), ("f", 0)]
    assert answers._parts("", []) == [] and answers._parts("ab", []) == [("ab", 0)]


def test_what_a_model_writes_is_no_markup():
    page = answers.page({"<b>": ["<script>alert(1)</script>"]})
    assert "<script>" not in page and "&lt;script&gt;" in page and "<b><b>" not in page


def test_writers_answer_in_turn_until_all_have_done():
    found = answers.in_turn({"a": iter([[], [1]]), "b": iter([[2], [3], [4]])})
    assert list(found) == [("a", []), ("b", [2]), ("a", [1]), ("b", [3]), ("b", [4])]
