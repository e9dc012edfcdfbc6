import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from predact import cli
from predact.build import standalone
from predact.errors import UserError
from predact.methods import alignment, ngrams

TEXT = "The cat sat on the mat, and the dog ran to the river. "


@pytest.fixture
def file(tmp_path):
    """A function that writes rows (or bytes) into a file and returns its path."""

    def write(rows):
        path = tmp_path / "mine.jsonl"
        lines = rows if isinstance(rows, bytes) else "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        path.write_bytes(lines)
        return path

    return write


def row(generation, prompt="Tell me."):
    return {"prompt": prompt, "generation": generation}


@given(st.text())
def test_words_joined_are_the_text(text):
    assert "".join(standalone.WORD.findall(text)) == text


def test_a_word_has_the_space_before_it_and_scripts_without_spaces_are_cut_by_character():
    assert standalone.WORD.findall("Don't  stop, naïve_x!\n\n東京です ") == [
        *("Don", "'", "t", "  stop", ",", " naïve_x", "!", "\n\n東", "京", "で", "す", " ")
    ]


def test_a_file_becomes_generations_by_prompt(file):
    texts = standalone.read(file([row("a b"), row("c", "Sing."), row("a b c"), row("", "Sing."), row("x", "Alone.")]))
    assert texts.prompts == {"1": "Tell me.", "2": "Sing."}, "a prompt with one generation is left out"
    assert texts.written[["prompt", "sample"]].to_numpy().tolist() == [["1", 0], ["2", 0], ["1", 1], ["2", 1]]
    assert [texts.decode(ids) for ids in texts.written.ids] == ["a b", "c", "a b c", ""]
    assert ngrams.most_shared(list(texts.written.ids[::2]), 2)[1].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"'.*mine\.jsonl' is empty; expected JSON Lines with \{\"prompt\": .*"),
        (b"\n \n", r"'.*' is empty; .*"),
        (b"\xff\xfe{}", r"'.*' cannot be read as UTF-8 text \(UnicodeDecodeError\)\."),
        (b"{nonsense\n", r"'.*', line 1, is not JSON; expected JSON Lines .*"),
        ([row("a"), {"prompt": "Tell me."}], r"'.*', line 2, has no text in the field 'generation'; expected .*"),
        ([row("a"), {"generation": "a"}], r"'.*', line 2, has no text in the field 'prompt'; .*"),
        ([row("a"), {"prompt": "x", "generation": ["a"]}], r"'.*', line 2, has no text in the field 'generation'; .*"),
        ([["a", "b"]], r"'.*', line 1, has no text in the field 'prompt'; .*"),
        ([row("a")], r"no prompt in '.*' has two generations; two at least are needed, better a hundred\."),
    ],
)
def test_a_file_that_does_not_serve_is_one_line_and_leaves_nothing(file, tmp_path, content, said):
    path = file(content)
    with pytest.raises(UserError, match=rf"^file: {said}$") as caught:
        standalone.read(path)
    assert "\n" not in str(caught.value)
    out = tmp_path / "out"
    assert CliRunner().invoke(cli.app, ["blueprint", str(path), "--out", str(out)]).exit_code
    assert not out.exists()


def test_a_missing_file_is_one_line(tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(UserError, match=rf"^file: '{path}' is not a file; expected JSON Lines with .*$"):
            standalone.read(path)


def test_a_folder_that_cannot_be_written_is_one_line_that_names_out(file, tmp_path):
    (tmp_path / "taken").write_text("")
    found = CliRunner().invoke(cli.app, ["blueprint", str(file([row(TEXT)] * 3)), "--out", str(tmp_path / "taken")])
    assert isinstance(found.exception, UserError) and re.match(r"out: cannot write to .*;", str(found.exception))


EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "quotes" `ticks` $$x $vega ${draw} \u202e 🙂 '


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evil")
    rows = [row(TEXT + EVIL + TEXT * place, f"{EVIL}{number}") for number in range(2) for place in range(4)]
    (folder / "<b>.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    done = CliRunner().invoke(cli.app, ["blueprint", str(folder / "<b>.jsonl"), "--out", str(folder / "new/page")])
    assert done.exit_code == 0 and done.output.splitlines()[-1] == str(folder / "new/page/index.html")
    assert [path.name for path in (folder / "new/page").iterdir()] == ["index.html"]
    return (folder / "new/page/index.html").read_text()


def test_the_page_loads_nothing(made):
    assert "default-src 'none'" in made
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(made)
    assert {"script", "style", "table", "div"} <= {tag for tag, _ in tags}
    assert not {"link", "iframe", "img", "object", "embed", "a"} & {tag for tag, _ in tags}
    assert not any({"src", "href", "srcset", "data", "onerror"} & set(attributes) for _, attributes in tags)
    assert not re.search(r"@import|url\(", "".join(re.findall(r"<style>(.*?)</style>", made, re.DOTALL)))
    assert "$vega" in made and "$$x" in made, "a dollar in a text is a dollar"


def test_texts_are_escaped_wherever_they_stand(made):
    assert "<script>alert" not in made and "<img src=x" not in made and "<b>" not in made
    assert made.count("<script>") == 2 and made.count('<script type="application/json">') == 4
    specs = re.findall(r'<script type="application/json">(.*?)</script>', made)
    assert all(json.loads(spec) for spec in specs)
    assert EVIL in json.dumps(json.loads(specs[0]), ensure_ascii=False).replace('\\"', '"')


def test_the_table_tells_who_contains_the_commonest_n_gram(made):
    table = made[made.index("<tbody>") : made.index("</tbody>")]
    lines = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    assert len(lines) == 2 * 2 and all("<td>4 of 4</td><td>0, 1, 2, 3</td>" in line for line in lines)


def test_one_prompt_of_two_short_texts_gives_a_page(file):
    page = standalone.page(standalone.read(file([row("a"), row("b")])), "two")
    assert "2 generations for 1 prompt," in page and "no anchor spans" in page


@pytest.mark.parametrize("mafft", [True, False])
def test_by_the_papers_protocol_spans_are_of_characters(file, tmp_path, monkeypatch, mafft):
    if mafft and not shutil.which("mafft"):
        pytest.skip("needs MAFFT")
    if not mafft:
        monkeypatch.setattr(alignment, "mafft_version", lambda: None)
    passage = "Exactly this is what all of them share"
    path = file([row(f"{'xyz'[place]}. {passage}, {place}{place}!") for place in range(3)])
    done = CliRunner().invoke(cli.app, ["blueprint", str(path), "--out", str(tmp_path / "o"), "--protocol", "paper"])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "o/index.html").read_text()
    specs = [json.loads(each) for each in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    assert f'texts, 1: 3 of 3 generations hold ". {passage}' in specs[0]["description"]
    assert "at least 30 characters that at least 20%" in page and "pairs of generations" in page
    curves = [each["description"] for each in specs if each["description"].startswith("Proportion of pairs that match")]
    assert len(curves) == 1 and "texts, generations" in curves[0]
    assert "at least 5 words" not in page


def test_another_protocol_is_refused(file, tmp_path):
    path = file([row(TEXT)] * 2)
    done = CliRunner().invoke(cli.app, ["blueprint", str(path), "--out", str(tmp_path / "o"), "--protocol", "ours"])
    assert done.exit_code == 2 and not (tmp_path / "o").exists()
