import json
import time

import pytest

from predact import remarks
from predact.errors import UserError
from predact.texts import prompts, sources
from predact.texts.prompts import Prompt


@pytest.fixture
def file(tmp_path):
    """A function that writes a file of prompts and returns its path."""

    def write(content):
        path = tmp_path / "mine.jsonl"
        if isinstance(content, list):
            content = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_the_general_prompts_are_ten_categories_of_eight():
    found = prompts.select("general")
    categories = [prompt.category for prompt in found]
    assert {category: categories.count(category) for category in categories} == dict.fromkeys(categories, 8)
    assert len(set(categories)) == 10
    assert len({prompt.text for prompt in found}) == len({prompt.id for prompt in found}) == len(found) == 80


def test_the_pocket_prompts_are_eighty():
    found = prompts.select("pocket")
    assert len({prompt.id for prompt in found}) == len({prompt.text for prompt in found}) == len(found) == 80


@pytest.mark.parametrize("name", ["general", "pocket"])
def test_the_limit_takes_the_first(name):
    assert prompts.select(name, 3) == prompts.select(name)[:3]
    assert prompts.select(name, 1000) == prompts.select(name)


def test_a_file_of_prompts(file):
    path = file([{"id": "x", "category": "cats", "prompt": "Why do cats purr? 🙂"}, {"id": 7, "prompt": "Sing."}])
    assert prompts.select(path) == [Prompt("x", "cats", "Why do cats purr? 🙂"), Prompt("7", "prompts", "Sing.")]
    assert [prompt.id for prompt in prompts.select(path, 1)] == ["x"]


def test_a_file_in_the_form_of_vicuna_bench_asks_the_first_turn(file):
    first = {"question_id": 81, "category": "writing", "turns": ["Write.", "Rewrite."]}
    second = {"question_id": 82, "category": "math", "turns": ["Count."], "reference": ["1, 2"]}
    assert prompts.select(file([first, second])) == [Prompt("81", "writing", "Write."), Prompt("82", "math", "Count.")]


def test_prompts_without_ids_have_the_number_of_their_line(file):
    found = prompts.select(file('\ufeff{"prompt": "é"}\r\n\r\n{"prompt": "b"}'))
    assert found == [Prompt("1", "prompts", "é"), Prompt("3", "prompts", "b")]


def test_a_null_is_no_id_and_no_category(file):
    found = prompts.select(file([{"id": None, "category": None, "prompt": text} for text in "ab"]))
    assert found == [Prompt("1", "prompts", "a"), Prompt("2", "prompts", "b")]


def test_white_space_at_the_ends_is_taken_off_and_copies_are_left_out_with_a_word(file):
    path = file([{"id": text, "prompt": text} for text in ("a", " b\n", "a ", "a\n", "a  b", "b")])
    told = f"prompts: 3 of 6 prompts of '{path}' are left out ({sources.COPIES}: 3)."
    with pytest.warns(UserWarning) as warned:
        found = prompts.select(path)
        assert prompts.select(path) == found
    assert [(prompt.id, prompt.text) for prompt in found] == [("a", "a"), (" b\n", "b"), ("a  b", "a  b")]
    assert [str(each.message) for each in warned] == [told] and told in remarks.remarks()


def test_many_prompts_are_read_in_no_time(file):
    begun = time.process_time()
    path = file("".join(f'{{"id": {n}, "prompt": "prompt {n}"}}\n' for n in range(20_000)))
    assert len(prompts.select(path)) == 20_000 and time.process_time() - begun < 2


def test_a_line_ends_where_json_lines_says(file):
    texts = ["one\u2028two", "three\u0085four"]
    assert [prompt.text for prompt in prompts.select(file([{"prompt": text} for text in texts]))] == texts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; at least one prompt is needed"),
        ("\n \n", "is empty"),
        ('{"prompt": "a"}\nprompt: b\n', "line 2, is not JSON; expected JSON Lines with `prompt`"),
        ([{"prompt": "a"}, {"text": "b"}], "line 2, holds no prompt; expected JSON Lines with `prompt`"),
        ([{"prompt": " "}], "line 1, holds no prompt"),
        ([{"prompt": None}], "line 1, holds no prompt"),
        ([{"question_id": 1, "turns": []}], "line 1, holds no prompt"),
        ([["a"]], "line 1, holds no prompt"),
        ([{"id": "x", "prompt": "a"}, {"id": "x", "prompt": "b"}], "the id 'x' stands twice in "),
        ([{"id": 2, "prompt": "a"}, {"prompt": "b"}], "the id '2' stands twice in "),
        ('{"prompt": "naïve"}'.encode("latin-1"), "cannot be read as UTF-8 text"),
        ('{"prompt": "a"}\n{"prompt": "\\ud83d"}', "line 2, holds '\\ud83d', which is half of a character"),
        ('{"prompt": "a", "id": "\\udc00"}', "line 1, holds '\\udc00', which is half of a character"),
        ("[" * 100_000, "line 1, is nested too deeply"),
        ([{"prompt": "a", "id": [1]}], "line 1, has no text in 'id'; expected a text or a whole number"),
        ([{"prompt": "a", "category": True}], "line 1, has no text in 'category'"),
    ],
)
def test_a_file_that_holds_no_prompts_is_one_line_that_says_where(file, content, message):
    with pytest.raises(UserError, match="^prompts: ") as error:
        prompts.select(file(content))
    assert message in str(error.value)
    assert "mine.jsonl'" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("genral", "^prompts: 'genral' is not known, did you mean 'general'?"),
        ("zzz", "^prompts: 'zzz' is not known. Name a file, or general or pocket.$"),
        ("no/such.jsonl", "^prompts: the file 'no/such.jsonl' does not exist; name a file, or general or pocket.$"),
        ("tests", "^prompts: the file 'tests' is not a file; name a file, or general or pocket.$"),
        ("~nosuchuser/x", "^prompts: '~nosuchuser/x' is not known"),
        ("~\0", r"^prompts: '~\\x00' is not known"),
        ("a" * 5000, "^prompts: 'a{53}…a{107}' is not known. Name a file"),
        ("a\0\n.jsonl", r"^prompts: the file 'a\\x00\\n.jsonl' does not exist"),
        ("", "^prompts: '' is not known"),
    ],
)
def test_an_unknown_name_says_what_is_known(name, message):
    with pytest.raises(UserError, match=message):
        prompts.select(name)


def test_a_negative_limit():
    with pytest.raises(UserError, match="^prompts_limit: expected a whole number, 0 for all prompts, not -1"):
        prompts.select("general", -1)
