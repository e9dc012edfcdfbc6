import json

import pytest

from predact.errors import UserError
from predact.models import pairs
from predact.texts import sources


def test_the_embedded_pair_comes_first_and_all_presets_are_pairs():
    known = pairs.pairs()
    assert known[0].name == "pocket"
    assert list(known[0].models) == ["Base", "SFT", "RLHF"]
    assert known[0].corpora == ["pocket"]
    assert {"smollm2-135m", "llama2-7b", "tulu2-7b", "olmo2-7b", "gemma-2b", "llama3-8b", "qwen2.5-0.5b"} <= {
        pair.name for pair in known
    }
    for pair in known:
        assert pair.about and pair.licence and pair.parameters > 0
        large = pair.parameters > 1
        assert {model.device for model in pair.models.values()} == {"cuda" if large else None}
        assert all((model.dtype != "float32") == large for model in pair.models.values())
        assert pair.corpora == (["pocket"] if pair.name.startswith("pocket") else ["paper"])
        assert pair.last_words == ("pocket" if pair.name.startswith("pocket") else "lambada")
        steps = [step for step in pair.models if step != pairs.PRETRAINED]
        assert steps[0] == "Base" and steps[-1] == "RLHF" and set(list(pair.models)[1:]) >= set(steps[1:])
        assert not any(model.trust_remote_code for model in pair.models.values())
        assert pairs.pair(pair.name) == pair


def test_the_five_pairs_of_the_paper_are_known():
    ends = {
        "llama2-7b": ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-chat-hf"),
        "llama2-70b": ("meta-llama/Llama-2-70b-hf", "meta-llama/Llama-2-70b-chat-hf"),
        "tulu2-7b": ("meta-llama/Llama-2-7b-hf", "allenai/tulu-2-dpo-7b"),
        "tulu2-70b": ("meta-llama/Llama-2-70b-hf", "allenai/tulu-2-dpo-70b"),
        "olmo1-7b": ("allenai/OLMo-7B-hf", "allenai/OLMo-7B-Instruct-hf"),
    }
    for name, (base, rlhf) in ends.items():
        models = pairs.pair(name).models
        assert (models["Base"].source, models["RLHF"].source) == (base, rlhf)


def test_two_models_by_name():
    pair = pairs.pair("org/base::some/file.gguf")
    assert pair.models == {"Base": pairs.Model("org/base"), "RLHF": pairs.Model("some", gguf="file.gguf")}
    assert (pair.name, pair.corpora) == ("org/base::some/file.gguf", ["paper"])


def test_two_models_with_a_name_and_revisions(tmp_path):
    word = pairs.spelled("org/base@v1.0", "org/chat@0123abc", "mine")
    assert word == "mine=org/base@v1.0::org/chat@0123abc"
    pair = pairs.pair(word)
    assert pair.name == pairs.title(word) == "mine"
    assert pair.models == {"Base": pairs.Model("org/base", "v1.0"), "RLHF": pairs.Model("org/chat", "0123abc")}
    assert pairs.title("pocket") == "pocket" and pairs.title("a::b") == "a::b"
    (tmp_path / "at@home").mkdir()
    assert pairs.pair(f"{tmp_path}/at@home::org/chat").models["Base"].source == f"{tmp_path}/at@home"
    assert pairs.pair("org/base/a.gguf@v1::b").models["Base"] == pairs.Model("org/base", "v1", gguf="a.gguf")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a", ""), "base, rlhf: both models must be named"),
        (("", "b", "mine"), "base, rlhf: both models must be named"),
        (("a", "b", "my pair"), "name: expected letters, digits, dots, dashes and underscores, not 'my pair'"),
    ],
)
def test_pairs_that_cannot_be_spelled(words, message):
    with pytest.raises(UserError, match=message):
        pairs.spelled(*words)


def test_a_known_name_is_not_given_again():
    with pytest.raises(UserError, match="name: 'pocket' is a pair that predact knows already"):
        pairs.pair("pocket=a::b")


def test_pair_file(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "notes.jsonl").write_text("")
    text = """
        about: mine
        corpora: [pocket, "notes.jsonl:body"]
        dtype: bfloat16
        trust_remote_code: true
        models:
          Base: base
          SFT: {source: org/sft, revision: v1, dtype: float32}
          RLHF: org/chat
    """
    (tmp_path / "mine.yaml").write_text(text)
    pair = pairs.pair(str(tmp_path / "mine.yaml"))
    assert (pair.name, pair.about) == ("mine", "mine")
    assert pair.corpora == ["pocket", f"{tmp_path}/notes.jsonl:body"]
    assert pair.models["Base"] == pairs.Model(f"{tmp_path}/base", dtype="bfloat16", trust_remote_code=True)
    assert pair.models["SFT"] == pairs.Model("org/sft", "v1", "float32", trust_remote_code=True)
    (tmp_path / "mine.json").write_text(json.dumps({"models": {"Base": "a/b", "RLHF": "c/d"}, "corpora": "pocket"}))
    assert pairs.pair(str(tmp_path / "mine.json")).corpora == ["pocket"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "needs `models`"),
        ("models: [a, b]", "needs `models`"),
        ("models: {RLHF: a/b, Base: a/b}", "must begin with Base and end with RLHF"),
        ("models: {Base: a/b}", "must begin with Base and end with RLHF"),
        ("models: {Pretrained: a/b, RLHF: c/d}", "must begin with Base and end with RLHF"),
        ("models: {Base: a/b, Pretrained: a/b, SFT: c/d}", "must begin with Base and end with RLHF"),
        ("models: {Base: '', RLHF: a/b}", "needs a source"),
        ("models: {Base: 3, RLHF: a/b}", "needs a source"),
        (
            "models: {Base: {source: a/b, revison: x}, RLHF: a/b}",
            "'revison' in 'bad' is not known, did you mean 'revision'?",
        ),
        ("corpus: pocket\nmodels: {Base: a/b, RLHF: a/b}", "'corpus' in 'bad' is not known, did you mean 'corpora'?"),
        ("device: tpu\nmodels: {Base: a/b, RLHF: a/b}", "'device' in 'bad': expected 'cpu' or 'cuda', not 'tpu'"),
        (
            "dtype: int4\nmodels: {Base: a/b, RLHF: a/b}",
            "expected 'float32', 'bfloat16' or 'float16', not 'int4'",
        ),
        (
            "models: {Base: a/b, RLHF: {source: c/d, on: SFT}}",
            "expected a step before it (Base), not 'SFT'",
        ),
        ("models: {Base: {source: a/b, on: RLHF}, RLHF: c/d}", "expected a step before it (none), not 'RLHF'"),
        ("models: {Base: a/b, RLHF: {source: c/d, on: [Base]}}", "expected a step before it (Base), not ['Base']"),
        ("gated: 3\nmodels: {Base: a/b, RLHF: a/b}", "'gated' in 'bad': expected a valid boolean, not 3"),
        *(
            (f"{key}: {value}\nmodels: {{Base: a/b, RLHF: b}}", f"'{key}' in 'bad': expected a valid {kind}, not {it}")
            for key, value, kind, it in [
                ("trust_remote_code", '"no"', "boolean", "'no'"),
                ("trust_remote_code", '"false"', "boolean", "'false'"),
                ("corpora", "5", "list", "5"),
                ("frame", "null", "string", "None"),
                ("prompts", "3", "string", "3"),
                ("prefix", "null", "string", "None"),
            ]
        ),
        ("parameters: .nan\nmodels: {Base: a/b, RLHF: c/d}", "'parameters' in 'bad': expected a finite number"),
        ("parameters: -1\nmodels: {Base: a/b, RLHF: c/d}", "'parameters' in 'bad': expected a number greater than or"),
        ("models:\n  Base: a/b\n  RLHF: c/d\n  'RLHF': e/f", "(line 4: the key 'RLHF' stands there again)"),
        ('{"models": {"Base": "a/b", "RLHF": "c/d"},\n"models": {}}', "(line 2: the key 'models' stands there again)"),
        ("models: {", "is not a pair file"),
        ("[" * 10**3, "is not a pair file (maximum recursion depth exceeded"),
        ("about: 2024-99-99\nmodels: {Base: a/b, RLHF: c/d}", "is not a pair file (month must be in 1..12)"),
        ("about: !!int x\nmodels: {Base: a/b, RLHF: c/d}", "is not a pair file (invalid literal for int()"),
        ("1: 2\nmodels: {Base: a/b, RLHF: c/d}", "1 in 'bad' is not known."),
        ('"\\ud83d": 2\nmodels: {Base: a/b, RLHF: c/d}', r"'\ud83d' in 'bad' is not known."),
        ("models: {Base: {source: a/b, 2: 3}, RLHF: c/d}", "2 in 'bad' is not known."),
        ("models: {Base: a/b, 2: c/d, RLHF: c/d}", "must begin with Base and end with RLHF"),
    ],
)
def test_files_that_are_no_pair(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UserError, match="^pair: ") as error:
        pairs.pair(str(tmp_path / "bad.yaml"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_with_an_equals_sign_is_no_name_of_a_pair():
    word = pairs.spelled("lr=3e-5", "org/chat")
    assert pairs.title(word) == word and pairs.pair(word).models["Base"].source == "./lr=3e-5"
    assert pairs.pair(pairs.spelled("lr=3e-5", "org/chat", "mine")).models["Base"].source == "lr=3e-5"
    with pytest.raises(UserError, match="^base: 'a::b' contains `::`"):
        pairs.spelled("a::b", "org/chat")


@pytest.mark.parametrize(
    "name", ["~nosuchuser/x", "a" * 5000, "a\0b", "\udcff", "~nosuchuser/x.yaml", "loop", "loop@v"]
)
def test_names_of_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    pair = pairs.pair(f"{name}::{name}")
    assert sources.existing(name) is None and pairs.slug(pair.name) and pair.models["Base"].source in (name, "loop")
    (tmp_path / "mine.yaml").write_text("corpora: ['~nosuchuser/x']\nmodels: {Base: ~nosuchuser/x, RLHF: c/d}")
    assert pairs.pair("mine.yaml").corpora == ["~nosuchuser/x"]


def test_unknown_pair():
    with pytest.raises(UserError, match="^pair: 'pokcet' is not known, did you mean 'pocket'.*Run `predact pairs`"):
        pairs.pair("pokcet")
    with pytest.raises(UserError, match="pair: the file 'no.yaml' does not exist"):
        pairs.pair("no.yaml")
