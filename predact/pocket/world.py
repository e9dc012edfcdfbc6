"""The pocket world: a sampler of readable documents whose every log-probability is known.

The world itself is data (``world.yaml``): 64 entities, their facts, and a grammar for nine corpora in four categories.
This module is the grammar's interpreter. Every choice it makes is uniform, so the log-probability of a document is

    log p(document) = - sum over its choices of log(number of alternatives)      [nats]

and the entropy of a corpus is the expectation of ``-log p``. The same interpreter parses: it replays a document with
every possible choice and drops those that write something else, which finds all its derivations (:func:`derivations`).
The grammar is unambiguous if there is always exactly one, which the tests check on a sample.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import yaml

from predact.pocket.grammar import Document, alternatives, closing, last_mention

WORLD = yaml.safe_load((files("predact.pocket") / "world.yaml").read_text(encoding="utf-8"))
CORPORA: dict[str, str] = {name: corpus["category"] for name, corpus in WORLD["corpora"].items()}
HELD_OUT: dict[str, str] = {name: corpus["category"] for name, corpus in WORLD["held out"].items()}
RULES: dict[str, list[str]] = {
    name: [rule] if isinstance(rule, str) else rule for name, rule in (WORLD["rules"] | WORLD["answer rules"]).items()
}
LISTS: dict[str, list[str]] = {name: str(entries).split(", ") for name, entries in WORLD["lists"].items()}


@dataclass(eq=False)
class Entity:
    """A town, person, animal, dish or device, and what is true of it (texts, or other entities)."""

    kind: str
    name: str
    facts: dict[str, str | Entity] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """The entity's name."""
        return self.name

    @property
    def topic(self) -> str:
        """The name as a sentence uses it: *the tide clock*, but *Velmora*."""
        return f"the {self.name}" if self.kind in ("animal", "device") else self.name


@cache
def entities() -> dict[str, list[Entity]]:
    """All entities by kind. Facts are dealt out evenly from their lists, by a fixed seed (``=list``: in its order)."""
    deal = random.Random("the pocket world")
    found = {kind: [Entity(kind, name) for name in spec["names"].split(", ")] for kind, spec in WORLD["kinds"].items()}
    for kind, spec in WORLD["kinds"].items():
        for attribute, source in spec["attributes"].items():
            values: list = list(found[source] if source in found else LISTS[source.lstrip("=")])
            values *= -(-len(found[kind]) // len(values))
            if not source.startswith("="):
                deal.shuffle(values)
            for entity, value in zip(found[kind], values, strict=False):
                entity.facts[attribute] = value
    return found


# ---------------------------------------------------------------------------------------------- the notation

_TOKEN = re.compile(r"\{(\w+):=(\w+)(?:!(\w+))?\}|\{([\w.]+)\}|<([^<>]+)>")


@cache
def _parse(template: str) -> list[tuple]:
    """Cut a rule into nodes: text, bind, value, rule and choice."""
    nodes: list[tuple] = []
    position = 0
    while position < len(template):
        if template[position] == "[":
            end = closing(template, position)
            options = alternatives(template[position + 1 : end])
            nodes.append(("choice", options) if len(options) > 1 else ("text", template[position : end + 1]))
            position = end + 1
        elif found := _TOKEN.match(template, position):
            variable, source, other, path, rule = found.groups()
            if variable:
                nodes.append(("bind", variable, source, other))
            else:
                nodes.append(("value", path) if path else ("rule", rule))
            position = found.end()
        else:
            end = min((i for i in (template.find(c, position + 1) for c in "[{<") if i > 0), default=len(template))
            nodes.append(("text", template[position:end]))
            position = end
    return nodes


# ---------------------------------------------------------------------------------------------- the interpreter


class _Dead(Exception):
    """The choices so far write another text than the one being parsed."""


class _Fork(Exception):
    """The next choice is open; it has as many branches as the argument says."""


@dataclass
class _Writer:
    """Expands rules. ``choose(n)`` answers each choice; ``expected`` is the text that must come out, when reading."""

    choose: Callable[[int], int]
    expected: str | None = None
    text: str = ""
    log_probability: float = 0.0
    scope: dict = field(default_factory=dict)
    mentions: list[tuple[int, str]] = field(default_factory=list)  # where a free choice with a name was written

    def pick(self, options: list):
        if len(options) == 1:
            return options[0]
        self.log_probability -= math.log(len(options))
        return options[self.choose(len(options))]

    def put(self, text: str) -> None:
        self.text += text
        if self.expected is not None and not self.expected.startswith(text, len(self.text) - len(text)):
            raise _Dead

    def write(self, template: str) -> None:
        for kind, *arguments in _parse(template):
            match kind:
                case "text":
                    self.put(arguments[0])
                case "choice":
                    self.write(self.pick(arguments[0]))
                case "bind":
                    self.scope[arguments[0]] = tuple(arguments[1:])
                case "value":
                    told = self.value(arguments[0])
                    if told == self.scope.get(arguments[0]):
                        self.mentions.append((len(self.text), told))
                    self.put(told)
                case "rule":
                    self.rule(arguments[0])

    def rule(self, name: str) -> None:
        if "~" in name:
            parts, _, count = name.partition("/")
            left = parts.split("~")
            for place in range(int(count or len(left))):
                self.put(" " if place and not self.text.endswith("\n") else "")
                chosen = self.pick(left)
                left = [part for part in left if part != chosen]
                self.rule(chosen)
        elif name in LISTS:
            self.put(self.pick(LISTS[name]))
        elif name.lower() in LISTS:
            self.put(_capital(self.pick(LISTS[name.lower()])))
        else:
            self.write(self.pick(RULES[name]))

    def value(self, path: str) -> str:
        variable, *attributes = path.split(".")
        value = self.bound(variable.lower())
        for attribute in attributes:
            value = value.facts[attribute]
        return _capital(str(value)) if variable[0].isupper() else str(value)

    def bound(self, variable: str):
        """Return the value of a variable; it is drawn at its first use, so that parsing fails early."""
        value = self.scope[variable]
        if isinstance(value, tuple):
            source, other = value
            options: list = list(entities()[source] if source in entities() else LISTS[source])
            if other:
                options.remove(self.bound(other))
            value = self.scope[variable] = self.pick(options)
        return value


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def write(template: str, seed: str, **scope) -> Document:
    """Expand a template of the grammar; ``scope`` binds variables, such as ``e`` to an entity."""
    writer = _written(template, seed, scope)
    return Document(writer.text, writer.log_probability)


def _written(template: str, seed: str, scope: dict) -> _Writer:
    draw = random.Random(seed)
    writer = _Writer(lambda n: int(draw.random() * n), scope=scope)
    writer.write(template)
    return writer


def derivations(template: str, text: str, **scope) -> Iterator[float]:
    """The log-probability, in nats, of each way in which a template can write a text (none: it cannot)."""
    open_scripts: list[list[int]] = [[]]
    while open_scripts:
        script = open_scripts.pop()
        steps = iter(script)

        def follow(n: int, steps: Iterator[int] = steps) -> int:
            step = next(steps, None)
            if step is None:
                raise _Fork(n)
            return step

        writer = _Writer(follow, expected=text, scope=dict(scope))
        try:
            writer.write(template)
        except _Dead:
            continue
        except _Fork as fork:
            open_scripts.extend([*script, branch] for branch in range(fork.args[0]))
            continue
        if writer.text == text:
            yield writer.log_probability


def document(corpus: str, split: str, index: int) -> Document:
    """Document number ``index`` of a corpus; the splits (*train*, *validation*, *test*) have seeds of their own."""
    return write(template(corpus), f"{split}/{corpus}/{index}")


def ending(split: str, index: int) -> tuple[str, str] | None:
    """Cut a story before a mention of its hero or thing: see `grammar.last_mention`.

    Args:
        split: *train*, *validation* or *test*.
        index: number of the document of the corpus *stories*.
    """
    writer = _written(template("stories"), f"{split}/stories/{index}", {})
    return last_mention(writer.text, writer.mentions)


def template(corpus: str) -> str:
    """The template that writes the documents of a corpus."""
    return f"<{(WORLD['corpora'] | WORLD['held out'])[corpus]['rule']}>"
