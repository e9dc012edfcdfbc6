"""The pocket world and its Base against their targets: ``python -m predact.recipe.calibration`` writes two tables.

``pocket/calibration/corpora.csv`` has a row for each corpus, ``targets.csv`` one for each target: its bounds, the
world, and Base's own samples at p = 1 and 0.7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from predact.models import pairs, sampling
from predact.pocket import world
from predact.pocket.grammar import Document, Word
from predact.pocket.shipped import SHIPPED, load
from predact.recipe import variety
from predact.recipe.recipe import SCALES, excess

ANSWERS = 100  # to each question, as in the paper


def documents(corpus: str, words: int = variety.SHARE) -> list[Document]:
    """The first training documents of a corpus, so many that they have ``words`` words."""
    drawn: list[Document] = []
    left = words
    for index in count():
        if left <= 0:
            break
        drawn.append(world.document(corpus, "train", index))
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


def gold(question: str, entity: Word) -> list[str]:
    """Answers to a kind of question about an entity, as people give them."""
    return [world.answer(question, entity, f"gold/{seed}").text for seed in range(ANSWERS)]


def base_answers(folder: Path, top_p: float) -> Callable[[str, Word], list[str]]:
    """A function that asks the Base model of a folder, in the pair's frame; what follows its answer is left out."""
    (model, tokenizer), frame = load(folder), pairs.pair("pocket").frame
    settings = sampling.Settings(ANSWERS, top_p=top_p, max_new_tokens=SCALES["full"].rlhf.tokens)

    def answers(question: str, entity: Word) -> list[str]:
        prompt = world.grammar().write(world.QUESTIONS[question]["prompts"][0], "", e=entity).text
        given = sampling.ask(tokenizer, prompt, frame)
        keys = [f"{prompt}/{number}" for number in range(ANSWERS)]
        numbers = sampling.uniforms(0, keys, settings, settings.max_new_tokens)
        made = sampling.sample(model, tokenizer, [given], numbers, settings)
        return [str(tokenizer.decode(each.ids, skip_special_tokens=True)).strip().split("\n\n")[0] for each in made]

    return answers


def of_questions(every: int = 1, answers: Callable[[str, Word], list[str]] = gold) -> pd.DataFrame:
    """Measures of 100 answers to one question of each kind, or of every so many kinds."""
    rows = []
    for place, (name, question) in list(enumerate(world.QUESTIONS.items()))[::every]:
        of_kind = world.entities()[question["kind"]]
        entity = of_kind[place % len(of_kind)]
        texts = answers(name, entity)
        low, high = np.percentile([len(ids) for ids in variety.plain_ids(texts)], [5, 95])
        rows.append({"question": name, "tokens 5%": low, "tokens 95%": high} | variety.of_answers(texts))
    return pd.DataFrame(rows).set_index("question")


def against_targets(corpora: pd.DataFrame, counts: Sequence[int], answers: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Each target that has bounds, with what the world and Base have.

    Args:
        corpora: what `of_corpora` returns.
        counts: how often each word form occurs in the sample of all corpora.
        answers: what `of_questions` returns, by whose answers they are; the world's first.
    """
    (whose, of_world), *others = answers.items()
    values: dict[str, list[float]] = {
        "bits per byte": [corpora.bits.mean()],
        "word forms": [len(counts)],
        "Zipf slope": [variety.zipf_slope(counts)],
        "words of a document": [corpora["words 5%"].min(), corpora["words 95%"].max()],
        "tokens of an answer": [of_world["tokens 5%"].mean(), of_world["tokens 95%"].mean()],
    }
    values |= {name: [of_world[name].mean()] for name in of_world.columns if "tokens" not in name}
    rows = []
    for target in variety.targets()["targets"]:
        if target["name"] in values:
            low, high = target.get("low", -math.inf), target.get("high", math.inf)
            found = {whose: values[target["name"]]}
            if target["name"] in of_world.columns:
                found |= {name: [frame[target["name"]].mean()] for name, frame in others}
            row = {name: " to ".join(f"{value:.4g}" for value in each) for name, each in found.items()}
            holds = all(low <= value <= high for each in found.values() for value in each)
            rows.append({"target": target["name"], "low": low, "high": high, **row, "holds": holds})
    return pd.DataFrame(rows).set_index("target")


def main(
    base: Annotated[Path, typer.Option(help="Folder of the Base model.")] = SHIPPED / "models" / "base",
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = SHIPPED / "calibration",
) -> None:
    """Measure the world and its Base, with one question about each kind of entity; most time goes to alignments."""
    drawn = {corpus: documents(corpus) for corpus in world.CORPORA}
    counts = variety.sample([[each.text for each in texts] for texts in drawn.values()])
    samples = {"world": gold} | {f"Base, p = {p:g}": base_answers(base, p) for p in (1.0, 0.7)}
    answers = {name: of_questions(4, each) for name, each in samples.items()}
    corpora = of_corpora(drawn)
    corpora["Base excess"] = pd.Series(excess(*load(base), documents=200, split="test"))
    out.mkdir(parents=True, exist_ok=True)
    for name, table in ("corpora", corpora), ("targets", against_targets(corpora, list(counts.values()), answers)):
        table.round(3).to_csv(out / f"{name}.csv")
        print(table.round(3).to_string(), "\n")


if __name__ == "__main__":
    typer.run(main)
