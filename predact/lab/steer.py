"""Steer: Base and RLHF mixed, at any weight and at any checkpoint on the way to RLHF, answer one question again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import altair as alt
import numpy as np
import pandas as pd
from IPython.display import HTML

from predact import markup
from predact.discussion import mixture
from predact.errors import UserError
from predact.figures import laboratory as figures
from predact.lab.answers import Write
from predact.lab.held import Held
from predact.methods import ngrams
from predact.models import loading, sampling
from predact.models.pairs import PRETRAINED, Model, Pair, frame_of
from predact.models.sampling import Generation, Settings
from predact.models.tokens import Per, compared_per
from predact.pocket import shipped

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the figure
N = 10  # tokens of the n-gram that is counted


class Place(NamedTuple):
    """Where the two sliders stand: the weight of the tuned model in the mixture with Base, and which model that is."""

    weight: float
    station: str


def stations(pair: Pair) -> dict[str, Model]:
    """Return the models on the way from Base to RLHF, in the order of training: steps, shipped checkpoints, RLHF."""
    between = {step: model for step, model in pair.models.items() if step not in ("Base", PRETRAINED, "RLHF")}
    rlhf = pair.models["RLHF"]
    made = {name: replace(rlhf, source=source) for name, source in shipped.checkpoints(rlhf.source).items()}
    return between | made | {"RLHF": rlhf}


def check(held: Held, pair: Pair) -> None:
    """Refuse a pair whose models cannot be mixed.

    Raises:
        UserError: their tokenizers differ, or two of them do not fit into memory.
    """
    if compared_per(pair) is not Per.TOKEN:
        raise UserError("pair: its models cut text into different tokens, so they cannot be mixed token by token.")
    if held.most < 2:
        raise UserError("pair: two of its models do not fit into memory together, so they cannot be mixed here.")


def writer(
    held: Held, pair: Pair, station: str, weights: Sequence[float], question: str, settings: Settings
) -> tuple[int, Write]:
    """Return how many tokens mixtures can write after a question, and what samples their answers.

    Base reads the question in its frame, the other model in its chat template; see `mixture`. Rows of random numbers
    are answered at each weight in turn: as many rows at the first one as at every other.

    Raises:
        UserError: the question leaves no room, or a model cannot be asked or sampled.
    """
    check(held, pair)
    (base, tokenizer), (tuned, chat) = held(pair.models["Base"]), held(stations(pair)[station])
    given = sampling.ask(tokenizer, question, frame_of(pair, "Base")), sampling.ask(chat, question, None)
    both = zip((base, tuned), given, strict=True)
    room = min(sampling.room_after(model, len(ids), "question: it") for model, ids in both)

    def write(numbers: np.ndarray) -> list[Generation]:
        rows = len(numbers)
        prompts = ([given[0]] * rows, [given[1]] * rows)
        each = np.repeat(weights, rows // len(weights)).tolist()
        return mixture.sample_mixture(mixture.Mixture((base, tuned)), tokenizer, prompts, each, numbers, settings)

    return room, write


def measured(place: Place, found: Sequence[Generation]) -> dict[str, object]:
    """Count what the answers at one place share.

    Returns:
        station, weight, answers, different ones, sharing (answers that hold the commonest n-gram, n = `N`).
    """
    ids = [each.ids for each in found]
    sharing = len(ngrams.most_shared(ids, N)[1])
    counts = {"answers": len(ids), "different": len({tuple(each) for each in ids}), "sharing": sharing}
    return {"station": place.station, "weight": place.weight} | counts


def sweep(
    held: Held,
    pair: Pair,
    question: str,
    settings: Settings,
    seed: int,
    names: Sequence[str],
    weights: Sequence[float] = WEIGHTS,
) -> pd.DataFrame:
    """Sample answers at every weight, with each of some stations, from the same random numbers.

    Args:
        held: the models.
        pair: whose they are.
        question: what is asked.
        settings: how to sample, and how many answers at each place.
        seed: of all random numbers.
        names: of stations.
        weights: of the tuned model.

    Returns:
        A row for each place, see `measured`.

    Raises:
        UserError: see `writer`.
    """
    rows, count = [], settings.generations
    for name in names:
        room, write = writer(held, pair, name, weights, question, settings)
        numbers = sampling.uniforms(seed, [f"{question}/{number}" for number in range(count)], settings, room)
        found = write(np.tile(numbers, (len(weights), 1)))
        for turn, weight in enumerate(weights):
            rows.append(measured(Place(weight, name), found[turn * count : (turn + 1) * count]))
    return pd.DataFrame(rows)


def page(held: Held, pair: Pair, question: str, settings: Settings, seed: int) -> alt.LayerChart | HTML:
    """Draw a sweep over the first, the middle and the last station: for a page, which has no sliders.

    Returns:
        The figure; for a pair whose models cannot be mixed a sentence that says so.
    """
    try:
        check(held, pair)
    except UserError as error:
        return HTML(markup.render("sentence.html", parts=[str(error)]))
    names = list(stations(pair))
    few = list(dict.fromkeys([names[0], names[len(names) // 2], names[-1]]))
    return figures.steering(sweep(held, pair, question, settings, seed, few), N)


def visited(rows: Mapping[Place, Mapping[str, object]], pair: Pair) -> pd.DataFrame:
    """Return what was measured at the places that a reader has visited, in the order of training, then by weight.

    Args:
        rows: what `measured` returns, by place.
        pair: whose stations they are.
    """
    order = {name: place for place, name in enumerate(stations(pair))}
    frame = pd.DataFrame(list(rows.values()))
    return frame.sort_values(
        ["station", "weight"], key=lambda each: each.map(order) if each.name == "station" else each
    )


def decode(pair: Pair, ids: list[int]) -> str:
    """Turn ids that a mixture has written into text, without special tokens."""
    return loading.tokenizer(pair.models["Base"]).decode(ids, skip_special_tokens=True)
