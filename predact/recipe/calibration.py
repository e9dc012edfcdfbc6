"""The second pocket world against its targets: ``python -m predact.recipe.calibration`` prints a table.

Gold text only; what is asked of the Base model is measured by the recipe that trains it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

import numpy as np
import pandas as pd

from predact.pocket import world2
from predact.pocket.grammar import Document
from predact.recipe import variety

ANSWERS = 100  # to each question, as in the paper


def documents(corpus: str, words: int = variety.SHARE) -> list[Document]:
    """The first training documents of a corpus, so many that they have ``words`` words."""
    drawn: list[Document] = []
    left = words
    for index in count():
        if left <= 0:
            break
        drawn.append(world2.document(corpus, "train", index))
        left -= len(variety.words(drawn[-1].text))
    return drawn


def bits_per_byte(drawn: Sequence[Document]) -> tuple[float, float]:
    """Entropy of documents in bits a byte, and its standard error (of a ratio of means)."""
    bits = np.array([-each.log_probability for each in drawn]) / math.log(2)
    size = np.array([len(each.text.encode()) for each in drawn])
    ratio = bits.sum() / size.sum()
    return float(ratio), float((bits - ratio * size).std() / size.mean() / math.sqrt(len(drawn)))


def of_corpora(drawn: dict[str, list[Document]]) -> pd.DataFrame:
    """Entropy, lengths, sentences and type/token ratio of each corpus, with the bands of real text of the like kind."""
    real, rows = variety.targets()["real"], []
    for name, texts in drawn.items():
        measured = variety.of_documents([each.text for each in texts])
        like = [real["corpora"][kind] for kind in real["like"][name]]
        bits, error = bits_per_byte(texts)
        row = {"corpus": name, "bits": bits, "error": error}
        row |= {"words 5%": measured.words["5%"], "words 95%": measured.words["95%"]}
        for measure in ("sentence", "type_token"):
            low, high = min(each[measure][0] for each in like), max(each[measure][-1] for each in like)
            value = measured[measure]["mean"]
            row |= {measure: value, f"{measure} band": f"{low} to {high}", f"{measure} holds": low <= value <= high}
        rows.append(row)
    return pd.DataFrame(rows).set_index("corpus")


def of_questions(every: int = 1) -> pd.DataFrame:
    """Measures of 100 gold answers to one question of each kind, or of every so many kinds."""
    rows = []
    for place, (name, question) in list(enumerate(world2.QUESTIONS.items()))[::every]:
        of_kind = world2.entities()[question["kind"]]
        entity = of_kind[place % len(of_kind)]
        texts = [world2.answer(name, entity, f"gold/{seed}").text for seed in range(ANSWERS)]
        low, high = np.percentile([len(ids) for ids in variety.plain_ids(texts)], [5, 95])
        rows.append({"question": name, "tokens 5%": low, "tokens 95%": high} | variety.of_answers(texts))
    return pd.DataFrame(rows).set_index("question")


def against_targets(corpora: pd.DataFrame, counts: Sequence[int], answers: pd.DataFrame) -> pd.DataFrame:
    """Each target that has bounds and concerns gold text, with what the world has."""
    values: dict[str, list[float]] = {
        "bits per byte": [corpora.bits.mean()],
        "word forms": [len(counts)],
        "Zipf slope": [variety.zipf_slope(counts)],
        "words of a document": [corpora["words 5%"].min(), corpora["words 95%"].max()],
        "tokens of an answer": [answers["tokens 5%"].mean(), answers["tokens 95%"].mean()],
    }
    values |= {name: [answers[name].mean()] for name in answers.columns if "tokens" not in name}
    rows = []
    for target in variety.targets()["targets"]:
        if target["name"] in values:
            low, high = target.get("low", -math.inf), target.get("high", math.inf)
            found = values[target["name"]]
            holds = all(low <= value <= high for value in found)
            shown = " to ".join(f"{value:.4g}" for value in found)
            rows.append({"target": target["name"], "low": low, "high": high, "world": shown, "holds": holds})
    return pd.DataFrame(rows).set_index("target")


def main() -> None:
    """Print both tables, with one question about each kind of entity; some minutes, most of them for alignments."""
    drawn = {corpus: documents(corpus) for corpus in world2.CORPORA}
    corpora = of_corpora(drawn)
    counts = variety.sample([[each.text for each in texts] for texts in drawn.values()])
    print(corpora.round(3).to_string(), "\n")
    print(against_targets(corpora, list(counts.values()), of_questions(every=4)).to_string())


if __name__ == "__main__":
    main()
