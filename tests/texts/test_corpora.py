import hashlib
import json
import warnings

import numpy as np
import pandas as pd
import pytest

from predact import remarks
from predact.errors import UserError
from predact.pocket import world
from predact.texts import corpora, sources

NAME = next(iter(world.CORPORA))


def test_the_known_corpora_are_the_world_s_and_real_ones():
    known = corpora.corpora()
    own = known[known.origin == "the pocket world"]
    assert dict(zip(own.name, own.category, strict=True)) == world.CORPORA | world.HELD_OUT
    assert len(own) == 10 and own.category.nunique() == 4
    real = known[known.origin != "the pocket world"].set_index("name")
    assert known.name.is_unique and set(corpora.GROUPS) == {"pocket", "paper", "paper-self", "real"}
    for group in ("paper", "paper-self", "real"):
        assert corpora.GROUPS[group] == [name for name in corpora.GROUPS[group] if group in real.sets[name].split(", ")]


def test_the_sets_of_the_paper_are_its_tables_2_and_3():
    found = corpora.corpora().set_index("name")
    kinds = {group: found.category[corpora.GROUPS[group]].value_counts().to_dict() for group in corpora.GROUPS}
    assert kinds["paper"] == {"pretraining": 3, "new": 2, "instruction": 1, "chat": 3}
    assert kinds["paper-self"] == kinds["paper"] | {"instruction": 2, "chat": 4}
    assert set(corpora.GROUPS["paper-self"]) - set(corpora.GROUPS["paper"]) == {"lima", "vicuna"}
    assert len(corpora.GROUPS["real"]) == 9 and sum(kinds["real"].values()) == 9
    assert "stand-in for Humpback" in found.origin["backtranslated"]
    new = found[found.category == "new"].configuration
    assert set(new.index) == {"bbc", "arxiv-new"} and all(month > "2023-07" > "2020-02" for month in new)
    assert found.configuration["arxiv"] < "2022" < found.configuration["arxiv-new"]


def test_a_corpus_of_the_world_is_its_test_documents_with_their_nll():
    corpus = corpora.corpus(NAME, documents=3)
    written = [world.document(NAME, "test", index) for index in range(3)]
    assert corpus.texts == [document.text for document in written]
    np.testing.assert_array_equal(corpus.world_nll, [-document.log_probability for document in written])
    assert (corpus.world_nll > 0).all()
    assert corpus.category == world.CORPORA[NAME]


def test_seed_and_number_of_documents():
    few, many, other = corpora.corpus(NAME, 2), corpora.corpus(NAME, 5), corpora.corpus(NAME, 5, seed=1)
    assert many.texts[:2] == few.texts
    assert not set(other.texts) & set(many.texts)
    assert len({few.fingerprint, many.fingerprint, other.fingerprint}) == 3
    assert corpora.corpus(NAME, 5).fingerprint == many.fingerprint


def test_select():
    assert [corpus.name for corpus in corpora.select(["pocket"], documents=1)] == list(world.CORPORA)
    with pytest.raises(UserError, match=f"corpora: {NAME!r} is named twice"):
        corpora.select(["pocket", NAME], documents=1)


@pytest.fixture
def records():
    return [{"text": f"text {index} é", "body": f"body {index}"} for index in range(20)]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_records(tmp_path, records, suffix):
    path = tmp_path / f"notes.{suffix}"
    if suffix == "parquet":
        pd.DataFrame(records).to_parquet(path)
    else:
        lines = "\n".join(map(json.dumps, records))
        path.write_text(lines if suffix == "jsonl" else json.dumps(records), encoding="utf-8")
    corpus = corpora.corpus(str(path), documents=100)
    assert sorted(corpus.texts) == sorted(record["text"] for record in records)
    assert corpus.texts != [record["text"] for record in records]
    assert (corpus.name, corpus.category, corpus.world_nll) == ("notes", "file", None)
    assert corpora.corpus(str(path), documents=7).texts == corpus.texts[:7]
    assert corpora.corpus(str(path), seed=1).texts != corpus.texts
    assert corpora.corpus(f"{path}:body", documents=1).texts[0].startswith("body")


def test_text_file_is_gathered_at_blank_lines(tmp_path):
    blocks = [f"{index} " + "x" * 697 for index in range(5)]
    (tmp_path / "a.txt").write_text("\n \n".join(blocks), encoding="utf-8")
    texts = corpora.corpus(str(tmp_path / "a.txt")).texts
    assert sorted(texts) == ["\n \n".join(blocks[:3]), "\n \n".join(blocks[3:])]
    (tmp_path / "a.txt").write_text("x" * 2000 + "\n\n\n")
    with warnings.catch_warnings(action="error"):
        assert corpora.corpus(str(tmp_path / "a.txt")).texts == ["x" * 2000]


def test_text_file_keeps_single_line_breaks_and_drops_the_byte_order_mark(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n  two\n")
    assert corpora.corpus(str(tmp_path / "a.txt")).texts == ["one\n  two\n"]


def test_documents_without_text_and_copies_are_left_out_with_a_word(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": " "}\n{"text": null}\n{"other": 1}\n{"text": "b\\n"}\n{"text": " b"}\n{"text": "c"}\n')
    told = f"corpora: 4 of 6 documents of '{path}' are left out (without text: 3, {sources.COPIES}: 1)."
    with pytest.warns(UserWarning) as warned:
        assert sorted(corpora.corpus(str(path)).texts) == ["b\n", "c"]
        assert sorted(corpora.corpus(str(path)).texts) == ["b\n", "c"]
    assert [str(each.message) for each in warned] == [told] and told in remarks.remarks()
    path.write_text('{"text": "c"}\n')
    assert corpora.corpus(str(path)).texts == ["c"] and told not in remarks.remarks()


def test_a_text_is_what_is_written_whatever_it_looks_like(tmp_path):
    texts = ["2024-01-01", "1", "null", "\u2028 a\x85b", "\0", "😀", '{"text": 1}', "a\r\nb"]
    (tmp_path / "a.jsonl").write_text("\r\n".join(json.dumps({"text": text}) for text in texts))
    (tmp_path / "b.json").write_text(json.dumps([{"text": text} for text in texts], indent=1, ensure_ascii=False))
    pd.DataFrame({"text": texts}).to_parquet(tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.json", "c.parquet"):
        assert sources.of_path(tmp_path / name) == texts


def test_a_field_that_is_null_for_thousands_of_records_may_hold_text_later(tmp_path):
    records = [*[{"text": f"text {n}", "about": None} for n in range(4000)], {"text": "last", "about": "something"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert len(sources.of_path(tmp_path / "a.jsonl")) == 4001
    with pytest.warns(UserWarning, match=r"4,000 of 4,001 documents of .* are left out \(without text: 4,000\)"):
        assert sources.of_path(tmp_path / "a.jsonl", "about") == ["something"]


@pytest.mark.parametrize("suffix", ["jsonl", "txt", "parquet"])
@pytest.mark.parametrize(
    "name", ["notes [1]", "q?", "x [draft]", "{a,b}", "*", "@a", "%41", "a:text", "~x", "#", "http:"]
)
def test_a_file_is_the_one_of_its_name_and_no_other(tmp_path, monkeypatch, name, suffix):
    monkeypatch.chdir(tmp_path)
    for other in ("notes 1", "qa", "x d", "a", "b", "A", name):
        text = f"text of {other}"
        if suffix == "parquet":
            pd.DataFrame({"text": [text]}).to_parquet(tmp_path / f"{other}.parquet")
        else:
            (tmp_path / f"{other}.{suffix}").write_text(text if suffix == "txt" else json.dumps({"text": text}))
    found = corpora.corpus(f"{name}.{suffix}")
    assert (found.name, found.texts) == (name, [f"text of {name}"])
    assert corpora.corpus(str(tmp_path / f"{name}.{suffix}")).texts == found.texts


@pytest.mark.parametrize("name", ["", ":text", " "])
def test_no_name_is_no_folder(tmp_path, monkeypatch, name):
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"^corpora: '{name}' is not known"):
        corpora.corpus(name)
    assert corpora.corpus(".").name == tmp_path.name


def test_names_that_no_file_can_have_or_that_are_not_utf_8(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("~nosuchuser/x", "~\0.txt", "~\ud83d/x", "a/" + "b" * 5000, "\ud83d.txt"):
        with pytest.raises(UserError, match="^corpora: the file '.*' does not exist"):
            corpora.corpus(name)
    (tmp_path / "in").mkdir()
    for folder in (tmp_path, tmp_path / "in"):
        (folder / "a\udcff.txt").write_text("a")
    with pytest.raises(UserError, match=r"^corpora: the name of 'a\\udcff.txt' is not UTF-8; give it another name.$"):
        corpora.corpus("a\udcff.txt")
    assert corpora.corpus("in").texts == ["a"]


def test_a_folder_is_a_corpus_of_all_its_files(tmp_path):
    (tmp_path / "notes/deep").mkdir(parents=True)
    (tmp_path / "notes/a.txt").write_text("one")
    (tmp_path / "notes/deep/b.jsonl").write_text('{"text": "two"}\n{"text": "three"}')
    (tmp_path / "notes/picture.png").write_bytes(b"1")
    corpus = corpora.corpus(str(tmp_path / "notes"))
    assert sorted(corpus.texts) == ["one", "three", "two"] and corpus.name == "notes"
    (tmp_path / "notes/around").symlink_to(tmp_path / "notes")
    (tmp_path / "notes/v1.txt").mkdir()
    assert corpora.corpus(str(tmp_path / "notes")).texts == corpus.texts
    (tmp_path / "notes").rename(tmp_path / "v1.2")
    assert corpora.corpus(str(tmp_path / "v1.2")).name == "v1.2"


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    def walk(folder, onerror):
        onerror(PermissionError(13, "Permission denied", f"{folder}/closed"))

    monkeypatch.setattr("os.walk", walk)
    with pytest.raises(UserError, match=r"^corpora: the folder '.*/closed' cannot be read \(Permission denied\)\.$"):
        sources.of_path(tmp_path)


BAD = {
    "empty.txt": b"",
    "blank.txt": b" \n\n ",
    "latin.txt": "é".encode("latin-1"),
    "latin.jsonl": '{"text": "é"}'.encode("latin-1"),
    "empty.jsonl": b"",
    "broken.jsonl": b'{"text": "a"}\nnot json\n',
    "broken.json": b'[{"text": "a"},\n',
    "half.jsonl": b'{"text": "a \\ud83d\\ude00"}\n{"text": "a \\ud83d"}\n',
    "half.json": b'[{"text": "a"}, {"text": "a", "turns": ["\\ud83d"]}]',
    "deep.jsonl": b'{"a":' * 100_000,
    "deep.json": b"[" * 100_000,
    "list.json": b'["a", "b"]',
    "broken.parquet": b"not parquet",
    "fields.jsonl": b'{"txt": "a", "id": 1}\n',
    "number.jsonl": b'{"text": 1}\n',
    "picture.png": b"1",
}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.txt", "is empty"),
        ("blank.txt", "is empty"),
        ("latin.txt", "is not UTF-8 text"),
        ("latin.jsonl", "is not UTF-8 text"),
        ("empty.jsonl", "is empty"),
        ("broken.jsonl", "line 2, is not JSON; expected a JSON object in every line, or a JSON list of objects."),
        ("broken.json", "broken.json', read as a list, is not JSON; expected"),
        ("half.jsonl", "line 2, holds '\\ud83d', which is half of a character"),
        ("half.json", "record 2, holds '\\ud83d', which is half of a character"),
        ("deep.jsonl", "line 1, is nested too deeply"),
        ("deep.json", "is nested too deeply"),
        ("list.json", "has no field 'text'; it has none. Name another"),
        ("rows.parquet", "rows.parquet' is empty"),
        ("broken.parquet", "cannot be read"),
        ("fields.jsonl", "has no field 'text', did you mean 'txt'? Name another as 'fields.jsonl:FIELD'."),
        ("fields.jsonl:bdy", "has no field 'bdy'; it has id, txt. Name another"),
        ("number.jsonl", "line 1, has no text in the field 'text'; name another as 'FILE:FIELD'."),
        ("number.parquet", "row 1, has no text in the field 'text'"),
        ("number.parquet:a", "has no field 'a'; it has text"),
        ("nothing", "is empty of .txt, .jsonl, .json, .parquet files"),
        ("picture.png", "is not of a kind that can be read: .txt, .jsonl, .json, .parquet."),
        ("missing.txt", "does not exist; name a file"),
        ("missing.jsonl:body", "does not exist; name a file"),
        ("nobody/a\0\n.txt", "does not exist; name a file"),
        ("a" * 5000, "is not known. Run"),
        ("loop.txt", "loop.txt' does not exist"),
        ("links", "links/loop.txt' is no file, or a link that leads nowhere"),
    ],
)
def test_files_that_are_no_corpus(tmp_path, monkeypatch, capfd, name, message):
    for file, content in BAD.items():
        (tmp_path / file).write_bytes(content)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "links").mkdir()
    for place in ("loop.txt", "links/loop.txt"):
        (tmp_path / place).symlink_to("loop.txt")
    pd.DataFrame({"text": pd.Series(dtype=str)}).to_parquet(tmp_path / "rows.parquet")
    pd.DataFrame({"text": [1]}).to_parquet(tmp_path / "number.parquet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        corpora.corpus(name)
    assert str(error.value).startswith("corpora: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
    assert capfd.readouterr() == ("", "")


def test_unknown_name_and_number():
    with pytest.raises(
        UserError, match=rf"^corpora: '{NAME[:-1]}' is not known, did you mean '{NAME}'.*predact corpora`"
    ):
        corpora.corpus(NAME[:-1])
    with pytest.raises(UserError, match="documents: expected a whole number above 0, not 0"):
        corpora.corpus(NAME, documents=0)


def test_parts_depend_on_the_text_alone():
    texts = [f"document number {n}" for n in range(4000)]
    whole = corpora.Corpus("made", "kind", texts, np.arange(4000.0), "made")
    parts = corpora.split(whole)
    assert sorted(text for part in parts.values() for text in part.texts) == sorted(texts)
    for name, share in corpora.PARTS.items():
        assert len(parts[name].texts) / 4000 == pytest.approx(share, abs=0.03)
        assert [texts[int(nll)] for nll in parts[name].world_nll] == parts[name].texts
        assert (parts[name].name, parts[name].category) == ("made", "kind")
    few = corpora.split(corpora.Corpus("made", "kind", texts[::-40], None, "made"))
    for name, part in few.items():
        assert set(part.texts) <= set(parts[name].texts) and part.world_nll is None
        assert part.fingerprint != parts[name].fingerprint
    places = {text: name for name, part in parts.items() for text in part.texts}
    mark = int(hashlib.sha256(b"document number 7").hexdigest()[:16], 16) / 16**16
    assert places[texts[7]] == ("train" if mark < 0.7 else "validation" if mark < 0.8 else "test")


def test_copies_of_a_document_are_in_the_same_part():
    texts = [f"the cat {n}" for n in range(60)]
    copies = [text.replace(" ", "\n  ") + " " for text in texts]
    for part in corpora.split(corpora.Corpus("twice", "kind", texts + texts + copies, None, "twice")).values():
        assert len(part.texts) == 3 * len({" ".join(text.split()) for text in part.texts})


def test_the_shipped_corpora_can_be_split():
    parts = corpora.split(corpora.corpus("news", 100))
    assert sum(len(part.texts) for part in parts.values()) == 100 and len(parts["test"].texts) > 10


@pytest.mark.parametrize("size", [1, 3])
def test_a_corpus_too_small_to_split_is_refused(size):
    small = corpora.Corpus("tiny", "kind", [f"text {n}" for n in range(size)], None, "tiny")
    with pytest.raises(UserError, match=f"corpora: 'tiny' is too small to finetune on: of its {size} documents the"):
        corpora.split(small)
