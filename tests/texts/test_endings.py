import json

import pytest

from predact.errors import UserError
from predact.pocket import world
from predact.texts import endings, sources
from predact.texts.endings import Ending


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ('The bell rang. "It is late," said Olga', Ending('The bell rang. "It is late," said', "Olga")),
        ("He put it\n\nback.  \n", Ending("He put it", "back")),
        ("She gave me a well-worn!)", Ending("She gave me a", "well-worn")),
        ("in the café", Ending("in the", "café")),
    ],
)
def test_the_last_word_is_split_off_without_marks_after_it(tmp_path, text, ending):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}))
    assert endings.select(str(tmp_path / "a.jsonl"), 5) == [ending]
    assert ending.text == f"{ending.before} {ending.word}"


def test_lambada_is_read_from_the_hub_and_a_word_alone_is_left_out(tmp_path, monkeypatch):
    def known(*given):
        assert given == (tmp_path, "lambada", 9, 3, "last_words")
        return ["one two", "alone", "three four"]

    monkeypatch.setattr(sources, "of_dataset", known)
    with pytest.warns(
        UserWarning, match=r"^last_words: 1 of 3 passages of 'lambada' are left out \(of a single word: 1\)"
    ):
        assert endings.select("lambada", 9, 3, tmp_path) == [Ending("one", "two"), Ending("three", "four")]
    monkeypatch.setattr(sources, "of_dataset", lambda *_: ["alone", "!"])
    with pytest.raises(UserError, match="^last_words: 'lambada' has no passage of two words or more"):
        endings.select("lambada", 9, 3, tmp_path)


def test_the_world_has_as_many_as_are_wanted():
    few, many, other = endings.select("pocket", 3), endings.select("pocket", 9), endings.select("pocket", 9, seed=1)
    assert many[:3] == few and not {each.text for each in other} & {each.text for each in many}
    stories = [world.document("stories", "test", index).text for index in range(30)]
    assert all(any(story.startswith(each.text) for story in stories) for each in many)


def test_without_a_network_the_setting_is_named(tmp_path):
    with pytest.raises(
        UserError, match="^last_words: 'lambada', the dataset .* that come with predact: -p last_words pocket.$"
    ):
        endings.select("lambada", 3, root=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "one two"}\n{"text": "one \\ud83d"}', "line 2, holds '\\ud83d', which is half of a character"),
        ('{"txt": "one two"}', "has no field 'text', did you mean 'txt'?"),
        ("", "is empty; at least one document is needed"),
        ('{"text": "alone"}', "has no passage of two words or more"),
    ],
)
def test_a_file_of_passages_is_refused_by_the_setting_s_name(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(UserError, match="^last_words: ") as error:
        endings.select(str(tmp_path / "a.jsonl"), 3)
    assert message in str(error.value)
    with pytest.raises(UserError, match="^last_words: 'lambda' is not known, did you mean 'lambada'"):
        endings.select("lambda", 3)
