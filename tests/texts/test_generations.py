"""Words of many scripts, and the files in which people have generations."""

import gzip
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predact.errors import UserError
from predact.texts import generations
from predact.texts.generations import ALONE, Generation, words

SCRIPTS = {
    "Hindi": "हिन्दी में पाँच शब्द हैं",
    "Tamil": "தமிழ் மொழி மிகவும் அழகான மொழி",
    "Vietnamese, decomposed": unicodedata.normalize("NFD", "tiếng Việt rất là đẹp"),
    "Arabic": "اللغةُ العربيةُ لغةٌ جميلةٌ جدًّا",
    "Hebrew": 'צה"ל הוא צבא של ישראל',
    "Korean": "한국어 단어 는 다섯 개",
    "emoji": "👩‍👩‍👧 👍🏽 🇩🇪 ❤️ 👨🏿‍🚀",
    "English": "Don't stop 3.14 naïve_x 1,000",
}


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_five_words_are_five_in_every_script(text):
    assert [word.strip() for word in words(text)] == text.split(" ") and len(words(text)) == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("東京です", ["東", "京", "で", "す"]),
        ("ភាសាខ្មែរ", ["ភា", "សា", "ខ្", "មែ", "រ"]),
        ("ง่าย", ["ง่", "า", "ย"]),
        ("Stop,  then\n\ngo! ", ["Stop", ",", "  then", "\n\ngo", "!", " "]),
        ("\n", ["\n"]),
        ("", []),
    ],
    ids=["Japanese", "Khmer", "Thai", "spaces", "a space", "nothing"],
)
def test_a_word_has_the_space_before_it_and_scripts_without_spaces_are_cut_by_character(text, expected):
    assert words(text) == expected


@settings(max_examples=40, deadline=None)
@given(st.text())
def test_words_joined_are_the_text(text):
    assert "".join(words(text)) == text


@pytest.fixture
def file(tmp_path):
    """A function that writes records, or bytes, into a file and returns its path."""

    def write(*records, name="mine.jsonl"):
        path = tmp_path / name
        lines = (each if isinstance(each, bytes) else json.dumps(each).encode() for each in records)
        path.write_bytes(b"\n".join(lines))
        return path

    return write


USER, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
PARTS = {"role": "assistant", "content": [{"type": "text", "text": "S"}, {"type": "text", "text": "o."}]}
BODY = {"model": "gpt", "choices": [{"index": 0, "message": ANSWER}]}
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        *(({"prompt": "Why?", field: "So."}, ("Why?", "So.", ALONE)) for field in generations.TEXT),
        ({"question": "Why?", "response": "So.", "model": "m"}, ("Why?", "So.", "m")),
        ({"instruction": "Why?", "output": "So.", "input": ""}, ("Why?", "So.", ALONE)),
        ({"messages": [USER, ANSWER]}, ("Why?", "So.", ALONE)),
        ({"messages": [USER, PARTS]}, ("Why?", "So.", ALONE)),
        ({"messages": [SYSTEM, USER, ANSWER]}, ("Be brief.\n\nWhy?", "So.", ALONE)),
        ({"messages": [USER], "completion": "So."}, ("Why?", "So.", ALONE)),
        ({"prompt": [USER], "completion": [ANSWER]}, ("Why?", "So.", ALONE)),
        ({"prompt": "Why?", "model": "m", "choices": [{"text": "So."}]}, ("Why?", "So.", "m")),
        ({"prompt": "Why?", **BODY}, ("Why?", "So.", "gpt")),
        ({"custom_id": "1", "response": {"status_code": 200, "body": BODY}, "error": None}, ("1", "So.", "gpt")),
        ({"prompt": " Why?\n", "generation": " So. "}, ("Why?", " So. ", ALONE)),
    ],
)
def test_a_record_is_read_as_it_is(file, record, expected):
    assert generations.read(file(record)) == ([Generation(*expected)], [])


def test_a_record_may_hold_several_generations(file):
    records = [{"prompt": "p", "generations": ["a", "b"]}, {"prompt": "p", "choices": [{"text": "c"}, {"text": ""}]}]
    assert [each.text for each in generations.read(file(*records))[0]] == ["a", "b", "c", ""]


def test_csv_json_and_gzip_are_read_too(file):
    expected = [Generation("p, q", 'a "b"\nc\u2028d', "m"), Generation("p, q", "", "m")]
    table = 'prompt,completion,model\r\n"p, q","a ""b""\nc\u2028d",m\r\n"p, q",,m\r\n'.encode()
    rows = [{"prompt": each.prompt, "response": each.text, "model": "m"} for each in expected]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    for name, data in {
        "a.csv": table,
        "a.tsv.gz": gzip.compress(table.replace(b",", b"\t").replace(b"p\t", b"p,")),
        "a.json": json.dumps(rows, indent=1).encode(),
        "b.json": lines,
        "a.jsonl.gz": gzip.compress(lines),
    }.items():
        assert generations.read(file(data, name=name))[0] == expected, name


def test_what_is_left_out_or_merged_is_told(file):
    failed = {"custom_id": "x", "response": None, "error": {"code": "expired"}}
    rows = [{"prompt": f"p{end}", "generation": "a"} for end in ("", " ", "\n")]
    found, notes = generations.read(file(failed, *rows))
    assert [each.prompt for each in found] == ["p"] * 3
    assert notes == [
        "1 failed request of the batch left out.",
        "2 prompts differ from others in white space at their ends only: taken for the same.",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"prompt": "p", "generation": "a"}, {"prompt": "p", "generation": None}], "line 2, has no text in the field"),
        ([{"prompt": [None], "generation": "a"}], "line 1, has no text in the field 'prompt'"),
        ([{"messages": [{"content": 3}, {"role": "assistant", "content": "a"}]}], "has no text in the field 'prompt'"),
        ([{"prompt": "p", "text": "a", "x\ny": 1}], r"'generation'; found 'prompt', 'text', 'x\ny'; expected"),
        ([{"completion": "a", "id": 1}], "line 1, has no text in the field 'prompt'; found 'completion', 'id';"),
        ([{"prompt": "p", "choices": [{"message": {"content": None}}]}], "line 1, has no text in the field"),
        ([{"prompt": "p", "generation": "a", "model": 3}], "line 1, has no text in the field 'model'"),
        (b'{"prompt": "p\\ud83d", "generation": "a"}', r"line 1, holds '\ud83d' in its prompt, half of a character;"),
        (b'{"prompt": "p", "generation": "a\\ude00"}', r"holds '\ude00' in its generation, half of a character;"),
        (b"[" * 100_000, "line 1, is not JSON;"),
        (b'"text"', "line 1, has no text in the field 'prompt'; expected"),
    ],
)
def test_what_does_not_serve_is_one_line_with_file_record_and_fields(file, content, said):
    path = file(content) if isinstance(content, bytes) else file(*content)
    with pytest.raises(UserError) as caught:
        generations.read(path)
    assert str(caught.value).startswith(f"file: '{path}', ") and said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", b"prompt,output\na,b,c\n", "line 2, has more cells than the first line"),
        ("a.csv", b'prompt,output\na,"b\n', "at or after line 1, is not CSV"),
        ("a.csv", b"prompt,text\na,b\n", "line 2, has no text in the field 'generation'; found 'prompt', 'text'"),
        ("a.json", b'[{"prompt": "p"}]', "record 1, has no text in the field 'generation'"),
        ("a.gz", b"nonsense", "cannot be read"),
    ],
)
def test_so_it_is_of_other_kinds(file, name, data, said):
    with pytest.raises(UserError) as caught:
        generations.read(file(data, name=name))
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 1
