"""The words of the pocket world: their forms, made by rule, and which of them go together.

Words stand in **groups**: verbs, nouns and adjectives of which each goes with each (``world/groups``: a file for each
topic, and *general*). In a list of a group a word weighs 1 / (place + SHIFT), the commoner first. A document draws a
group from its topic's, from the general ones or from another topic's, in the shares of `MIX`, for each phrase anew. The
group is not written, so what is known is the distribution of the words alone: a noun after a verb, say, has the
probability

    P(noun | verb, topic) = sum over groups g of P(g | verb, topic) P(noun | g)
    P(g | verb, topic) is in proportion to P(g | topic) P(verb | g)

mixed with `STRAY` of P(noun | topic), so that every word of a class is possible after every other.

All other words (``world/lexicon.yaml``) are lists, each a class, with weights by the same law.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files

import yaml

from predact.pocket.grammar import State, Word, Words

SHIFT = 0.1
EVEN = 0.5  # in place of SHIFT for names of people and towns, whose commonest are less common
NAMES = ("person", "surname", "city")
MIX = {"topic": 0.58, "general": 0.34, "others": 0.08}
STRAY = 0.01
GENERAL = "general"
KINDS = {
    "things": ("do", "thing", "look"),
    "stuffs": ("use", "stuff", "feel"),
    "ideas": ("weigh", "idea", "kind"),
    "places": ("go", "at", "place", "air"),
    "people": ("role", "deed", "mood"),
    "events": ("hold", "event", "sort"),
    "foods": ("cook", "food", "taste"),
    "pantries": ("add", "pantry", "rich"),
}
KIND_OF = {each: kind for kind, classes in KINDS.items() for each in classes}
NOUNS = {"thing", "idea", "place", "role", "event", "food", "utensil", "season"}
VERBS = {"do", "use", "weigh", "go", "deed", "hold", "say", "think", "meet", "cause", "turn", "seem", "begin"}
VERBS |= {"see", "spend", "cost", "cover", "order", "rest", "wonder", "cry", "cook", "add"}
HE = {"he": "he", "him": "him", "his": "his", "self": "himself"}
SHE = {"he": "she", "him": "her", "his": "her", "self": "herself"}
FOLDER = files("predact.pocket") / "world"


@cache
def data(name: str) -> dict:
    """One of the world's files."""
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def topics() -> list[str]:
    """The topics that have groups, and *general*."""
    return sorted(path.name.removesuffix(".yaml") for path in (FOLDER / "groups").iterdir())


# ---------------------------------------------------------------------------------------------- forms


def article(text: str) -> str:
    """*a* or *an*, as a word is spoken."""
    vowel = re.match(r"(?!uni|use|usu|eu|one\b|once|ute)[aeiou]|hour|heir|honest|honour", text, re.IGNORECASE)
    return f"an {text}" if vowel else f"a {text}"


def plural(text: str) -> str:
    """The regular plural of a noun."""
    if re.search(r"(s|x|z|ch|sh)$", text):
        return f"{text}es"
    return re.sub(r"(?<=[^aeiou])y$", "ie", text) + "s"


@cache
def _irregular() -> dict[str, list[str]]:
    """Irregular verbs: past and participle by the infinitive."""
    return {verb: forms for verb, *forms in (entry.split("/") for entry in _entries(data("lexicon")["irregular"]))}


def _entries(told: str) -> list[str]:
    return [entry.strip() for entry in str(told).split(",")]


def _doubled(verb: str) -> str:
    """A verb before an ending with a vowel: *drop* becomes *dropp*."""
    short = re.fullmatch(r"[^aeiou]*(qu)?[aeiou][^aeiouwxy]", verb)
    return verb + verb[-1] if short or verb in _entries(data("lexicon")["doubled"]) else verb


def conjugated(entry: str) -> dict[str, str]:
    """Forms of a verb: s (third person), d (past), n (participle), g (-ing); only its first word changes."""
    verb, _, rest = entry.partition(" ")
    rest = f" {rest}" if rest else ""
    if verb == "be":
        return {"": entry, "s": f"is{rest}", "d": f"was{rest}", "n": f"been{rest}", "g": f"being{rest}"}
    stem = _doubled(verb)
    third = "has" if verb == "have" else plural(verb) if not re.search(r"[^s]o$", verb) else f"{verb}es"
    past = re.sub(r"(?<=[^aeiou])y$", "i", stem)
    past = f"{past}d" if past.endswith("e") else f"{past}ed"
    ing = re.sub(r"ie$", "y", stem)
    ing = re.sub(r"(?<=[^eyo])e$", "", ing) + "ing"
    told = [past, past]
    if verb in _irregular():
        told = _irregular()[verb]
    return {"": entry, "s": third + rest, "d": told[0] + rest, "n": told[1] + rest, "g": ing + rest}


def word(kind: str, entry: str) -> Word:
    """A word of a class with its forms: nouns have a plural (s) and, as adjectives, an article (a)."""
    if kind in VERBS:
        return Word(entry, conjugated(entry))
    if kind == "aux":
        present, past, several = entry.split("/")
        return Word(several, {"s": present, "d": past})
    text, _, other = entry.partition("/")
    forms = {"a": article(text)}
    if kind in NOUNS:
        forms["s"] = other or plural(text)
    return Word(text, forms)


# ---------------------------------------------------------------------------------------------- probabilities


def zipf(words: list[Word], shift: float) -> dict[Word, float]:
    """The weight of each word of a list, by its place; all together 1."""
    weights = [1 / (place + shift) for place in range(1, len(words) + 1)]
    total = sum(weights)
    return {each: weight / total for each, weight in zip(words, weights, strict=True)}


Group = Mapping[str, Mapping[Word, float]]  # a distribution for each class


@cache
def _plurals() -> dict[tuple[str, str], str]:
    """Nouns that have a plural of their own, as they are written, by class and singular."""
    lists = [
        item
        for topic in topics()
        for kind in data(f"groups/{topic}").values()
        for group in kind
        for item in group.items()
    ]
    return {(name, entry.split("/")[0]): entry for name, told in lists for entry in _entries(told) if "/" in entry}


@cache
def _word(name: str, singular: str) -> Word:
    """The one word of a class that is written so, in whichever groups it stands."""
    return word(name, _plurals().get((name, singular), singular))


def _list(name: str, told: str) -> dict[Word, float]:
    return zipf([_word(name, each) for each in dict.fromkeys(entry.split("/")[0] for entry in _entries(told))], SHIFT)


@cache
def groups(kind: str) -> dict[str, list[Group]]:
    """The groups of a kind (`KINDS`), by topic."""
    return {
        topic: [{name: _list(name, told) for name, told in group.items()} for group in data(f"groups/{topic}")[kind]]
        for topic in topics()
        if kind in data(f"groups/{topic}")
    }


@cache
def _weighed(kind: str, topic: str | None) -> list[tuple[float, Group]]:
    """All groups of a kind with their probabilities in documents on a topic, or in those without one."""
    found = groups(kind)
    others = len(found.keys() - {topic, GENERAL})
    shares = dict.fromkeys(found, MIX["others"] / max(1, others)) | {GENERAL: MIX["general"]}
    if topic in found:
        shares[topic] = MIX["topic"]
    return [(share / len(found[name]), group) for name, share in shares.items() for group in found[name]]


def _mixed(groups: list[tuple[float, Group]], name: str) -> dict[Word, float]:
    found: dict[Word, float] = {}
    total = sum(weight for weight, _ in groups)
    for weight, group in groups:
        for each, share in group[name].items():
            found[each] = found.get(each, 0.0) + weight * share / total
    return found


@lru_cache(20_000)  # a few hundred megabytes
def grouped(name: str, topic: str | None, *given: tuple[str, Word]) -> Words:
    """The words of a class in documents on a topic, after other words of its groups, each with its class."""
    weighed = _weighed(KIND_OF[name], topic)
    if not given:
        return Words(_mixed(weighed, name))
    for other, each in given:
        weighed = [(weight * group[other][each], group) for weight, group in weighed if each in group[other]]
    everything = grouped(name, topic)
    return Words(_mixed(weighed, name), everything, STRAY) if weighed else everything


def kinds() -> list[str]:
    """All classes."""
    return [
        *KIND_OF,
        *(name for name in data("lexicon") if name not in ("irregular", "doubled", "female", "male")),
        "person",
    ]


@cache
def listed(name: str) -> Words:
    """The words of a class that stands in no group."""
    if name == "person":
        people = [_people("female", SHE), _people("male", HE)]
        return Words(zipf([each for pair in zip(*people, strict=True) for each in pair], EVEN))
    return Words(
        zipf([word(name, entry) for entry in _entries(data("lexicon")[name])], EVEN if name in NAMES else SHIFT)
    )


def _people(sex: str, forms: dict[str, str]) -> list[Word]:
    return [Word(name, {"a": article(name)} | forms) for name in _entries(data("lexicon")[sex])]


def words(name: str, state: State, **given: Word) -> Words:
    """The words of a class in the state of a document, after words of other classes."""
    if name not in KIND_OF:
        return listed(name)
    topic = next((str(value) for variable, value in state if variable == "topic"), None)
    return grouped(name, topic, *given.items())
