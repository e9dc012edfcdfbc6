"""The words of the pocket world: their forms, made by rule, and how probable each is, by class and topic.

A class is a list of words, the commoner first. A word's weight in its list is 1 / (place + SHIFT) (Zipf's law). A
document with a topic takes the words of a class from three lists: the topic's, the general one, and those of all other
topics, in the shares of `MIX`. Every word of a class is possible in every document, at probabilities that differ.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

import yaml

from predact.pocket.grammar import State, Word, Words

SHIFT = 0.2
FLAT = 3.0  # of lists that only recipes use, whose words would be rare otherwise
KITCHEN = {"food", "pantry", "utensil", "taste", "cook"}
MIX = {"topic": 0.25, "general": 0.4, "others": 0.35}
NOUNS = {"role", "thing", "place", "stuff", "idea", "event", "food", "utensil", "season"}
VERBS = {
    "deed",
    "act",
    "do",
    "move",
    "rest",
    "say",
    "think",
    "meet",
    "weigh",
    "cause",
    "turn",
    "seem",
    "begin",
    "wonder",
    "cry",
    "cook",
}
HE = {"he": "he", "him": "him", "his": "his", "self": "himself"}
SHE = {"he": "she", "him": "her", "his": "her", "self": "herself"}


@cache
def lexicon() -> dict:
    """The lists as they are written."""
    return yaml.safe_load((files("predact.pocket") / "world2" / "lexicon.yaml").read_text(encoding="utf-8"))


# ---------------------------------------------------------------------------------------------- forms


def article(text: str) -> str:
    """*a* or *an*, as a word is spoken."""
    vowel = re.match(r"(?!uni|use|usu|eu|one\b|once|ute)[aeiou]|hour|heir|honest", text, re.IGNORECASE)
    return f"an {text}" if vowel else f"a {text}"


def plural(text: str) -> str:
    """The regular plural of a noun."""
    if re.search(r"(s|x|z|ch|sh)$", text):
        return f"{text}es"
    return re.sub(r"(?<=[^aeiou])y$", "ie", text) + "s"


def _doubled(verb: str) -> str:
    """A verb before an ending with a vowel: *drop* becomes *dropp*, as does a verb marked with a plus."""
    bare = verb.rstrip("+")
    double = verb.endswith("+") or re.fullmatch(r"[^aeiou]*(qu)?[aeiou][^aeiouwxy]", bare)
    return bare + bare[-1] if double else bare


def conjugated(entry: str) -> dict[str, str]:
    """Forms of a verb: s (third person), d (past), n (participle), g (-ing); only its first word changes.

    Args:
        entry: *walk*, *travel+* (doubles its last letter) or *take/took/taken*; more words may follow the first.
    """
    base, *irregular = entry.split("/")
    verb, _, rest = base.partition(" ")
    rest = f" {rest}" if rest else ""
    stem, bare = _doubled(verb), verb.rstrip("+")
    if bare == "be":
        return {"": base, "s": f"is{rest}", "d": f"was{rest}", "n": f"been{rest}", "g": f"being{rest}"}
    third = "has" if bare == "have" else plural(bare) if not re.search(r"[^s]o$", bare) else f"{bare}es"
    past = re.sub(r"(?<=[^aeiou])y$", "i", stem)
    past = f"{past}d" if past.endswith("e") else f"{past}ed"
    ing = re.sub(r"ie$", "y", stem)
    ing = re.sub(r"(?<=[^eyo])e$", "", ing) + "ing"
    forms = {"": bare + rest, "s": third + rest, "d": past + rest, "n": past + rest, "g": ing + rest}
    if irregular:
        forms |= {"d": irregular[0], "n": irregular[1]}
    return forms


def _irregular() -> dict[str, str]:
    """Irregular verbs of all lists, by their first form: *take* to *take/took/taken*."""
    general = lexicon()["general"]
    told = [entry for name in VERBS for entry in general.get(name, "").split(", ")] + lexicon()["irregular"].split(", ")
    return {entry.split("/")[0]: entry for entry in told if "/" in entry and " " not in entry}


def word(kind: str, entry: str) -> Word:
    """A word of a class with its forms."""
    if kind in VERBS:
        verb, _, rest = entry.partition(" ")
        if rest and "/" not in entry and verb in (known := _irregular()):
            entry = "/".join(f"{form} {rest}" for form in known[verb].split("/"))
        forms = conjugated(entry)
        return Word(forms[""], forms)
    if kind == "aux":
        present, past, several = entry.split("/")
        return Word(several, {"s": present, "d": past})
    text, _, other = entry.partition("/")
    forms = {"a": article(text)}
    if kind in NOUNS:
        forms["s"] = other or plural(text)
    return Word(text, forms)


# ---------------------------------------------------------------------------------------------- probabilities


def zipf(entries: list, shift: float = SHIFT) -> dict:
    """The weight of each entry, by its place; all together 1."""
    weights = {entry: 1 / (place + 1 + shift) for place, entry in enumerate(entries)}
    return {entry: weight / sum(weights.values()) for entry, weight in weights.items()}


@cache
def words(kind: str, topic: str | None) -> Words:
    """The words of a class as a document on a topic uses them, or one without a topic."""
    lists = _entries(kind)
    others = [name for name in lists if name not in ("general", topic)]
    shares = dict.fromkeys(others, MIX["others"] / max(1, len(others))) | {"general": MIX["general"]}
    shares |= {topic: MIX["topic"]} if topic else {}
    found: dict[Word, float] = {}
    for name, entries in lists.items():
        for entry, weight in zipf(entries, FLAT if kind in KITCHEN else SHIFT).items():
            found[entry] = found.get(entry, 0.0) + shares[name] * weight
    return Words(found)


@cache
def _entries(kind: str) -> dict[str, list[Word]]:
    """The words of a class by topic; a word that stands in several lists is the same one."""
    if kind == "person":
        people = [_entries(sex)["general"] for sex in ("female", "male")]
        for names, forms in zip(people, (SHE, HE), strict=True):
            for name in names:
                name.forms |= forms
        return {"general": [each for pair in zip(*people, strict=True) for each in pair]}
    known: dict[str, Word] = {}
    lists = {"general": lexicon()["general"].get(kind)} | {t: c.get(kind) for t, c in lexicon()["topics"].items()}
    found = {}
    for name, entries in lists.items():
        if entries:
            told = [entry.strip() for entry in str(entries).split(", ")]
            firsts = [entry.split("/")[0] for entry in told]
            for first, entry in zip(firsts, told, strict=True):
                known.setdefault(first, word(kind, entry))
            found[name] = list(dict.fromkeys(known[first] for first in firsts))
    return found


def kinds() -> list[str]:
    """All classes."""
    return [*dict.fromkeys([*lexicon()["general"], *next(iter(lexicon()["topics"].values()))]), "person"]


def topical(kind: str, state: State) -> Words:
    """The words of a class in the state of a document: those of its topic, if it has one."""
    return words(kind, next((str(value) for name, value in state if name == "topic"), None))
