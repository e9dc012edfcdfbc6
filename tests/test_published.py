"""The published results: whole, of one model whose weights are not here, and rendered without it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from predact.claims import prediction, verdict
from predact.discussion import across, published
from predact.models import distributions, loading, pairs, sampling, scoring, tokens
from predact.models.passages import GOLD
from predact.texts import corpora, prompts

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "book/published/smollm2-135m-instruct"
EXAMPLE = "What are the main differences between Python and JavaScript programming languages?"


@pytest.fixture(scope="module")
def pair():
    return pairs.pair(str(FOLDER / "pair.yaml"))


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    monkeypatch.setattr(loading, "load", lambda *_: pytest.fail("a model was loaded"))


def test_every_result_is_what_its_sidecar_says():
    sidecars = list(FOLDER.glob("*/*.json"))
    stages = {path: json.loads(path.read_text()) for path in sidecars if path.parent.name != "tokenizer"}
    assert {told["stage"] for told in stages.values()} == {"alignments", "generations", "spread"}
    for path, told in stages.items():
        (data,) = (each for each in path.parent.glob(f"{path.stem}.*") if each != path)
        assert data.suffix in (".parquet", ".safetensors")
        assert hashlib.sha256(data.read_bytes()).hexdigest() == told["sha256"]
        assert {"versions", "device", "seconds", "created"} <= told.keys()
    assert len(list(FOLDER.glob("*/*.parquet"))) == 32 + 64 and len(list(FOLDER.glob("*/*.safetensors"))) == 3
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 16e6


def test_one_model_in_both_places_and_its_tokenizer(pair):
    assert pair.models["Base"] == pair.models["RLHF"] and not loading.at_hand(pair.models["Base"])
    tokenizer = loading.tokenizer(pair.models["RLHF"])
    text = "It's 2024: naïve  café,\n\n\tprint('x') != 3"
    assert tokenizer.decode(tokens.encode(tokenizer, [text])[0]) == text
    assert sampling.ask(tokenizer, "Hi", None)[:1] == [tokenizer.bos_token_id]


def test_generations_are_there_for_every_prompt_and_reading(pair, tmp_path):
    asked = prompts.select(pair.prompts)
    assert len(asked) == 16 and asked[0].text == EXAMPLE
    own = {each.id: each.text for each in prompts.select("general")}
    assert all(own[each.id] == each.text for each in asked[1:])
    made = sampling.sample_pair(FOLDER, pair, asked, sampling.Settings(), steps=["Base", "RLHF"])
    assert (made.groupby(["model", "prompt"]).size() == 100).all() and len(made) == 3200
    assert (made.ids.map(len) == made.log_probabilities.map(len)).all()
    assert (made.finish.eq("length") == made.ids.map(len).eq(256)).mean() > 0.99
    tokenizer = loading.tokenizer(pair.models["RLHF"])
    given = made[(made.model == "RLHF") & (made.prompt == "paper")].given.iloc[0]
    assert list(given) == sampling.ask(tokenizer, EXAMPLE, None)
    assert all(np.max(p, initial=0) <= 1e-4 for p in made.log_probabilities)


def test_distributions_are_there(pair):
    made = sampling.sample_pair(FOLDER, pair, prompts.select(pair.prompts), sampling.Settings(), steps=["Base", "RLHF"])
    found = distributions.measure_pair(FOLDER, pair, corpora.select(["pocket"], 20), made)
    gold = [found[step, GOLD] for step in ("Base", "RLHF")]
    np.testing.assert_array_equal(gold[0].mass, gold[1].mass)
    assert all(len(each.positions) > 10_000 for each in found.values())


PUBLISHED = ROOT / published.FOLDER
PAIRS = ("pocket-dpo", "pocket-seed1", "pocket-seed2", "pocket-true")


def test_every_published_pair_fits_the_schema_and_says_where_it_comes_from():
    """`published.read_all` refuses what does not."""
    found = {each.provenance.pair: each for each in published.read_all(PUBLISHED)}
    assert {"pocket", *PAIRS} <= found.keys()
    rows = across.verdicts(PUBLISHED)
    assert len(across.in_order(rows)) == len(rows), "each once, of claims that are known"
    said = {name: {(row["id"], row["protocol"]) for row in each.verdicts} for name, each in found.items()}
    assert all(said[name] >= {("C1", "paper"), ("C5", "book"), ("C9", "book")} for name in ("pocket", *PAIRS))
    assert said["pocket"] >= {(name, "paper") for name in verdict.claims()}, "every claim, by the paper's rule"
    assert sum(path.stat().st_size for path in PUBLISHED.rglob("*")) < 500e3 * len(found), "no texts"
    for each in found.values():
        known = {pair.name: pair for pair in pairs.pairs()}.get(each.provenance.pair)
        here = {step: model for step, model in known.models.items() if loading.at_hand(model)} if known else {}
        for step, model in here.items():
            told = each.provenance.models[step]
            assert (told.fingerprint, told.parameters) == (loading.fingerprint(model), loading.parameters(model))


@pytest.mark.parametrize("name", PAIRS)
def test_a_few_documents_agree_with_the_published_verdict(name, tmp_path_factory, monkeypatch):
    monkeypatch.undo()  # these weights are here
    root = tmp_path_factory.getbasetemp() / "published"
    few = corpora.select(["pocket"], 12)
    two = pairs.pair(name)
    two = replace(two, models={step: two.models[step] for step in ("Base", "RLHF")})
    scored = scoring.score_pair(root, two, few)
    found = prediction.judge(prediction.increase_by_corpus(scored, tokens.compared_per(two)))
    (told,) = (
        row for row in published.read(PUBLISHED / name).verdicts if (row["id"], row["protocol"]) == ("C1", "paper")
    )
    assert found.low < told["estimate"] < found.high and found.verdict == told["verdict"]
