"""A grammar that writes texts of known probability, and reads them back.

A rule is a line of text with a notation for its choices:

``[a|b^3|]``        one of the alternatives, the second three times as probable as each other; may be nested or empty
``[]``  ``[word]``  without a bar: nothing; just that, brackets included
``<rule>``          one of the lines of a rule (``^3`` at the end of a line is its weight), or a word of a class
``<rule*2-5>``      the rule two to five times, each number as probable, with spaces between
``<a~b^3~c/1-2>``   one or two of the rules in random order, each drawn by its weight from those left
``<word.s>``        a form of the word that is drawn: plural, past, with its article, ...
``<word:.s>``       the same, and the class's name stands for the word from then on
``<word/a,b=x.s>``  a word that goes with those that a stands for, and x, a word of the class b
``<rule.s>``        the rule with each @ in its lines replaced by the form, and @@ by that form's plural
``<facts {q}>``     the rule whose name begins so and ends with what q stands for
``{x:=class}``      lets x stand for a word of a class, drawn when it is first used; writes nothing
``{x:=class!y.z}``  the same, but never what y.z is          ``{x:=y.z}``  lets x stand for what y.z is
``{x}``  ``{x.s}``  writes what x stands for, a form of it, or what is true of it
``<Rule>``  ``{X}`` the same with a capital letter, whatever is written first

Each choice has known probabilities, so the log-probability of a derivation is a sum over its choices. Reading finds all
derivations of a text at once: each rule at each place, in each state of the variables, is read only once.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Document:
    """A text and the log-probability, in nats, of the derivation that wrote it."""

    text: str
    log_probability: float


@dataclass(eq=False)
class Word:
    """A word or a name with its forms, and what is true of it: other words."""

    text: str
    forms: dict[str, str] = field(default_factory=dict, repr=False)
    facts: dict[str, Word] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """Return the plain form."""
        return self.text


class Words:
    """Words with probabilities, to draw from and to look up."""

    def __init__(self, weights: Mapping[Word, float], others: Words | None = None, stray: float = 0.0) -> None:
        """Take words with their weights, which need not sum to 1.

        Args:
            weights: the words' weights.
            others: all words of the class, drawn from instead ...
            stray: ... with this probability.
        """
        self.weights = dict(weights)
        self.total = sum(weights.values())
        self.words: list[Word] = others.words if others else list(weights)
        self.others, self.stray = others, stray
        self._drawn = list(weights)
        self._cumulative = list(accumulate(weights.values()))
        self._starts: dict[str, dict[str, list[tuple[str, Word]]]] = {}

    def draw(self, draw: random.Random, without: Word | None = None) -> Word:
        """Draw a word, never the one that is excluded."""
        while True:
            if self.others and draw.random() < self.stray:
                word = self.others.draw(draw)
            else:
                word = self._drawn[bisect(self._cumulative, draw.random() * self.total, hi=len(self._drawn) - 1)]
            if word is not without:
                return word

    def probability(self, word: Word) -> float:
        """Probability of a word."""
        own = self.weights.get(word, 0.0) / self.total
        return (1 - self.stray) * own + self.stray * self.others.probability(word) if self.others else own

    @cached_property
    def probabilities(self) -> np.ndarray:
        """The probability of each of ``words``, in their order."""
        places = self.places
        found = np.zeros(len(self.words))
        found[[places[word] for word in self.weights]] = np.fromiter(self.weights.values(), float) / self.total
        return (1 - self.stray) * found + self.stray * self.others.probabilities if self.others else found

    @cached_property
    def places(self) -> dict[Word, int]:
        """The place of each word among ``words``."""
        return self.others.places if self.others else {word: place for place, word in enumerate(self.words)}

    def log(self, word: Word, without: Word | None = None) -> float:
        """Log-probability of a word, given that another one is excluded."""
        return math.log(self.probability(word)) - math.log1p(-self.probability(without) if without else 0.0)

    def starting(self, form: str, start: str) -> list[tuple[str, Word]]:
        """Written forms that begin with a piece of text up to a boundary, each with its word."""
        if self.others:
            return self.others.starting(form, start)
        if form not in self._starts:
            found = defaultdict(list)
            for word in self.words:
                told = formed(word, form)
                found[_first(told)].append((told, word))
            self._starts[form] = dict(found)
        return self._starts[form].get(start, [])


_LETTERS = re.compile(r"\w*")


def _first(text: str, position: int = 0) -> str:
    """The run of letters from a place on; a word of a class is never followed by more of them."""
    return _LETTERS.match(text, position)[0]  # type: ignore[index]


def formed(word: Word, form: str) -> str:
    """A form of a word as it is written; the plain one if the form has no name."""
    return word.forms[form] if form else word.text


class Bound(NamedTuple):
    """What a variable stands for before it is drawn."""

    source: str
    without: str | None


# ---------------------------------------------------------------------------------------------- the notation


class Text(NamedTuple):
    """Letters as they stand."""

    text: str


class Choice(NamedTuple):
    """Alternatives with their log-probabilities and the running sums of their probabilities."""

    options: tuple[tuple, ...]
    logs: tuple[float, ...]
    cumulative: tuple[float, ...]


class Bind(NamedTuple):
    """Lets a variable stand for something."""

    variable: str
    source: str
    without: str | None


class Value(NamedTuple):
    """Writes a variable, what is true of it, or a form of either."""

    variable: str
    path: tuple[str, ...]
    capital: bool


class Call(NamedTuple):
    """A rule, or a word of a class in a form: kept under the name of its class, if asked; one that goes with others."""

    name: str
    form: str
    capital: bool
    keep: bool = False
    given: tuple[tuple[str, str], ...] = ()


class Repeat(NamedTuple):
    """A rule several times."""

    name: str
    form: str
    least: int
    most: int


class Shuffle(NamedTuple):
    """Some of several rules, in random order."""

    parts: tuple[str, ...]
    weights: tuple[float, ...]
    least: int
    most: int


_TOKEN = re.compile(r"\{(\w+):=([\w ]+(?:\.\w+)*)(?:!([\w.]+))?\}|\{(\w+)((?:\.\w+)*)\}|<([^<>]+)>")
_WEIGHT = re.compile(r"\^([\d.]+)$")


@cache
def compiled(template: str) -> tuple:
    """Cut a rule's line into nodes."""
    nodes: list = []
    position = 0
    while position < len(template):
        if template[position] == "[":
            end = closing(template, position)
            inside = template[position + 1 : end]
            nodes.append(Text(f"[{inside}]") if inside and "|" not in inside else choice(alternatives(inside)))
            position = end + 1
        elif found := _TOKEN.match(template, position):
            variable, source, without, used, path, rule = found.groups()
            if variable:
                nodes.append(Bind(variable, source, without))
            elif used:
                nodes.append(Value(used[0].lower() + used[1:], tuple(path.split(".")[1:]), used[0].isupper()))
            else:
                nodes.append(_call(rule))
            position = found.end()
        else:
            end = min((i for c in "[{<" if (i := template.find(c, position + 1)) > 0), default=len(template))
            nodes.append(Text(template[position:end]))
            position = end
    return tuple(nodes)


def choice(lines: list[str]) -> Choice:
    """Alternatives of which each may end with its weight."""
    weights = [float(found[1]) if (found := _WEIGHT.search(line)) else 1.0 for line in lines]
    options = tuple(compiled(_WEIGHT.sub("", line)) for line in lines)
    return Choice(
        options,
        tuple(math.log(w / sum(weights)) for w in weights),
        tuple(accumulate(w / sum(weights) for w in weights)),
    )


def _call(rule: str) -> Call | Repeat | Shuffle:
    if "~" in rule:
        inside, _, count = rule.partition("/")
        parts = inside.split("~")
        weights = tuple(float(found[1]) if (found := _WEIGHT.search(part)) else 1.0 for part in parts)
        least, most = _range(count or str(len(parts)))
        return Shuffle(tuple(_WEIGHT.sub("", part) for part in parts), weights, least, most)
    if "*" in rule:
        rule, _, count = rule.partition("*")
        name, _, form = rule.partition(".")
        return Repeat(name, form, *_range(count))
    name, _, form = rule.partition(".")
    name, _, given = name.partition("/")
    kept = name.rstrip(":")
    pairs = tuple((each.split("=")[0], each.split("=")[-1]) for each in given.split(",") if each)
    return Call(kept[0].lower() + kept[1:], form, kept[0].isupper(), kept != name, pairs)


def _range(count: str) -> tuple[int, int]:
    least, _, most = count.partition("-")
    return int(least), int(most or least)


def closing(template: str, start: int) -> int:
    """Return where the bracket that opens at a place of a template closes."""
    depth = 0
    for position in range(start, len(template)):
        depth += {"[": 1, "]": -1}.get(template[position], 0)
        if depth == 0:
            return position
    raise ValueError(f"unclosed bracket in {template!r}")


def alternatives(inside: str) -> list[str]:
    """Return the alternatives between the bars of the outermost bracket."""
    parts, depth = [""], 0
    for letter in inside:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def last_mention(text: str, mentions: list[tuple[int, str]]) -> tuple[str, str] | None:
    """Cut a text before a word that follows from all that stands before it, but not from its own sentence.

    The word is a free choice, certain once it has been mentioned. Of the places inside a sentence that has not named it
    the last one is taken.

    Args:
        text: the whole of it.
        mentions: places of words that were chosen freely, and the words as they are written there.

    Returns:
        The text before the word, without the space between, and the word; None if there is no such place.
    """
    for place, word in reversed(mentions):
        sentence = re.split(r"[.?!\n]", text[:place])[-1]
        inside = sentence.strip() and sentence.endswith(" ") and word not in sentence
        if inside and word in text[: place - len(sentence)] and " " not in word:
            return text[: place - 1], word
    return None


State = tuple[tuple[str, "Word | Bound"], ...]


def bound(state: State, variable: str) -> Word | Bound:
    """What a variable stands for."""
    for name, value in state:
        if name == variable:
            return value
    raise KeyError(variable)


def binding(state: State, variable: str, value: Word | Bound) -> State:
    """The state in which a variable stands for something else."""
    if any(name == variable for name, _ in state):
        return tuple((name, value if name == variable else old) for name, old in state)
    return (*state, (variable, value))


@dataclass(frozen=True)
class Grammar:
    """Rules, and classes of words: each gives its words in a state, and together with words that are given."""

    rules: Mapping[str, list[str]]
    classes: Mapping[str, Callable[..., Words]]

    @cached_property
    def _choices(self) -> dict[tuple[str, str], Choice]:
        return {}

    def lines(self, name: str, form: str = "") -> Choice:
        """The lines of a rule, in a form."""
        if (name, form) not in self._choices:
            plural = "" if form == "s" else form
            lines = [line.replace("@@", plural).replace("@", form) for line in self.rules[name]]
            self._choices[name, form] = choice(lines)
        return self._choices[name, form]

    def source(self, bind: Bind, state: State) -> Word | Bound:
        """What a binding lets its variable stand for: a word that is known, or one that is still to be drawn."""
        if bind.source in self.classes:
            return Bound(bind.source, bind.without)
        variable, *path = bind.source.split(".")
        return self.follow(bound(state, variable), path)

    @staticmethod
    def follow(value: Word | Bound, path: list[str] | tuple[str, ...]) -> Word:
        """What is true of a word that is known."""
        for attribute in path:
            if isinstance(value, Bound):
                break
            value = value.facts[attribute]
        if isinstance(value, Bound):
            raise ValueError(f"{'.'.join(path) or value.source} is asked for before it is drawn")
        return value

    def without(self, value: Bound, state: State) -> Word | None:
        """The word that must not be drawn."""
        if value.without is None:
            return None
        variable, *path = value.without.split(".")
        return self.follow(bound(state, variable), path)

    def words(self, call: Call, state: State) -> Words:
        """The words that a class has in a state."""
        given = {name: self.follow(bound(state, variable), ()) for name, variable in call.given}
        return self.classes[call.name](state, **given)

    @staticmethod
    def told(word: Word, path: tuple[str, ...]) -> str:
        """A word, what is true of it, or a form of either, as it is written."""
        for place, attribute in enumerate(path):
            if attribute not in word.facts:
                return formed(word, ".".join(path[place:]))
            word = word.facts[attribute]
        return word.text

    def write(self, template: str, seed: str, **scope: Word) -> Document:
        """Expand a template; ``scope`` binds variables."""
        return self.written(template, seed, **scope).document

    def written(self, template: str, seed: str, **scope: Word) -> Writer:
        """A writer that has expanded a template."""
        writer = Writer(self, random.Random(seed), tuple(scope.items()))
        writer.sequence(compiled(template))
        return writer

    def derivations(self, template: str, text: str, **scope: Word) -> Iterator[float]:
        """The log-probability, in nats, of each way in which a template can write a text (none: it cannot)."""
        reader = _Reader(self, text)
        for (position, _, _), logs in reader.sequence(compiled(template), (0, False, tuple(scope.items()))).items():
            if position == len(text):
                yield from logs


class Drawn(NamedTuple):
    """A word that was drawn while a text was written."""

    place: int  # in the text
    written: str
    words: Words  # what it was drawn from,
    path: tuple[str, ...]  # in which form, or as which of its facts, it is written (`Grammar.told`),
    capital: bool  # whether with a capital letter,
    without: Word | None  # and which word it could not be


@dataclass
class Writer:
    """Writes a text; keeps its log-probability and each word that was drawn."""

    grammar: Grammar
    draw: random.Random
    state: State
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    log_probability: float = 0.0
    capital: bool = False
    free: set[str] = field(default_factory=set)  # variables whose words were drawn
    mentions: list[tuple[int, str]] = field(default_factory=list)  # where a word that a variable was drawn as stands
    drawn: list[Drawn] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What has been written."""
        return "".join(self.pieces)

    @property
    def document(self) -> Document:
        """What has been written, with its log-probability."""
        return Document(self.text, self.log_probability)

    def put(self, text: str) -> None:
        """Write a piece of text, with a capital letter if one is due."""
        if text:
            if self.capital:
                text, self.capital = text[0].upper() + text[1:], False
            self.pieces.append(text)
            self.length += len(text)

    def sequence(self, nodes: tuple) -> None:
        """Write some nodes of a rule."""
        for node in nodes:
            match node:
                case Text(text):
                    self.put(text)
                case Choice():
                    self.choice(node)
                case Bind(variable):
                    self.state = binding(self.state, variable, self.grammar.source(node, self.state))
                case Value(variable, path, capital):
                    before = bound(self.state, variable)
                    word, free = self.known(variable)
                    self.capital |= capital
                    due = self.capital
                    told = self.grammar.told(word, path)
                    if free and not path:
                        self.mentions.append((self.length, told))
                    self.put(told)
                    if isinstance(before, Bound):
                        words, without = self.source(before)
                        self.note(words, path, due, without)
                case Call(name) if name in self.grammar.classes:
                    self.word(node)
                case Call(name, form, capital):
                    self.capital |= capital
                    self.call(name, form)
                case Repeat(name, form, least, most):
                    for place in range(self.number(least, most)):
                        self.space(place)
                        self.call(name, form)
                case Shuffle():
                    self.shuffle(node)

    def space(self, place: int) -> None:
        """Write the space before a rule that is not the first of several."""
        if place and not self.pieces[-1].endswith("\n"):
            self.put(" ")

    def choice(self, node: Choice) -> None:
        """Write one of some alternatives."""
        place = bisect(node.cumulative, self.draw.random(), hi=len(node.options) - 1)
        self.log_probability += node.logs[place]
        self.sequence(node.options[place])

    def number(self, least: int, most: int) -> int:
        """Draw a whole number, each as probable."""
        self.log_probability -= math.log(most - least + 1)
        return self.draw.randint(least, most)

    def shuffle(self, node: Shuffle) -> None:
        """Write some of several rules, in random order."""
        left = dict(zip(node.parts, node.weights, strict=True))
        for place in range(self.number(node.least, node.most)):
            self.space(place)
            (part,) = self.draw.choices(list(left), list(left.values()))
            self.log_probability += math.log(left[part] / sum(left.values()))
            del left[part]
            self.call(part)

    def word(self, node: Call) -> None:
        """Write a word of a class."""
        words = self.grammar.words(node, self.state)
        word = words.draw(self.draw)
        self.log_probability += words.log(word)
        self.capital |= node.capital
        due = self.capital
        self.put(formed(word, node.form))
        self.note(words, (node.form,) if node.form else (), due)
        if node.keep:
            self.state = binding(self.state, node.name, word)

    def call(self, name: str, form: str = "") -> None:
        """Write a rule."""
        self.choice(self.grammar.lines(_named(name, self.state), form))

    def known(self, variable: str) -> tuple[Word, bool]:
        """The word that a variable stands for, drawn now if it has not been, and whether it was drawn at all."""
        value = bound(self.state, variable)
        if isinstance(value, Bound):
            words, without = self.source(value)
            value = words.draw(self.draw, without)
            self.log_probability += words.log(value, without)
            self.state = binding(self.state, variable, value)
            self.free.add(variable)
        return value, variable in self.free

    def source(self, value: Bound) -> tuple[Words, Word | None]:
        """The words that a variable is drawn from, and the one that it must not be."""
        return self.grammar.classes[value.source](self.state), self.grammar.without(value, self.state)

    def note(self, words: Words, path: tuple[str, ...], capital: bool, without: Word | None = None) -> None:
        """Keep what the last piece was drawn from."""
        written = self.pieces[-1]
        self.drawn.append(Drawn(self.length - len(written), written, words, path, capital, without))


def _named(name: str, state: State) -> str:
    """The name of a rule, with what its variable stands for put in."""
    if "{" not in name:
        return name
    start, variable = name[: name.index("{")], name[name.index("{") + 1 : -1]
    return start + str(bound(state, variable))


Key = tuple[int, bool, State]  # place in the text; whether a capital is due; what is bound
Found = dict[Key, list[float]]  # log-probabilities of the derivations that lead there


@dataclass
class _Reader:
    grammar: Grammar
    text: str
    memory: dict = field(default_factory=dict)

    def sequence(self, nodes: tuple, start: Key) -> Found:
        found: Found = {start: [0.0]}
        for node in nodes:
            after: Found = {}
            for key, logs in found.items():
                for there, more in self.node(node, key):
                    after.setdefault(there, []).extend([a + b for a in logs for b in more])
            found = after
            if not found:
                break
        return found

    def node(self, node, key: Key) -> Iterator[tuple[Key, list[float]]]:
        match node:
            case Text(text):
                if self.matches(text, key):
                    yield self.behind(text, key), [0.0]
            case Choice():
                yield from self.choice(node, key)
            case Bind(variable):
                yield (key[0], key[1], binding(key[2], variable, self.grammar.source(node, key[2]))), [0.0]
            case Value(variable, path, capital):
                yield from self.value(variable, path, (key[0], key[1] or capital, key[2]))
            case Call(name, form, capital):
                start = (key[0], key[1] or capital, key[2])
                found = self.word(node, start) if name in self.grammar.classes else self.call(name, form, start)
                yield from found.items()
            case Repeat():
                yield from self.repeat(node, key)
            case Shuffle():
                for count in range(node.least, node.most + 1):
                    share = -math.log(node.most - node.least + 1)
                    parts = dict(zip(node.parts, node.weights, strict=True))
                    for there, logs in self.shuffle(parts, count, True, key):
                        yield there, [log + share for log in logs]

    def matches(self, text: str, key: Key) -> bool:
        position, capital, _ = key
        return self.text.startswith(text[:1].upper() + text[1:] if capital else text, position)

    def choice(self, node: Choice, key: Key) -> Iterator[tuple[Key, list[float]]]:
        for option, log in zip(node.options, node.logs, strict=True):
            if option and isinstance(option[0], Text) and not self.matches(option[0].text, key):
                continue
            for there, logs in self.sequence(option, key).items():
                yield there, [log + each for each in logs]

    def word(self, node: Call, key: Key) -> Found:
        if (node, key) not in self.memory:
            words, found = self.grammar.words(node, key[2]), self.memory.setdefault((node, key), {})
            for (position, capital, state), word in self.words(words, node.form, key):
                after = binding(state, node.name, word) if node.keep else state
                found.setdefault((position, capital, after), []).append(words.log(word))
        return self.memory[node, key]

    def call(self, name: str, form: str, key: Key) -> Found:
        place = (name, form, key)
        if place not in self.memory:
            found: Found = {}
            for there, logs in self.choice(self.grammar.lines(_named(name, key[2]), form), key):
                found.setdefault(there, []).extend(logs)
            self.memory[place] = found
        return self.memory[place]

    def words(self, words: Words, form: str, key: Key) -> Iterator[tuple[Key, Word]]:
        """The words that stand at a place in a form, each with the place behind it."""
        start = _first(self.text, key[0])
        for each in {start, start[:1].lower() + start[1:]} if key[1] else {start}:
            for told, word in words.starting(form, each):
                if self.matches(told, key):
                    yield self.behind(told, key), word

    @staticmethod
    def behind(text: str, key: Key) -> Key:
        """The place behind a piece of text; a capital that is due is due no longer, unless the piece is empty."""
        return (key[0] + len(text), key[1] and not text, key[2])

    def value(self, variable: str, path: tuple[str, ...], key: Key) -> Iterator[tuple[Key, list[float]]]:
        value = bound(key[2], variable)
        if isinstance(value, Bound):
            words, without = self.grammar.classes[value.source](key[2]), self.grammar.without(value, key[2])
            choices = [(word, words.log(word, without)) for word in words.words if word is not without]
            if len(path) <= 1 and not (path and path[0] in words.words[0].facts):  # a form of the word: looked up
                form = ".".join(path)
                choices = [
                    (word, words.log(word, without)) for _, word in self.words(words, form, key) if word is not without
                ]
        else:
            choices = [(value, 0.0)]
        state = key[2]
        for word, log in choices:
            told = self.grammar.told(word, path)
            if self.matches(told, key):
                yield self.behind(told, (*key[:2], binding(state, variable, word))), [log]

    def spaced(self, place: int, key: Key) -> Key | None:
        """The place behind the space between two rules; none is written after the end of a line."""
        if not place or self.text[key[0] - 1] == "\n":
            return key
        return self.behind(" ", key) if self.text.startswith(" ", key[0]) else None

    def repeat(self, node: Repeat, key: Key) -> Iterator[tuple[Key, list[float]]]:
        found: Found = {key: [-math.log(node.most - node.least + 1)]}
        for place in range(node.most):
            after: Found = {}
            for start, logs in found.items():
                if (there := self.spaced(place, start)) is not None:
                    for end, more in self.call(node.name, node.form, there).items():
                        after.setdefault(end, []).extend([a + b for a in logs for b in more])
            found = after
            if place + 1 >= node.least:
                yield from found.items()

    def shuffle(self, left: dict[str, float], count: int, first: bool, key: Key) -> Iterator[tuple[Key, list[float]]]:
        if count == 0:
            yield key, [0.0]
            return
        there = self.spaced(not first, key)
        if there is None:
            return
        for part, weight in left.items():
            log = math.log(weight / sum(left.values()))
            rest = {name: each for name, each in left.items() if name != part}
            for end, logs in self.call(part, "", there).items():
                for last, more in self.shuffle(rest, count - 1, False, end):
                    yield last, [log + a + b for a in logs for b in more]
