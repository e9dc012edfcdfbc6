"""Datasets of the hub, stood in for by a folder of the same form: streamed once, pinned, kept; and no network."""

import json
from types import SimpleNamespace

import pytest

from predact import remarks, store
from predact.errors import UserError
from predact.texts import corpora, sources
from predact.texts.sources import Dataset

NAME = "instructions"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A dataset of 3,000 records, some of them empty; what was streamed of it is counted."""
    folder, streamed = tmp_path / "hub", []
    folder.mkdir()
    records = [{"response": f"answer {n}" if n % 5 else [None, "", " \n"][n % 3], "other": n} for n in range(3000)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, records)))
    import datasets

    whole = datasets.load_dataset

    def load(path, config=None, *, revision=None, data_files=None, **options):
        streamed.append((path, config, revision or data_files))
        return whole("json", data_files={options["split"]: str(folder / "train.jsonl")}, **options)

    monkeypatch.setattr(datasets, "load_dataset", load)
    told = SimpleNamespace(sha="0123abc")
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, revision, timeout: told)
    return streamed


def test_documents_are_streamed_once_at_one_commit_and_kept(tmp_path, hub):
    store.reset_used()
    corpus = corpora.corpus(NAME, 7, root=tmp_path)
    assert corpus.texts == [f"answer {n}" for n in (1, 2, 3, 4, 6, 7, 8)]
    assert (corpus.name, corpus.category, corpus.world_nll) == (NAME, "instruction", None)
    assert hub == [("databricks/databricks-dolly-15k", None, "0123abc")]
    inputs = [each["inputs"] for each in store.used() if each["stage"] == "documents"]
    assert inputs[0]["commit"] == "0123abc" and inputs[0]["dataset"] == "databricks/databricks-dolly-15k"
    assert corpora.corpus(NAME, 7, root=tmp_path).fingerprint == corpus.fingerprint
    assert len(hub) == 1
    assert corpora.corpus(NAME, 9, root=tmp_path).texts[:7] == corpus.texts
    assert corpora.corpus(NAME, 2, seed=1, root=tmp_path).texts == ["answer 1001", "answer 1002"]


def test_copies_of_a_dataset_are_left_out_with_a_word_also_when_they_come_from_the_store(tmp_path, hub):
    lines = [json.dumps({"response": text}) for text in ("a", "b", " a\n", "c", "b", "d")]
    (tmp_path / "hub" / "train.jsonl").write_text("\n".join(lines))
    told = f"corpora: 2 of 5 documents of 'instructions' are left out ({sources.COPIES}: 2)."
    for _ in range(2):
        remarks.reset()
        with pytest.warns(UserWarning) as warned:
            assert corpora.corpus(NAME, 5, root=tmp_path).texts == ["a", "b", "c"]
        assert [str(each.message) for each in warned] == [told] == remarks.remarks()
    assert len(hub) == 1


def test_what_is_in_the_store_needs_no_network(tmp_path, hub, monkeypatch):
    first = corpora.corpus(NAME, 7, root=tmp_path)

    def unreachable(*_, **__):
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    assert corpora.corpus(NAME, 7, root=tmp_path).texts == first.texts
    with pytest.raises(UserError) as error:
        corpora.corpus("books", 7, root=tmp_path)
    assert str(error.value) == (
        "corpora: 'books', the dataset emozilla/pg19 of the hub, cannot be fetched (no route to host). Run this once "
        "where there is a network, or name files or folders of your own, or the texts that come with predact: "
        "-p corpora pocket."
    )


def test_the_real_network_is_missed_in_one_line(tmp_path):
    with pytest.raises(UserError, match="^corpora: 'web', the dataset HuggingFaceFW/fineweb of") as error:
        corpora.select(["real"], 3, root=tmp_path)
    assert "\n" not in str(error.value)


def test_a_seed_beyond_the_end(tmp_path, hub):
    with pytest.raises(UserError, match="seed: 'instructions' has too few documents for seed 3"):
        corpora.corpus(NAME, 7, seed=3, root=tmp_path)


def test_long_documents_are_cut_at_the_end_of_a_word():
    assert sources._cut("a " * 9_000) == "a " * 9_000
    cut = sources._cut("word " * 9_000)
    assert len(cut) == sources.LONGEST - 1 and cut.endswith("word")
    assert sources._cut("x" * 30_000) == "x" * sources.LONGEST


def test_every_dataset_says_what_it_is():
    known = sources.datasets()
    assert all(each.about and each.licence and "/" in each.dataset for each in known.values())
    assert isinstance(known["web"], Dataset) and set().union(*sources.sets().values()) == set(known) - {"lambada"}
    assert len({(each.dataset, each.config, each.files) for each in known.values()}) == len(known)


def filled(tmp_path, records):
    (tmp_path / "hub/train.jsonl").write_text("\n".join(map(json.dumps, records)))


def test_a_month_is_another_configuration_and_another_corpus(tmp_path, hub):
    filled(tmp_path, [{"content": f"news {n}", "title": "t"} for n in range(9)])
    usual, other = (corpora.corpus(name, 2, root=tmp_path) for name in ("bbc", "bbc@2024-06"))
    assert [config for _, config, _ in hub] == ["2024-05", "2024-06"]
    assert (other.name, other.category, other.texts) == ("bbc@2024-06", "new", usual.texts)
    assert corpora.corpus("bbc@2024-06", 2, root=tmp_path).texts == usual.texts and len(hub) == 2
    assert sources.dataset("lima@2024-06") is None, "it has no configurations"
    with pytest.raises(UserError, match="corpora: 'bcc@2024-06' is not known"):
        corpora.corpus("bcc@2024-06", 2, root=tmp_path)


@pytest.mark.parametrize(
    ("name", "record", "text", "read"),
    [
        ("bbc", {"content": "a"}, "a", ("RealTimeData/bbc_news_alltime", "2024-05", "0123abc")),
        ("arxiv", {"text": "a"}, "a", ("RealTimeData/arxiv_alltime", "2020-01", "0123abc")),
        (
            "backtranslated",
            {"input": "q", "output": "a"},
            "\n\nHuman: q\n\nAssistant: a",
            ("akoksal/LongForm", None, "0123abc"),
        ),
        (
            "harmless",
            {"chosen": "\n\nHuman: q", "rejected": "r"},
            "\n\nHuman: q",
            ("json", None, "hf://datasets/Anthropic/hh-rlhf@0123abc/harmless-base/train.jsonl.gz"),
        ),
        (
            "lima",
            {"conversations": ["q", "a", "q2"]},
            "\n\nHuman: q\n\nAssistant: a\n\nHuman: q2",
            ("json", None, "hf://datasets/GAIR/lima@0123abc/train.jsonl"),
        ),
        (
            "vicuna",
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            "\n\nHuman: q\n\nAssistant: a",
            ("parquet", None, "hf://datasets/Aeala/ShareGPT_Vicuna_unfiltered@0123abc/default/train/*.parquet"),
        ),
        ("lambada", {"text": "one two"}, "one two", ("EleutherAI/lambada_openai", "default", "0123abc")),
    ],
)
def test_documents_of_the_paper_s_datasets(tmp_path, hub, name, record, text, read):
    filled(tmp_path, [record, dict.fromkeys(record, None if isinstance(next(iter(record.values())), str) else [])])
    assert corpora.corpus(name, 5, root=tmp_path).texts == [text]
    assert hub == [read]


def test_trees_of_messages_become_one_conversation_each(tmp_path, hub):
    def message(tree, id, parent, text, lang="en"):
        return {"message_tree_id": tree, "message_id": id, "parent_id": parent, "text": text, "lang": lang}

    filled(
        tmp_path,
        [
            message("1", "a", None, "q"),
            message("1", "b", "a", "answer"),
            message("1", "c", "b", "again?"),
            message("1", "d", "b", "not on the way"),
            message("1", "e", "a", "another answer"),
            message("2", "f", None, "pregunta", "es"),
            message("2", "g", "f", "answer"),
            message("3", "h", None, "alone"),
        ],
    )
    texts = corpora.corpus("oasst1", 5, root=tmp_path).texts
    assert texts == ["\n\nHuman: q\n\nAssistant: answer\n\nHuman: again?", "\n\nHuman: alone"]
