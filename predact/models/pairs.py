"""Pairs of models: which are known, and how one is named."""

import re
from collections.abc import Mapping
from dataclasses import field, fields, replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, JsonValue, NonNegativeFloat, ValidationError
from pydantic.dataclasses import dataclass

from predact.errors import UserError, in_line, near, quoted, refused
from predact.texts import generations, sources

DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes of a parameter
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
AUTO, NONE = "auto", "none"  # prefixes that are no text of a token
_SHARED = ("dtype", "device", "prefix", "template", "engine", "trust_remote_code")  # keys that apply to each model
ENDS = ("Base", "RLHF")
PRETRAINED = "Pretrained"  # a step before Base, where Base was trained further on texts like answers
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True, config=_STRICT)
class Engine:
    """A server that samples a model: the address of its API, up to `/v1`, and what it calls the model."""

    url: str
    model: str


@dataclass(frozen=True, config=_STRICT)
class Model:
    """Where a model comes from: a folder, `package:` and a path inside predact, a hub id, or a file of generations.

    The device is `cpu`, `cuda`, or None: all GPUs, or the CPU if there is none. A `fingerprint` identifies a model
    whose weights are not on this machine, but whose stored results are. The `prefix` is the token that stands before
    a document: its text, `none`, or `auto`: what `tokens.pair_lead` says. The chat template is given what stands in
    `template`, such as ``{enable_thinking: false}``. A model with `on` is an adapter (PEFT) of that model. With an
    `engine`, that server samples it. Of a file of generations `writer` is the one that its field `model` names; None
    where it has only one.
    """

    source: str
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    gguf: str | None = None
    device: Literal["cpu", "cuda"] | None = None
    fingerprint: str | None = None
    prefix: str = AUTO
    template: dict[str, JsonValue] = field(default_factory=dict, hash=False)
    trust_remote_code: bool = False
    on: "Model | None" = None
    engine: Engine | None = None
    writer: str | None = None

    @property
    def written(self) -> bool:
        """Whether only generations of it are known: its source is a file of them."""
        return self.gguf is None and generations.named(self.source) is not None


@dataclass(frozen=True, config=_STRICT)
class Pair:
    """A Base model, an RLHF model and the steps between, in the order of training (keys of `models`).

    `Pretrained`, before Base, is an earlier checkpoint of it. The `frame` is the plain text around a prompt for these
    two; the other models use their chat templates.
    """

    name: str
    models: dict[str, Model]
    corpora: list[str] = field(default_factory=lambda: ["paper"])
    prompts: str = "general"
    last_words: str = "lambada"
    frame: str = "Question: {prompt}\n\nAnswer:"
    about: str = ""
    licence: str = ""
    gated: bool = False
    midtrained: bool = False  # Base has read texts like answers before it was tuned
    scale: str = "full"  # default scale of its book; see `runs.scales`
    parameters: NonNegativeFloat = 0  # of one model, in billions; 0: unknown

    @property
    def written(self) -> bool:
        """Whether only generations of its models are known."""
        return all(model.written for model in self.models.values())


def frame_of(pair: Pair, step: str) -> str | None:
    """Return the plain text around a prompt for a model of a pair; None if it is asked in its chat template."""
    return pair.frame if step in (PRETRAINED, "Base") else None


def pairs() -> list[Pair]:
    """Return the pairs known by name, `pocket` first."""
    known = yaml.safe_load((files(__package__) / "pairs.yaml").read_text(encoding="utf-8"))
    return [_pair(name, entry, Path()) for name, entry in known.items()]


def pair(name: str) -> Pair:
    """Return the pair that a name stands for.

    Args:
        name: a known name, the path of a pair file (YAML or JSON, in the form of `pairs.yaml`), or ``BASE::RLHF``, each
            side a folder, a .gguf file or a hub id, which may be followed by ``@`` and a revision, or a file of
            generations, which may be followed by ``:`` and the name of its model. ``NAME=BASE::RLHF`` gives the pair a
            name of its own. A file of generations alone is the pair of its models Base and RLHF.

    Raises:
        UserError: the name is unknown, or the file is missing or not a pair.
    """
    known = {pair.name: pair for pair in pairs()}
    if name in known:
        return known[name]
    base, separator, rlhf = name.partition("::")
    if separator:
        title, base = _titled(base)
        if title in known:
            raise UserError(f"name: {title!r} is a pair that predact knows already; choose another name.")
        return _pair(title or name, {"models": {"Base": base, "RLHF": rlhf}}, Path())
    if name.endswith((".yaml", ".yml", ".json")):
        return _pair(Path(name).stem, _read(Path(name)), Path(name).parent)
    if generations.named(name):
        return _pair(name, {"models": {step: f"{name}:{step}" for step in ENDS}}, Path())
    hint = near(name, known) or "."
    raise UserError(f"pair: {name!r} is not known{hint} Run `predact pairs`, or name two models as BASE::RLHF.")


def spelled(base: str, rlhf: str, name: str = "") -> str:
    """Return the name, as `pair` reads it, of a pair of two models: ``BASE::RLHF`` or ``NAME=BASE::RLHF``.

    Raises:
        UserError: one of the two is missing, or the name cannot be that of a folder.
    """
    if not (base and rlhf):
        raise UserError("base, rlhf: both models must be named, each by a folder, a .gguf file or a hub id.")
    if name and not re.fullmatch(_NAME, name):
        raise UserError(f"name: expected letters, digits, dots, dashes and underscores, not {name!r}.")
    if "::" in base:
        raise UserError(f"base: {base!r} contains `::`, which stands between two models; name it in a pair file.")
    folder = f"./{base}" if _titled(base)[0] else base  # a folder such as lr=3e-5 is no name of a pair
    return f"{name}={base}::{rlhf}" if name else f"{folder}::{rlhf}"


def title(pair: str) -> str:
    """Return the name under which results of a pair are kept: the NAME of ``NAME=BASE::RLHF``, else all of it."""
    return ("::" in pair and _titled(pair)[0]) or pair


def slug(pair: str) -> str:
    """Return a folder name for a pair: its name, or a legal version of it with a hash."""
    name = title(pair)
    fit = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[-60:]
    return fit if fit == name else f"{fit}-{sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _titled(word: str) -> tuple[str, str]:
    name, separator, rest = word.partition("=")
    return (name, rest) if separator and re.fullmatch(_NAME, name) else ("", word)


class _Loader(yaml.SafeLoader):
    """Reads YAML, and so JSON, but no mapping in which a key stands twice: one of the two would be lost."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Return a mapping, as far as it is read before its keys and values are made."""
        node = super().compose_mapping_node(anchor)
        seen = set[Any]()
        for key, _ in node.value:
            if repr(key.value) in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: the key {quoted(key.value)} stands there again")
            seen.add(repr(key.value))
        return node


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"pair: the file '{path}' does not exist.") from None
    except Exception as error:  # PyYAML raises whatever a date, a number or a depth of nesting leads to
        why = in_line(" ".join(str(error).split()) or type(error).__name__)
        raise UserError(f"pair: the file {quoted(path)} is not a pair file ({why}).") from error


def _pair(name: str, entry: Any, folder: Path) -> Pair:
    """Build a pair from an entry of `pairs.yaml` or a pair file in `folder`."""
    if not isinstance(entry, dict) or not isinstance(entry.get("models"), dict):
        raise UserError(f"pair: {name!r} needs `models`: a mapping with Base and RLHF, as in `predact pairs`.")
    steps = list(entry["models"])
    tuned = steps[1:] if steps[:1] == [PRETRAINED] else steps
    if len(tuned) < 2 or tuned[0] != "Base" or tuned[-1] != "RLHF" or not all(isinstance(step, str) for step in steps):
        raise UserError(
            f"pair: the models of {name!r} must begin with Base and end with RLHF, not {steps}; {PRETRAINED} may stand "
            "before Base."
        )
    shared = {key: entry[key] for key in _SHARED if key in entry}
    given = {key: value for key, value in entry.items() if key not in shared}
    corpora = given.get("corpora", "paper")
    given["corpora"] = [corpora] if isinstance(corpora, str) else corpora
    models: dict[str, Model] = {}
    for step, what in entry["models"].items():
        models[step] = _model(name, what, folder, shared, models)
    given["models"] = models
    if len({model.written for model in models.values()}) > 1:
        raise UserError(f"pair: {name!r}: either all models are files of generations, or none is.")
    pair = _built(Pair, name, {"name": name, **given})
    if "{prompt}" not in pair.frame:
        raise UserError(f"pair: the frame of {name!r} must contain {{prompt}}, which stands for the prompt.")
    files = {key: _beside(folder, getattr(pair, key)) for key in ("prompts", "last_words") if key in given}
    return replace(pair, corpora=[_beside(folder, text) for text in pair.corpora], **files)


def _model(name: str, what: Any, folder: Path, shared: dict, before: Mapping[str, Model]) -> Model:
    """Build a model from what a pair file in `folder` says of it; it may be an adapter on one of those `before`."""
    given = dict(what) if isinstance(what, dict) else {"source": what}
    given = {"on" if key is True else key: value for key, value in given.items()}  # YAML takes the word for a truth
    if not given.get("source") or not isinstance(given["source"], str):
        raise UserError(f"pair: every model of {name!r} needs a source: a folder, a .gguf file or a hub id.")
    if "engine" in shared | given:
        given["engine"] = _engine(name, (shared | given)["engine"], given["source"])
    if "on" in given:
        if given["on"] not in list(before):
            steps = ", ".join(before) or "none"
            raise UserError(f"pair: 'on' in {name!r}: expected a step before it ({steps}), not {given['on']!r}.")
        given["on"] = before[given["on"]]
    source = _beside(folder, given["source"])
    if "writer" in given:
        raise UserError(f"pair: 'writer' in {name!r}: write it after its file of generations, as FILE:WRITER.")
    if file := generations.named(source):
        return _written(name, file, given)
    model = _built(Model, name, {**shared, **given, "source": source})
    source, separator, revision = model.source.rpartition("@")
    if separator and not sources.existing(model.source):
        model = replace(model, source=source, revision=revision)
    if model.source.endswith(".gguf"):
        path = Path(model.source)
        return replace(model, source=str(path.parent), gguf=path.name)
    return model


def _engine(name: str, what: Any, source: str) -> Engine:
    if not isinstance(what, dict):
        raise UserError(f"pair: 'engine' in {name!r}: expected url, and model if the server has another name for it.")
    engine = _built(Engine, name, {"model": source, **what})
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", engine.url):
        raise UserError(f"pair: 'url' in {name!r}: expected an address such as http://localhost:8000/v1.")
    return replace(engine, url=engine.url.rstrip("/"))


def _written(name: str, file: tuple[str, str | None], given: Mapping[str, Any]) -> Model:
    """Build a model of which a pair's entry names the generations: a file, and who of it."""
    if set(given) > {"source"}:
        raise UserError(f"pair: a file of generations in {name!r} takes no {max(given.keys() - {'source'})!r}.")
    if not sources.existing(file[0]):
        raise UserError(f"pair: the file {quoted(file[0])} does not exist.")
    return Model(source=file[0], writer=file[1])


def _built(kind: type, name: str, given: dict[str, Any]) -> Any:
    """Build one of the two from what a file says of it, or refuse it in one line."""
    known = [item.name for item in fields(kind)]
    for key in given:
        if key not in known:
            raise UserError(f"pair: {key!r} in {name!r} is not known{near(str(key), [*known, *_SHARED]) or '.'}")
    try:
        return kind(**given)
    except ValidationError as error:
        key, expected = refused(error)
        raise UserError(f"pair: {key!r} in {name!r}: {expected}.") from error


def _beside(folder: Path, text: str) -> str:
    """Resolve a path relative to the folder of a pair file (a `:field` may follow it)."""
    path, colon, rest = text.partition(":")
    return f"{folder / path}{colon}{rest}" if sources.existing(path, folder) else text
