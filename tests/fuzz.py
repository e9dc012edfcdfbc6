"""Whatever a user gives is read, or refused in one line: `python tests/fuzz.py --minutes 60`; pytest tries a little.

Each target writes what Hypothesis makes up (structures, bytes, and both damaged) into a file, or takes it as a word,
and calls a public reader. Anything but a result or a `UserError` of one line fails, as does a call that takes ten
seconds. Where the right values are known, the result is compared with them.
"""

import argparse
import contextlib
import csv
import faulthandler
import io
import json
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from predact.build import parameters, standalone
from predact.errors import UserError
from predact.models import loading, pairs, runs, sampling
from predact.texts import corpora, endings, prompts

LONGEST = 10  # seconds of a call
SUFFIXES = (".jsonl", ".json", ".txt", ".csv", ".JSONL", "")

_ODD = "é e\u0301 👩‍👩‍👧 שלום क्षि 𝔘 [ { \\ ~ @ % 2024 no null 1e999 NaN {{7*7}} <script> {prompt} ../x %s".split()
_ODD += ["", " ", "\n", "\0", "\ud83d", "\udc00a", "\u2028", "\x85", "\ufeff"]
_FIELDS = "prompt id category question_id turns text generation model messages choices completion response".split()
_FIELDS += "output role content body custom_id error text.a message request about".split()
_JUNK = [b"[" * 3000, b'{"a":' * 2000, b"\xff\xfe", b"\0", b"\r", b'"', b"\n", b",", b"}", b"1" * 5000]
_TEMPLATE = "{{ messages[0].content }}|{% for m in messages %}|{% endfor %}|{{ m.content }}|{{ m['role'] }}|{% if x %}"
_TEMPLATE += "|{% endif %}|{{ raise_exception('no') }}|{{ bos_token }}|{{ 1/0 }}|{{ m.content[0].text }}|{# #}|{{|<s>"
_TEMPLATE += "|{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}|{{ 'a' * 10**9 }}"

texts = st.text(max_size=30) | st.sampled_from(_ODD)
clean = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(texts, deeper, max_size=3))
objects = st.dictionaries(st.sampled_from(_FIELDS), texts | values, max_size=4) | st.dictionaries(texts, values)
spoken = clean.filter(str.strip)
asked = st.fixed_dictionaries({"prompt": spoken}, optional={"id": st.integers() | spoken, "turns": values})
said = st.fixed_dictionaries({"text": spoken | st.none()}, optional={"about": texts})
written = st.fixed_dictionaries({"prompt": st.sampled_from("ab"), "generation": clean}, optional={"model": clean})
words = texts | st.lists(texts, max_size=3).map(",".join) | values.map(json.dumps) | scalars.map(str)
words |= st.sampled_from(
    ["a.txt", "a.txt:text", "?.txt", "*", "a.*", "[a].txt", "{a}.txt", "general", "pocket", "a.txt:"]
)
long_words = words | st.builds(lambda word, times: word * times, words, st.sampled_from([300, 5000]))


class Target(NamedTuple):
    """What is made up, and what takes it: the folder of this example and the value."""

    made: st.SearchStrategy
    call: Callable[[Path, Any], Any]
    longest: float = LONGEST


@st.composite
def damaged(draw: Any, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes, half of the time with some cut out, replaced or put in."""
    content = draw(whole)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 4]))):
        at, size = draw(st.integers(0, len(content))), draw(st.sampled_from([0, 1, 1, 3, 50, 5000]))
        other = draw(st.binary(max_size=3) | st.sampled_from([*_JUNK, content[:99]]))
        content = content[:at] + other + content[at + size :]
    return content


def as_csv(records: list[dict]) -> str:
    names, file = sorted({name for record in records for name in record}), io.StringIO()
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


def files(records: st.SearchStrategy) -> st.SearchStrategy:
    """Contents, suffix, and field: JSON Lines, JSON or CSV, in some encoding, whole or damaged; or any bytes."""
    lists = st.lists(records, min_size=1, max_size=5) | st.lists(records | objects, max_size=3)
    lines = lists.map(lambda found: "\n".join(map(json.dumps, found)))
    forms = lines | lines | lists.map(json.dumps) | lists.map(as_csv) | clean
    forms |= lists.map(lambda found: json.dumps(found, indent=1, ensure_ascii=False))
    forms |= st.builds(lambda line, count: (line + "\n") * count, lines, st.sampled_from([2, 300]))
    encoding = st.sampled_from(["utf-8"] * 9 + ["utf-8-sig", "utf-16", "latin-1"])
    encoded = st.builds(lambda text, how: text.encode(how, "replace"), forms, encoding)
    field = st.sampled_from([""] * 9 + [":text", ":about", ":", ":text.a"])
    return st.tuples(damaged(encoded) | damaged(encoded) | st.binary(max_size=300), st.sampled_from(SUFFIXES), field)


def parquet(column: list) -> bytes:
    """A Parquet file of a column; nothing if Arrow has no type for it."""
    with contextlib.suppress(Exception), tempfile.TemporaryFile() as file:
        pd.DataFrame({"text": column}).to_parquet(file)
        file.seek(0)
        return file.read()
    return b""


def of_file(read: Callable[[str], Any]) -> Callable[[Path, Any], Any]:
    """Call a reader with the name of a file, and maybe of its field."""

    def call(folder: Path, made: tuple[bytes, str, str]) -> Any:
        content, suffix, field = made
        path = folder / f"made [1]{suffix}"
        path.write_bytes(content)
        return read(f"{path}{field}")

    return call


def of_word(read: Callable[[str], Any]) -> Callable[[Path, Any], Any]:
    """Call a reader with a word, in a folder with a file that only its name may open; not with folders beyond it."""

    def call(folder: Path, made: str) -> Any:
        (folder / "a.txt").write_text("text of a")
        if set(made.partition(":")[0]) <= set("./~ "):
            return None
        with contextlib.chdir(folder):
            found = read(made)
        assert getattr(found, "texts", []) != ["text of a"] or made.partition(":")[0] == "a.txt"
        return found

    return call


def same_texts(folder: Path, made: list[str]) -> None:
    """Texts in a file of each kind are the texts that are read."""
    whole = [text for text in made if text.strip()]
    records = [{"text": text, "prompt": text} for text in whole]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    (folder / "b.json").write_text(json.dumps(records, indent=1, ensure_ascii=False), encoding="utf-8")
    pd.DataFrame({"text": whole}, dtype=str).to_parquet(folder / "c.parquet")
    stripped = {text.strip() for text in whole}
    for name in ("a.jsonl", "b.json", "c.parquet"):
        found = corpora.corpus(str(folder / name), documents=100).texts
        assert set(found) <= set(whole) and sorted(text.strip() for text in found) == sorted(stripped), name
    assert [prompt.text for prompt in prompts.select(str(folder / "a.jsonl"))] == list(
        dict.fromkeys(text.strip() for text in whole)
    )


def same_names(folder: Path, made: list[str]) -> None:
    """A list of names, as JSON or between commas, is these names."""
    assert parameters.read("corpora", json.dumps(made, ensure_ascii=False), list[str]) == made
    plain = [name.strip() for name in made if name.isprintable() and not set(name) & set(',"') and name.strip()]
    assert parameters.read("corpora", ", ".join(plain), list[str]) == plain or plain[:1] == ["[]"]
    assert [parameters.read("prompts", name, str) for name in made] == made


def setting(folder: Path, made: tuple[str, str]) -> None:
    """A word becomes a value of a setting's type, and the setting is valid or refused."""
    name, word = made
    runs.checked({name: parameters.read(name, word, runs.Settings.model_fields[name].annotation)})


def pair_file(folder: Path, made: tuple[Any, str]) -> Any:
    """A pair file, as YAML or JSON."""
    entry, suffix = made
    path = folder / f"made{suffix}"
    if not isinstance(entry, bytes):
        text = json.dumps(entry) if suffix == ".json" else yaml.safe_dump(entry)
        entry = text.encode("utf-8", "surrogatepass")
    path.write_bytes(entry)
    return pairs.pair(str(path))


def entries() -> st.SearchStrategy:
    """What a pair file may hold: often nearly right."""

    def some(kind: type, known: dict[str, st.SearchStrategy]) -> st.SearchStrategy:
        names = {field.name: st.nothing() for field in fields(kind)} | known
        return st.fixed_dictionaries({}, optional={name: right | scalars | values for name, right in names.items()})

    source = st.sampled_from(["package:pocket/models/base", "a/b", "a.gguf", "a@b", "::"]) | texts
    model = source | some(pairs.Model, {"source": source, "trust_remote_code": st.sampled_from(["no", "false", True])})
    steps = st.fixed_dictionaries({"Base": model, "RLHF": model}) | st.dictionaries(texts, model, max_size=3) | values
    entry = st.builds(lambda models, more: more | {"models": models}, steps, some(pairs.Pair, {"frame": clean}))
    return entry | damaged(entry.map(lambda each: json.dumps(each).encode())) | st.binary(max_size=200) | values


def template(folder: Path, made: tuple[str, str]) -> Any:
    """A chat template, and a prompt that it must not leave out."""
    text, prompt = made
    tokenizer = loading.tokenizer(pairs.pair("pocket").models["RLHF"])
    tokenizer.chat_template = text
    ids = sampling.ask(tokenizer, prompt, None)
    assert prompt.strip() in tokenizer.decode(ids)
    return sampling.stop_ids(None, tokenizer)


kinds = [each.annotation for each in runs.Settings.model_fields.values()] + [Literal[1, 2], *parameters.TYPES.values()]
comments = st.sampled_from(["", "a; 1 or more", "a; 0 to 9"])
declared = st.builds(parameters.Parameter, st.sampled_from([*parameters.TYPES, "Path"]), scalars, comments)
columns = st.lists(clean, max_size=4) | st.lists(scalars | values | st.binary(max_size=4), max_size=4)
asking = st.tuples(texts, texts).map("{{ messages[0].content }}".join)  # templates that are right, mostly
TARGETS = {
    "prompts": Target(files(asked), of_file(prompts.select)),
    "corpora": Target(files(said), of_file(corpora.corpus)),
    "parquet": Target(
        st.tuples(damaged(columns.map(parquet)), st.just(".parquet"), st.just("")), of_file(corpora.corpus)
    ),
    "passages": Target(files(said), of_file(lambda name: endings.select(name, 9))),
    "generations": Target(files(written), of_file(lambda name: standalone.read(Path(name)))),
    "pair files": Target(st.tuples(entries(), st.sampled_from([".yaml", ".yml", ".json"])), pair_file),
    "templates": Target(  # each has ten seconds of the processor
        st.tuples(asking | st.lists(st.sampled_from(_TEMPLATE.split("|")) | texts).map("".join), texts), template, 60
    ),
    "names of corpora": Target(long_words, of_word(corpora.corpus)),
    "names of prompts": Target(long_words, of_word(prompts.select)),
    "names of pairs": Target(long_words | st.lists(texts, max_size=3).map("::".join), of_word(pairs.pair)),
    "words": Target(st.tuples(long_words, st.sampled_from(kinds)), lambda _, made: parameters.read("made", *made)),
    "settings": Target(st.tuples(st.sampled_from(list(runs.Settings.model_fields)), long_words), setting),
    "cells": Target(long_words, lambda _, made: parameters.declared(made)),
    "values": Target(
        st.tuples(declared, values), lambda _, made: parameters.check_types({"made": made[0]}, {"made": made[1]})
    ),
    "same texts": Target(st.lists(clean, max_size=6).filter(lambda made: any(map(str.strip, made))), same_texts),
    "same names": Target(st.lists(clean, max_size=4), same_names),
}


def outcome(target: Target, made: Any) -> str:
    """Return whether a made-up value was read or refused; raise what else came of it."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        try:
            target.call(Path(folder), made)
            found = "read"
        except UserError as error:
            assert str(error).isprintable() and len(str(error)) > 9, ascii(error)
            found = "refused"
    assert time.monotonic() - begun < target.longest, "too slow"
    return found


def run(name: str, seed: int, examples: int) -> Counter[str]:
    """Try made-up values on a target; raise at the first that fails, made as small as can be."""
    counts: Counter[str] = Counter()

    @seeded(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(TARGETS[name].made)
    def tried(made: Any) -> None:
        counts[outcome(TARGETS[name], made)] += 1

    tried()
    return counts


def main() -> None:
    """Try all targets in turn until the time is over; print every failure, and how many were read and refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each further round adds one")
    parser.add_argument("--only", choices=TARGETS, action="append", help="this target alone; repeatable")
    asked_for = parser.parse_args()
    end, seed = time.monotonic() + 60 * asked_for.minutes, asked_for.seed
    counts: dict[str, Counter[str]] = {name: Counter() for name in asked_for.only or TARGETS}
    warnings.filterwarnings("ignore", module="hypothesis")
    while time.monotonic() < end:
        for name, counted in counts.items():
            faulthandler.dump_traceback_later(600, exit=True)  # where a call never ends
            try:
                counted += run(name, seed, 5 if name == "templates" else 200)
            except Exception as failure:
                counted["failed"] += 1
                for error in failure.exceptions if isinstance(failure, ExceptionGroup) else [failure]:
                    about = " ".join(getattr(error, "__notes__", []))[-600:]
                    print(f"{name}, seed {seed}: {type(error).__name__}: {str(error)[:300]}\n{about}", flush=True)
        seed += 1
    faulthandler.cancel_dump_traceback_later()
    print(pd.DataFrame(counts).T.fillna(0).astype(int).to_string())


if __name__ == "__main__":
    main()
