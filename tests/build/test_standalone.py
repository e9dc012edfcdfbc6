import json
import math
import re
import shutil
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from predact import cli
from predact.build import compared, standalone
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


def test_a_file_becomes_generations_by_prompt(file):
    texts = standalone.read(file([row("a b"), row("c", "Sing."), row("a b c"), row("", "Sing."), row("x", "Alone.")]))
    assert texts.prompts == {"1": "Tell me.", "2": "Sing."}, "a prompt with one generation is left out"
    assert texts.written[["prompt", "sample"]].to_numpy().tolist() == [["1", 0], ["2", 0], ["1", 1], ["2", 1]]
    assert [texts.decode(ids) for ids in texts.written.ids] == ["a b", "c", "a b c", ""]
    assert ngrams.most_shared(list(texts.written.ids[::2]), 2)[1].tolist() == [0, 1]
    assert texts.notes == ["1 prompt with a single generation left out."]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"'.*mine\.jsonl' is empty; expected JSON Lines with \{\"prompt\": .*"),
        (b"\n \n", r"'.*' is empty; .*"),
        (b"\xff\xfe{}", r"'.*' cannot be read as UTF-8 text \(UnicodeDecodeError\)\."),
        (b"[" * 100_000, r"'.*', line 1, is not JSON; expected JSON Lines .*"),
        (b"{nonsense\n", r"'.*', line 1, is not JSON; expected JSON Lines .*"),
        (
            [row("a"), {"prompt": "Tell me."}],
            r"'.*', line 2, has no text in the field 'generation'; found 'prompt'; .*",
        ),
        ([row("a"), {"generation": "a"}], r"'.*', line 2, has no text in the field 'prompt'; found 'generation'; .*"),
        ([row("a"), row(["a", 3])], r"'.*', line 2, has no text in the field 'generation'; .*"),
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
    assert not {"link", "iframe", "img", "object", "embed"} & {tag for tag, _ in tags}
    assert all(attributes["href"] in ("#prompt-1", "#prompt-2") for tag, attributes in tags if tag == "a")
    assert not any({"src", "srcset", "data", "onerror"} & set(attributes) for _, attributes in tags)
    assert not re.search(r"@import|url\(", "".join(re.findall(r"<style>(.*?)</style>", made, re.DOTALL)))
    assert "$vega" in made and "$$x" in made, "a dollar in a text is a dollar"


def test_texts_are_escaped_wherever_they_stand(made):
    assert "<script>alert" not in made and "<img src=x" not in made and "<b>" not in made
    assert made.count("<script>") == 4 and made.count('<script type="application/json">') == 4
    specs = re.findall(r'<script type="application/json">(.*?)</script>', made)
    assert all(json.loads(spec) for spec in specs)
    assert EVIL in json.dumps(json.loads(specs[0]), ensure_ascii=False).replace('\\"', '"')


def cells(page, begin):
    """The rows of the first table after some text, each a list of cells as they are told."""
    body = page[page.index("<tbody>", page.index(begin)) :]
    lines = re.findall(r"<tr>(.*?)</tr>", body[: body.index("</tbody>")], re.DOTALL)
    return [
        [re.sub(r"<.*?>", "", each) for each in re.findall(r"<td.*?>(.*?)</td>", line, re.DOTALL)] for line in lines
    ]


def test_the_table_tells_who_contains_the_commonest_n_gram(made):
    rows = cells(made, 'id="ngrams"')
    assert len(rows) == 2 * 2 and all(row[-2:] == ["4 of 4", "0, 1, 2, 3"] for row in rows)


JOKES = ["Why did the tomato turn red? It saw the salad.", "Why did the bicycle fall over? It was two tired.", "Knock!"]


@pytest.fixture(scope="module")
def jokes(tmp_path_factory):
    """The page of forty jokes: three different ones, and one of them told in two ways; and of another model's."""
    rows = [JOKES[0]] * 18 + [JOKES[1]] * 8 + [f"So. {JOKES[1]}"] * 6 + [JOKES[2]] * 8
    lines = [row(text) | {"model": "A"} for text in rows] + [row(text) | {"model": "B"} for text in JOKES]
    lines += [row(text, "العربية؟") | {"model": "B"} for text in ("لا", "نعم")]
    path = tmp_path_factory.mktemp("jokes") / "jokes.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    return standalone.page(standalone.read(path), "Jokes")


def test_the_page_begins_with_how_many_texts_are_different(jokes):
    assert jokes.index("How many different texts") < jokes.index("Anchor spans")
    rows = cells(jokes, "How many different texts")
    assert rows[0][:6] == ["A", "1", "40", "4", "40", "3"]
    assert rows[1] == ["B", "2", "5", "5", "0", "5", "not known of 2 prompts"]
    shares = [18 / 40, 14 / 40, 8 / 40]
    entropy = sum(-share * math.log(share) for share in shares) + 2 / 80
    estimate, low, high = map(float, re.findall(r"[\d.]+", rows[0][6]))
    assert estimate == pytest.approx(math.exp(entropy), abs=0.05) and 2 < low < estimate < high < 4


def test_modes_are_listed_with_what_they_share_and_texts_with_their_counts(jokes):
    rows = cells(jokes, "The largest modes of A")
    assert [each[:2] for each in rows] == [["18 (45%)", "1"], ["14 (35%)", "2"], ["8 (20%)", "1"]]
    assert [each[2] for each in rows] == JOKES and f"Why<mark>{JOKES[1][3:]}</mark>" in jokes
    assert cells(jokes, "The commonest texts") == [
        ["18", JOKES[0]],
        ["8", JOKES[2]],
        ["8", JOKES[1]],
        ["6", f"So. {JOKES[1]}"],
    ]
    assert "each is alone in its mode" in jokes


def test_the_diagram_begins_at_the_largest_share_at_which_there_is_something(jokes):
    choices = json.loads(re.search(r'id="choices">(.*?)</script>', jokes)[1])["thresholds"]
    share, length = choices["first"]["1"]
    assert (choices["shares"][share], choices["lengths"][length]) == ("40%", 5), "18 of 40; the next share is 60 %"
    assert choices["none"] == ["2"] and choices["names"]["1"][share][length] == "0"
    spec = json.loads(re.search(r'<script type="application/json">(.*?)</script>', jokes, re.DOTALL)[1])
    assert "A, 1: 18 of 40 generations hold" in spec["description"]
    bound = {param["name"] for param in spec["params"] if "bind" in param}
    assert not bound & {"prompt", "protocol"}, "the page chooses"


def test_every_prompt_has_an_address_and_every_text_its_direction(jokes):
    assert re.findall(r'<section id="(prompt-\d+)"', jokes) == ["prompt-1", "prompt-2"]
    assert set(re.findall(r'<a href="#(.*?)"', jokes)) == {"prompt-1", "prompt-2"}
    assert '<blockquote dir="auto">العربية؟</blockquote>' in jokes


def test_prompts_are_drawn_as_far_as_the_page_stays_small(file, monkeypatch):
    path = file([row("a b c", f"p{number}") for number in range(5) for _ in range(2)])
    texts = standalone.read(path)
    monkeypatch.setattr(standalone, "DRAWN", 12)
    assert list(standalone.shown(texts)) == ["1", "2"]
    monkeypatch.setattr(standalone, "DRAWN", 1)
    assert list(standalone.shown(texts)) == ["1"], "one at least"
    monkeypatch.setattr(standalone, "DRAWN", 99)
    monkeypatch.setattr(standalone, "SHOWN", 3)
    assert list(standalone.shown(texts)) == ["1", "2", "3"]


def test_long_lists_of_numbers_fold(jokes):
    (row,) = [row for row in cells(jokes, 'id="ngrams"') if row[:3] == ["Tell me.", "A", "5"]]
    assert row[-1].startswith("0, 1, 2, 3, 4, 5, …0, 1,") and "<details><summary>0, 1, 2, 3, 4, 5, …</summary>" in jokes


def test_a_sample_is_drawn_of_each_prompt_and_told(file):
    path = file([row(f"{number}", f"p{number % 2}") for number in range(40)])
    texts = standalone.read(path, 5)
    assert texts.written.groupby("prompt").size().tolist() == [5, 5]
    assert texts.notes == ["A random sample of 10 of 40 generations, 5 of a prompt."]
    drawn = [list(standalone.read(path, 5, seed).written["sample"]) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    for sample in (-1, 1, 5_001):
        with pytest.raises(UserError, match=rf"^sample: expected a whole number from 2 to 5,000, not {sample:,}\.$"):
            standalone.read(path, sample)
    for seed in (-1, 2**32):
        with pytest.raises(UserError, match=rf"^seed: expected a whole .* from 0 to 4,294,967,295, not {seed:,}\.$"):
            standalone.read(path, 5, seed)


def test_too_much_is_refused_in_one_line_with_the_way_out(file, monkeypatch):
    path = file([row(f"{number} b c") for number in range(60)])
    monkeypatch.setattr(standalone, "PATIENCE", 1)
    with pytest.raises(UserError, match=r"^file: this would take .*; draw a sample, for example --sample \d+\.$"):
        standalone.seconds(standalone.read(path))
    monkeypatch.setattr(standalone, "MOST", 50)
    with pytest.raises(UserError, match=r"^file: 60 generations of one prompt, 50 at most: draw .* --sample 50\.$"):
        standalone.read(path)
    assert len(standalone.read(path, 50).written) == 50
    monkeypatch.setattr(standalone.generations, "LONGEST", 2)
    with pytest.raises(UserError, match=r"^file: a generation in '.*' has 3 words, 2 at most: cut it, .*\.$"):
        standalone.read(path, 9)


def test_an_estimate_is_told_before_long_work(file, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "PATIENCE", 0)
    monkeypatch.setattr(standalone, "page", lambda *texts, **settings: "")
    done = CliRunner().invoke(cli.app, ["blueprint", str(file([row(TEXT)] * 2)), "--out", str(tmp_path / "o")])
    assert done.exit_code == 0 and re.match(r"This takes about \d+ seconds\.\n", done.stderr)


def test_one_prompt_of_two_short_texts_gives_a_page(file):
    page = standalone.page(standalone.read(file([row("a"), row("b"), row("c", "Alone.")])), "two")
    assert '<p class="note">1 prompt with a single generation left out.</p>' in page
    assert "2 generations for 1 prompt," in page and "no anchor spans" in page
    assert cells(page, "How many different texts") == [["1", "2", "2", "0", "2", "more than 2"]]


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


def compared_page(tmp_path, names, *more):
    """The verdicts on the page of a file whose first model writes other texts than its others."""
    shared = "one two three four five six seven eight nine ten"
    own = [" ".join(letter * size for size in range(1, 12)) for letter in "abcd"]
    rows = [
        {"model": name, "prompt": prompt, "generation": f"{shared if place else own[number]} {number}."}
        for place, name in enumerate(names)
        for prompt in ("Q", "R")
        for number in range(4)
    ]
    path = tmp_path / "models.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in [*rows, *more]))
    done = CliRunner().invoke(cli.app, ["blueprint", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out/index.html").read_text()
    return page, cells(page, 'id="verdicts"') if 'id="verdicts"' in page else []


def test_the_models_of_a_file_have_verdicts(tmp_path):
    page, rows = compared_page(tmp_path, ["Base", "RLHF"])
    assert [row[0][:4] for row in rows] == ["C6. ", "C7. ", "C8. "]
    assert (
        rows[0][2].startswith("1.000 [1.000, 1.000]") and "10-gram (Base&#39;s 0.250), in words, as they" in rows[0][2]
    )
    assert "by the book&#39;s rules" in page and "Taken as" not in page


def test_where_no_name_tells_the_order_does_and_the_page_says_so(tmp_path):
    alone = {"model": "<b>", "prompt": "only here", "generation": "a"}
    page, rows = compared_page(tmp_path, ["<b>", "other", "chat"], alone, alone, row("x", "Q") | {"model": "chat"})
    assert "Taken as Base is &lt;b&gt;, as RLHF chat: where no name tells, the order in the file does." in page
    assert "1 prompt without two generations by each model left out." in page
    assert "Of up to 5 generations of a prompt 4 were drawn at random." in page and len(rows) == 3
    assert compared.ends(["chat", "Base"]) == ("Base", "chat") and compared.ends(["RLHF", "a"]) == ("a", "RLHF")


def test_without_a_prompt_in_common_there_is_no_verdict(tmp_path):
    page, rows = compared_page(tmp_path, ["Base"], *[{"model": "RLHF", "prompt": "S", "generation": "a"}] * 2)
    assert rows == [] and "No prompt has two generations by each, so there is no verdict." in page
    assert "<h3>Verdicts" not in compared_page(tmp_path, ["Base"])[0]
