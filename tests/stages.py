"""Every stage of every chapter that a model takes part in, small; run on some devices, and compared."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from predact.claims import self_reading
from predact.discussion import mixture, nudging
from predact.methods import probes
from predact.methods.probes import Design
from predact.models import distributions, finetuned, loading, passages, sampling, scoring, shannon
from predact.models.finetuning import FULL, LORA, Settings
from predact.models.pairs import Model, Pair
from predact.pocket import human
from predact.texts.corpora import Corpus
from predact.texts.endings import Ending
from predact.texts.prompts import Prompt

WORDS = "the cat sat on the mat and the dog ran to the river where the other cat saw a naïve café owner".split()
TEXTS = [" ".join(np.roll(WORDS, place)[: 8 + place % 13]) + f" {place}" for place in range(40)]
CORPUS = Corpus("tales", "narrative", TEXTS, None, "tales")
ASKED = [Prompt(str(place), "kind", text) for place, text in enumerate(TEXTS[:4])]
TEMPLATE = "{% for message in messages %}{{ bos_token }}<{{ message.role }}> {{ message.content }} {% endfor %}"
SAMPLED = sampling.Settings(generations=2, max_new_tokens=10)
LEARNING = Settings(updates=2, batch=400, rates=[1e-2], rank=2)
DESIGN = Design(layers=[0, 2], trained=[0, 2], positions=60, rank=2)


def random_pair(folder: Path, make_model: Any, tokenizer: Any) -> Pair:
    """A pair of random models in a folder; their heads have weights of their own."""
    for seed, (step, template) in enumerate({"base": None, "rlhf": TEMPLATE}.items()):
        make_model(seed, max_position_embeddings=128).save_pretrained(folder / step)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder / step)
    tokenizer.chat_template = None
    return Pair("random", {"Base": Model(str(folder / "base")), "RLHF": Model(str(folder / "rlhf"))}, frame="{prompt}")


@contextmanager
def placed(where: Callable[[Model], Any], alive: int = 1) -> Iterator[None]:
    """Have models loaded to the device map that a function gives each; never more than so many are to be alive."""
    load, seen = loading.load, list[weakref.ref]()

    def one_more(model: Model, device: str | None = None) -> tuple[Any, Any]:
        assert sum(each() is not None for each in seen) < alive, "another model is still in memory"
        loaded = load(model, device)
        seen.append(weakref.ref(loaded[0]))
        return loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_device_map", where)
        patch.setattr(loading, "_held", {})
        patch.setattr(loading, "load", one_more)
        yield


def halves(first: Any, second: Any, model: Model) -> dict[str, Any]:
    """A device map with the later half of the layers on a second device; tied embeddings stay together."""
    config = loading.config(model)
    later = range(config.num_hidden_layers // 2, config.num_hidden_layers)
    places = {f"model.layers.{layer}": second if layer in later else first for layer in range(config.num_hidden_layers)}
    places |= {"model.embed_tokens": first, "model.rotary_emb": first, "model.norm": second}
    return places | {"lm_head": first if config.tie_word_embeddings else second}


def scored(root: Path, pair: Pair) -> pd.DataFrame:
    return scoring.score_pair(root, pair, [CORPUS], end=True)


def written(root: Path, pair: Pair) -> pd.DataFrame:
    return sampling.sample_pair(root, pair, ASKED, SAMPLED)


def narrowed(root: Path, pair: Pair) -> pd.DataFrame:
    conditions = distributions.measure_pair(root, pair, [CORPUS], written(root, pair), 300)
    parts = [each.positions.join(pd.DataFrame(each.mass), on="group") for each in conditions.values()]
    return pd.concat(parts, ignore_index=True)


def continued(root: Path, pair: Pair) -> pd.DataFrame:
    tokenizer = loading.tokenizer(pair.models["Base"])
    return self_reading.cross_reading(root, pair, self_reading.cut_beginnings(tokenizer, [CORPUS], 3, 12), SAMPLED)


def learned(method: str, root: Path, pair: Pair) -> pd.DataFrame:
    settings = Settings(**vars(LEARNING) | {"method": method})
    documents, curves = finetuned.finetune_pair(root, pair, [CORPUS], settings)
    return pd.concat([documents, curves], ignore_index=True)


def played(root: Path, pair: Pair) -> pd.DataFrame:
    return shannon.play_pair(root, pair, [Ending(*text.rsplit(" ", 1)) for text in TEXTS[:6]])


def probed(root: Path, pair: Pair) -> pd.DataFrame:
    return probes.cross_probes(root, pair, written(root, pair), [CORPUS], DESIGN)


def seen(root: Path, pair: Pair) -> pd.DataFrame:
    model = pair.models["RLHF"]
    return probes.lens(root, model, passages.gold_passages(loading.tokenizer(model), [CORPUS]), DESIGN)


def nudged(root: Path, pair: Pair) -> pd.DataFrame:
    return nudging.read_answers(root, pair, ASKED[:1], written(root, pair), SAMPLED, each=1)


def acted(root: Path, pair: Pair) -> pd.DataFrame:
    return mixture.mixture_answers(root, pair, (0.0, 0.5, 1.0), samples=2)


def predicted(root: Path, pair: Pair) -> pd.DataFrame:
    return mixture.mixture_documents(root, pair, (0.0, 0.5), documents=2)


STAGES = {"scored": scored, "written": written, "narrowed": narrowed, "continued": continued}
STAGES |= {"learned in full": partial(learned, FULL), "learned by adapters": partial(learned, LORA)}
STAGES |= {"played": played, "probed": probed, "seen": seen, "nudged": nudged}
POCKET = {"acted": acted, "predicted": predicted}  # of the pocket pair


@contextmanager
def little() -> Iterator[None]:
    """Two questions, answers of 8 tokens, and two documents of each corpus, in the stages of the pocket pair."""
    questions, uniforms = human.questions("validation")[:2], sampling.uniforms
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(human, "questions", lambda _: questions)
        patch.setattr(sampling, "uniforms", lambda *given: uniforms(*given)[:, :8])
        yield


def numbers(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """The columns of a frame as flat arrays; texts and ids are whole numbers."""
    found = {}
    for name, column in frame.items():
        values = list(column)
        if len(values) and isinstance(values[0], (list, np.ndarray)):
            found[f"lengths of {name}"], values = np.array(list(map(len, values))), list(chain.from_iterable(values))
        found[str(name)] = pd.factorize(np.array(values))[0] if isinstance(values[0], str) else np.array(values)
    return found
