"""Datasets of the hub, stood in for by a folder of the same form: streamed once, pinned, kept; and no network."""

import json
from types import SimpleNamespace

import pytest

from predact import store
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

    def load(path, config, *, revision, **options):
        streamed.append((path, config, revision))
        return whole(str(folder), config, **options)

    monkeypatch.setattr(datasets, "load_dataset", load)
    told = SimpleNamespace(sha="0123abc")
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, revision, timeout: told)
    return streamed


def test_documents_are_streamed_once_at_one_commit_and_kept(tmp_path, hub):
    store.reset_used()
    corpus = corpora.corpus(NAME, 7, root=tmp_path)
    assert corpus.texts == [f"answer {n}" for n in (1, 2, 3, 4, 6, 7, 8)]
    assert (corpus.name, corpus.category, corpus.world_nll) == (NAME, "conversation", None)
    assert hub == [("databricks/databricks-dolly-15k", None, "0123abc")]
    inputs = [each["inputs"] for each in store.used() if each["stage"] == "documents"]
    assert inputs[0]["commit"] == "0123abc" and inputs[0]["dataset"] == "databricks/databricks-dolly-15k"
    assert corpora.corpus(NAME, 7, root=tmp_path).fingerprint == corpus.fingerprint
    assert len(hub) == 1
    assert corpora.corpus(NAME, 9, root=tmp_path).texts[:7] == corpus.texts
    assert corpora.corpus(NAME, 2, seed=1, root=tmp_path).texts == ["answer 1001", "answer 1002"]


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
    assert len({each.dataset for each in known.values()}) == 9
    assert all(each.about and each.licence and "/" in each.dataset for each in known.values())
    assert isinstance(known["web"], Dataset)
