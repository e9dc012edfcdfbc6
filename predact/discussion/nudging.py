"""Nudging: Base continues the first tokens of an RLHF answer; how soon does it write like RLHF?

Two readings of every token of an answer: the entropy of its author's whole next-token distribution there, and the nats
that RLHF, asked the same question, needs for it. The exponential of a mean entropy is a branching factor: among so many
equally likely tokens the author chooses at each step (Yang and Holtzman 2025).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor
from tqdm import tqdm

from predact import stats, store
from predact.claims import materials
from predact.claims.materials import Work
from predact.models import loading, sampling, scoring, tokens
from predact.models.distributions import entropies
from predact.models.pairs import Pair
from predact.models.runs import Run
from predact.models.sampling import Settings
from predact.models.tokens import Per, compared_per
from predact.texts.prompts import Prompt

COUNTS = (0, 1, 2, 4, 8, 16)  # first tokens of an RLHF answer that Base is given
BRANCHING, STRANGE = "branching factor", "nats per token for RLHF"
NUDGED = "Base, nudged"
_BIN, _LEAST = 8, 100  # tokens of a bin of positions; bins with fewer measured tokens are left out


def read_answers(
    root: Path,
    pair: Pair,
    prompts: Sequence[Prompt],
    written: pd.DataFrame,
    settings: Settings,
    each: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Read all models' own answers, and Base's continuations of the first tokens of RLHF's, token by token.

    Args:
        root: of the store.
        pair: the models.
        prompts: what they were asked.
        written: their answers, as `sampling.sample_pair` returns them.
        settings: how Base is sampled; `max_new_tokens` says how much is written after a nudge, and read of any answer.
        each: answers of a prompt.
        seed: of the sampling.

    Returns:
        A row per token: author, nudge (tokens given; of own answers 0), prompt, position (in the answer), entropy
        (nats, of the author's distribution), strange (nats that RLHF needs; NaN if its tokenizer differs).
    """
    first = written[written["sample"] < each]
    same = compared_per(pair) is Per.TOKEN
    answers = first[["model", "prompt", "given", "ids"]].rename(columns={"model": "author"}).assign(nudge=0)
    if same:
        answers = pd.concat([answers, _nudged(root, pair, prompts, first, settings, seed)], ignore_index=True)
    inputs: dict[str, Any] = {"models": {step: loading.key(model) for step, model in pair.models.items()}}
    inputs |= {
        "longest": settings.max_new_tokens,
        "answers": store.digest([answers.author.tolist(), *(_plain(answers[each]) for each in ("given", "ids"))]),
    }
    lengths = [len(each) + settings.max_new_tokens for each in answers.given]
    for step, model in pair.models.items():
        inputs |= scoring.later_windows(model, lengths, tokens.pair_window_lead(pair, step))
    mine = first[first.model == "RLHF"]
    asked = dict(zip(mine.prompt, _plain(mine.given), strict=True))
    compute = partial(_read, pair, answers, asked if same else {}, settings.max_new_tokens)
    return store.frame(root, "branching", inputs, compute)


def _nudged(
    root: Path, pair: Pair, prompts: Sequence[Prompt], written: pd.DataFrame, settings: Settings, seed: int
) -> pd.DataFrame:
    """Base's continuations of the first tokens of RLHF answers: author, prompt, nudge, given (nudge included), ids."""
    base = pair.models["Base"]
    answers = {name: _plain(part.ids) for name, part in written[written.model == "RLHF"].groupby("prompt")}
    asked = {each.id: sampling.ask(loading.tokenizer(base), each.text, pair.frame) for each in prompts}
    inputs = sampling.key(base, replace(settings, generations=1), seed) | {"counts": list(COUNTS)}
    inputs |= {"given": store.digest(asked), "answers": store.digest(answers)}
    made = store.frame(root, "nudged", inputs, lambda: pd.DataFrame(_continued(pair, asked, answers, settings, seed)))
    return made.assign(author=NUDGED)


def _continued(
    pair: Pair, asked: Mapping[str, list[int]], answers: Mapping[Any, list[list[int]]], settings: Settings, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of `_nudged`; what is equally long is sampled together."""
    model, tokenizer = loading.loaded(pair.models["Base"])
    todo = [
        (name, count, number, [*given, *ids[:count]])
        for name, given in asked.items()
        for count in COUNTS
        for number, ids in enumerate(answers[name])
        if len(ids) > count
    ]
    todo.sort(key=lambda each: len(each[-1]))
    bar = tqdm(total=len(todo), desc="nudging", unit="text", leave=False, disable=None)
    for length, group in groupby(todo, key=lambda each: len(each[-1])):
        names, counts, numbers, given = zip(*group, strict=True)
        room = sampling.room_after(model, length, f"prompts: the nudged prompt {names[0]!r}")
        keys = [f"{name}/nudge{count}/{number}" for name, count, number in zip(names, counts, numbers, strict=True)]
        made = sampling.sample(model, tokenizer, given, sampling.uniforms(seed, keys, settings, room), settings)
        for name, count, before, each in zip(names, counts, given, made, strict=True):
            yield {"prompt": name, "nudge": count, "given": before, "ids": each.ids}
        bar.update(len(made))
    bar.close()


def _read(pair: Pair, answers: pd.DataFrame, asked: Mapping[Any, list[int]], longest: int) -> pd.DataFrame:
    """The frame of `read_answers`; `asked` holds RLHF's question by prompt, or nothing if its tokenizer differs."""
    given, ids = _plain(answers.given), [each[:longest] for each in _plain(answers.ids)]
    lengths, nudges = np.array(list(map(len, ids))), answers.nudge.to_numpy()
    row = np.repeat(np.arange(len(ids)), lengths)
    entropy, strange = (np.full(len(row), np.nan, np.float32) for _ in range(2))
    for author in answers.author.unique():
        mine = np.flatnonzero(answers.author == author)
        step = "Base" if author == NUDGED else author
        before, after = [given[at] for at in mine], [ids[at] for at in mine]
        again = tokens.pair_window_lead(pair, step)
        _, entropy[np.isin(row, mine)] = measured(*loading.loaded(pair.models[step]), before, after, again)
    if asked:
        begun = [each[len(each) - nudge :] for each, nudge in zip(given, nudges, strict=True)]
        before = [[*asked[name], *each] for name, each in zip(answers.prompt, begun, strict=True)]
        again = tokens.pair_window_lead(pair, "RLHF")
        strange, _ = measured(*loading.loaded(pair.models["RLHF"]), before, ids, again)
    position = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + nudges[row]
    frame = answers[["author", "nudge", "prompt"]].iloc[row].reset_index(drop=True)
    return frame.assign(position=position.astype(np.int32), entropy=entropy, strange=strange)


def _plain(texts: Iterable[Sequence[int]]) -> list[list[int]]:
    return [np.asarray(ids, dtype=int).tolist() for ids in texts]


def measured(
    model: Any,
    tokenizer: Any,
    given: Sequence[Sequence[int]],
    ids: Sequence[Sequence[int]],
    window_lead: list[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Nll of every id after the given ones, and entropy of the whole distribution there; nats, text after text."""
    sequences = [[*before, *after] for before, after in zip(given, ids, strict=True)]
    entropy = np.zeros(sum(map(len, ids)), np.float32)

    def observe(places: np.ndarray, logits: Tensor) -> None:
        entropy[places] = entropies(logits)

    count = list(map(len, given))
    scores = scoring.score_ids(model, sequences, count, len(tokenizer), window_lead, observe=observe)
    return scores.nll, entropy


def of_run(run: Run) -> pd.DataFrame:
    """Read answers of a run: see `read_answers`."""
    told = run.settings
    near = replace(told.sampling, generations=1, max_new_tokens=told.window)
    written = materials.generations(run, materials.all_steps(run))
    return read_answers(run.root, run.pair, materials.questions(run), written, near, told.nudged, run.seed)


def work(run: Run) -> Work:
    """Tokens of `of_run`."""
    near = len(materials.questions(run)) * run.settings.nudged * run.settings.window
    return Work(scored=2 * (len(COUNTS) + len(run.pair.models)) * near, sampled=len(COUNTS) * near)


def branching_by_position(read: pd.DataFrame) -> pd.DataFrame:
    """Branching factor of each model along its own answers, in bins of eight tokens.

    Args:
        read: what `read_answers` returns.

    Returns:
        model, first, last (positions), estimate, low, high (95 % bootstrap over prompts), unit, prompts.
    """
    rows = []
    for author, part in read[read.author != NUDGED].groupby("author", sort=False):
        for number, some in part.groupby(part.position // _BIN):
            if len(some) >= _LEAST:
                sums = _sums(some, "entropy")
                value = stats.interval(sums, _branching)
                span = {"first": _BIN * number, "last": _BIN * number + _BIN - 1}
                rows.append({"model": author} | span | vars(value) | {"unit": BRANCHING, "prompts": len(sums)})
    return pd.DataFrame(rows)


def after_nudges(read: pd.DataFrame, horizon: int = 32) -> pd.DataFrame:
    """Base after each nudge, over the next `horizon` tokens, beside its own answers and RLHF's at the same positions.

    Returns:
        measure (`BRANCHING`, `STRANGE`), model (`NUDGED`, Base, RLHF), nudge, estimate, low, high (95 % bootstrap over
        prompts), n (prompts). Without `NUDGED` where the tokenizers differ.
    """
    rows = []
    for count in COUNTS:
        near = read[(read.position >= count) & (read.position < count + horizon)]
        for model in (NUDGED, "Base", "RLHF"):
            part = near[(near.author == model) & (near.nudge == (count if model == NUDGED else 0))]
            for measure, column in ((BRANCHING, "entropy"), (STRANGE, "strange")):
                sums = _sums(part.dropna(subset=[column]), column)
                if len(sums):
                    value = stats.interval(sums, _branching if measure == BRANCHING else _mean)
                    rows.append({"measure": measure, "model": model, "nudge": count} | vars(value) | {"n": len(sums)})
    return pd.DataFrame(rows)


def _sums(part: pd.DataFrame, column: str) -> np.ndarray:
    return part.groupby("prompt")[column].agg(["sum", "size"]).to_numpy(float)


def _mean(totals: np.ndarray) -> np.ndarray:
    return stats.means(totals)[..., 0]


def _branching(totals: np.ndarray) -> np.ndarray:
    return np.exp(_mean(totals))


def nudging_in_words(frame: pd.DataFrame) -> str:
    """Say whether the longest nudge makes Base write like RLHF (Markdown). Takes what `after_nudges` returns."""
    if NUDGED not in set(frame.model):
        return "The models of this pair cut text into different tokens, so Base was not nudged."
    most = frame[frame.model == NUDGED].nudge.max()

    def at(measure: str, model: str, nudge: int = most) -> pd.Series:
        return frame[(frame.measure == measure) & (frame.model == model) & (frame.nudge == nudge)].iloc[0]

    each = (at(BRANCHING, model) for model in (NUDGED, "Base", "RLHF"))
    nudged, base, rlhf = (f"{row.estimate:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in each)
    first, last, aim = at(STRANGE, NUDGED, 0), at(STRANGE, NUDGED), at(STRANGE, "RLHF")
    gone = (first.estimate - last.estimate) / (first.estimate - aim.estimate)
    way = f"{100 * gone:.0f} %".replace("-", "−")
    return (
        f"Given {most} tokens of an RLHF answer, Base's branching factor is {nudged}; in its own answers it is {base} "
        f"there, in RLHF's {rlhf}. To RLHF, a token of Base costs {first.estimate:.2f} nats without a nudge, "
        f"{last.estimate:.2f} [{last.low:.2f}, {last.high:.2f}] after the longest, and one of its own "
        f"{aim.estimate:.2f}: Base has gone **{way} of the way**."
    )
