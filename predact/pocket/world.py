"""The pocket world: documents as varied as real text, whose every log-probability is known.

The world is data, in the folder ``world``: words (``groups``, ``lexicon.yaml``), 64 entities and what is true of them
(``entities.yaml``), how English says things (``language.yaml``) and facts (``facts.yaml``), nine corpora in four
categories (``corpora.yaml``), questions and answers (``answers.yaml``). `grammar` writes and reads it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache, partial

from predact.pocket import lexicon
from predact.pocket.grammar import Document, Grammar, Word, Words, Writer, last_mention
from predact.pocket.lexicon import data

CORPORA: dict[str, str] = {name: corpus["category"] for name, corpus in data("corpora")["corpora"].items()}
HELD_OUT: dict[str, str] = {name: corpus["category"] for name, corpus in data("corpora")["held out"].items()}
QUESTIONS: dict[str, dict] = data("answers")["questions"]


def _listed(name: str) -> list[str]:
    return str(data("entities")["lists"][name]).split(", ")


@cache
def topics() -> dict[str, Word]:
    """The topics of documents: how a text names each is its form n."""
    return {name: Word(name, {"n": told}) for name, told in data("entities")["topics"].items()}


@cache
def values() -> dict[str, list[Word]]:
    """The lists of values of facts, and of names that carry none."""
    lists = {
        name: [Word(text, {"a": lexicon.article(text)}) for text in _listed(name)] for name in data("entities")["lists"]
    }
    return {
        name: [topics()[str(each)] for each in words] if "topics" in name else words for name, words in lists.items()
    }


@cache
def entities() -> dict[str, list[Word]]:
    """All entities by kind. Facts are dealt out evenly from their lists, by a fixed seed (``=list``: in its order)."""
    deal = random.Random("the pocket world")
    kinds = data("entities")["kinds"]
    found = {
        kind: [Word(name, {"a": lexicon.article(name)}) for name in spec["names"].split(", ")]
        for kind, spec in kinds.items()
    }
    for kind, spec in kinds.items():
        for entity, he in zip(found[kind], spec.get("he", "").split(", "), strict=False):
            entity.forms |= {"he": lexicon.HE, "she": lexicon.SHE}.get(he, {})
        for fact, source in spec["facts"].items():
            dealt = list(found[source] if source in found else values()[source.lstrip("=")])
            dealt *= -(-len(found[kind]) // len(dealt))
            if not source.startswith("="):
                deal.shuffle(dealt)
            for entity, value in zip(found[kind], dealt, strict=False):
                entity.facts[fact] = value
    return found


def facts() -> dict[str, str]:
    """Where the values of each fact come from: a list, or a kind of entity."""
    specs = data("entities")["kinds"].values()
    return {fact: source.lstrip("=") for spec in specs for fact, source in spec["facts"].items() if fact != "topic"}


# ---------------------------------------------------------------------------------------------- the grammar


def _lines(rule: str) -> list[str]:
    return [line.replace("\\n", "\n") for line in rule.splitlines()]


@cache
def rules() -> dict[str, list[str]]:
    """All rules: a line for each alternative; those of every fact (#) and every kind of question (%) written out."""
    written = data("language") | data("facts") | data("corpora")["rules"] | data("answers")["rules"]
    found: dict[str, list[str]] = {}
    for name, rule in written.items():
        mark, stands_for = ("#", list(facts())) if "#" in name else ("%", list(QUESTIONS) if "%" in name else [""])
        for each in stands_for:
            found[name.replace(mark, each)] = _lines(rule.replace(mark, each) if each else rule)
    for writer, spec in data("answers")["writers"].items():
        for fact, source in facts().items():
            told = f"<{writer} frame {fact}>"
            found[f"{writer} {fact}"] = [f"{{v:=e.{fact}}}{told}^{spec['right']}", f"{{v:={source}!e.{fact}}}{told}"]
        for name, question in QUESTIONS.items():
            of_kind = [fact for fact in data("entities")["kinds"][question["kind"]]["facts"] if fact != "topic"]
            weighed = [f"{writer} {fact}^{spec['asked'] if fact in question['asks'] else 1}" for fact in of_kind]
            found[f"{writer} facts {name}"] = [f"<{'~'.join(weighed)}/{spec['facts']}>"]
    found["forum"] = [
        f"Question by {{u:=users}}{{u}}: {{e:={question['kind']}}}[{'|'.join(question['prompts'])}]{{topic:=e.topic}}"
        f"[^2| <i*1-2>]\n\nAnswer by {{w:=users!u}}{{w}}: <answer {name}><thread rest>"
        for name, question in QUESTIONS.items()
    ]
    return found


def _uniform(words: list[Word]) -> Callable[..., Words]:
    same = Words(dict.fromkeys(words, 1.0))
    return lambda state: same


def _verbs() -> dict[str, Word]:
    """Auxiliaries, of one (s is the present, d the past) and of several (the plain form is the present)."""
    return {
        "be": Word("is", {"s": "is", "d": "was"}),
        "are": Word("are", {"": "are", "d": "were"}),
        "have": Word("have", {"": "have", "s": "has", "d": "had"}),
        "would": Word("will", {"s": "will", "d": "would"}),
    }


@cache
def grammar() -> Grammar:
    """The world's grammar."""
    classes: dict[str, Callable[..., Words]] = {name: partial(lexicon.words, name) for name in lexicon.kinds()}
    classes |= {name: _uniform(words) for name, words in values().items()}
    classes |= {kind: _uniform(found) for kind, found in entities().items()}
    common = Words(lexicon.zipf(list(topics().values()), 0.0))
    classes["topics"] = lambda state: common
    classes |= {name: _uniform([verb]) for name, verb in _verbs().items()}
    return Grammar(rules(), classes)


PROPS = "{p:=person}{x:=thing}{y:=idea}{z:=place}"  # who and what a text may come back to, drawn when it first does


def template(corpus: str) -> str:
    """The template that writes the documents of a corpus."""
    return PROPS + f"<{(data('corpora')['corpora'] | data('corpora')['held out'])[corpus]['rule']}>"


def document(corpus: str, split: str, index: int) -> Document:
    """Document number ``index`` of a corpus; the splits (*train*, *validation*, *test*) have seeds of their own."""
    return written(corpus, split, index).document


def written(corpus: str, split: str, index: int) -> Writer:
    """The same with the words that were drawn for it, and from what."""
    return grammar().written(template(corpus), f"{split}/{corpus}/{index}")


def answer(question: str, entity: Word, seed: str) -> Writer:
    """An answer to a kind of question about an entity, as some person of the world gives it."""
    return grammar().written(f"{PROPS}<answer {question}>", seed, e=entity, topic=entity.facts["topic"])


def derivations(template: str, text: str, **scope: Word) -> Iterator[float]:
    """The log-probability, in nats, of each way in which a template can write a text (none: it cannot)."""
    return grammar().derivations(template, text, **scope)


def ending(split: str, index: int) -> tuple[str, str] | None:
    """Cut a story before a mention of its hero or thing: see `grammar.last_mention`.

    Args:
        split: *train*, *validation* or *test*.
        index: number of the document of the corpus *stories*.
    """
    writer = written("stories", split, index)
    return last_mention(writer.text, writer.mentions)
