"""Measurements that several claims share: made once per run, kept in its store, their tokens counted beforehand."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from predact.methods import alignments, diversity
from predact.models import distributions, finetuned, loading, sampling, scoring, transcripts
from predact.models.distributions import Conditions
from predact.models.pairs import ENDS
from predact.models.runs import Run
from predact.remarks import remark
from predact.texts import corpora, prompts
from predact.texts.corpora import Corpus
from predact.texts.prompts import Prompt

TOKENS, _BYTES = 500, 4.5  # assumed: most tokens of a document, bytes per token
NUCLEI = {"Base": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0), "RLHF": (0.6, 0.7, 0.8, 0.9, 1.0)}  # p at which diversity is measured
AS_WRITTEN = "Base's generations are compared as they are: the files do not tell how they were sampled"
_SEARCH = 1.5  # assumed: finetuning runs per search of a learning rate, on average


class Work(NamedTuple):
    """Tokens that all models together score, sample (at most), and are trained on."""

    scored: float = 0
    sampled: float = 0
    learned: float = 0


def texts(run: Run) -> list[Corpus]:
    """Gold text: the corpora of a run (the paper's Table 2, for pairs that read its texts)."""
    return corpora.select(_names(run), run.settings.documents, run.seed, run.root)


def collapse_names(run: Run) -> list[str]:
    """Names of the corpora that Figures 3 to 5 read: those of a run, with Table 3 of the paper in place of Table 2."""
    return ["paper-self" if name == "paper" else name for name in _names(run)]


def questions(run: Run) -> list[Prompt]:
    """Prompts of a run."""
    if run.pair.written:
        return transcripts.prompts(run.pair, run.settings.prompts_limit)
    return prompts.select(run.settings.prompts or run.pair.prompts, run.settings.prompts_limit)


def decoders(run: Run, steps: Iterable[str] = ENDS) -> dict[str, Callable]:
    """For each model, the function that turns its ids into text."""
    if run.pair.written:
        return dict.fromkeys(steps, _in_words(run, steps).decode)
    return {step: loading.tokenizer(run.pair.models[step]).decode for step in steps}


def scores(run: Run) -> pd.DataFrame:
    """Gold text scored by all models, token by token: see `scoring.score_pair_tokens`."""
    return scoring.score_pair_tokens(run.root, run.pair, texts(run), context=run.settings.context)


def documents(run: Run) -> pd.DataFrame:
    """The same, summed by document: see `scoring.score_pair`."""
    return scoring.score_pair(run.root, run.pair, texts(run), context=run.settings.context)


def finetunings(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of held-out documents before and after finetuning, and learning curves: see `finetuned.finetune_pair`."""
    told = run.settings
    names = told.targets or told.corpora or run.pair.corpora
    found = corpora.select(names, told.finetuning_documents, run.seed, run.root)
    few = by_turns(found)[: told.targets_limit or None]
    return finetuned.finetune_pair(run.root, run.pair, few, told.finetuning, told.orders, run.seed, told.keep_weights)


def by_turns(found: Sequence[Corpus]) -> list[Corpus]:
    """Return corpora with categories in turn: the first corpus of each, then the second of each, and so on."""
    turns = pd.Series(0, range(len(found))).groupby([each.category for each in found]).cumcount()
    return [found[place] for place in turns.sort_values(kind="stable").index]


def generations(run: Run, steps: Sequence[str] = ENDS) -> pd.DataFrame:
    """Generations of models for every prompt: see `sampling.sample_pair`, or `transcripts.texts` if they were given."""
    if run.pair.written:
        return _in_words(run, steps).written
    return sampled(run, run.settings.sampling, steps, questions(run))


def sampled(run: Run, how: sampling.Settings, steps: Sequence[str], asked: Sequence[Prompt]) -> pd.DataFrame:
    """Generations that are sampled otherwise, or of other prompts, than a run's `generations`."""
    return sampling.sample_pair(run.root, run.pair, asked, how, run.seed, steps, run.settings.rows)


def diversities(run: Run) -> pd.DataFrame:
    """Diversity of both models' generations for the first prompts at each p of `NUCLEI` (the paper's Table 4).

    Returns:
        model, top_p (NaN where generations were given: it is not known), and the other columns of
        `diversity.unique_ngrams`.
    """
    few = _few_questions(run)
    if run.pair.written:
        own = generations(run)
        return diversity.unique_ngrams(own[own.prompt.isin([each.id for each in few])]).assign(top_p=np.nan)
    return pd.concat(
        [
            diversity.unique_ngrams(_written_at(run, step, top_p, few)).assign(top_p=top_p)
            for step, nuclei in NUCLEI.items()
            for top_p in sorted({*nuclei, run.settings.top_p})
        ],
        ignore_index=True,
    )


def matched_top_p(run: Run) -> float | None:
    """Return the p at which Base is sampled so that it is as diverse as RLHF is at the run's p (the paper's is 0.9).

    None where generations were given: Base's are taken as they are, with a remark.
    """
    told = run.settings
    if run.pair.written:
        remark("matched", f"{AS_WRITTEN}. So figures with diversity matched and at RLHF's p show the same.")
        return None
    return told.base_top_p or diversity.matched_top_p(diversities(run), told.top_p, NUCLEI["Base"])


def told_top_p(run: Run) -> str:
    """Say at which p Base is sampled where diversity is matched."""
    top_p = matched_top_p(run)
    return f"{AS_WRITTEN}." if top_p is None else f"Base's p at matched diversity: {top_p:g}"


def matched(run: Run) -> pd.DataFrame:
    """Like `generations` of Base and RLHF, with Base sampled at `matched_top_p`, if there is one."""
    top_p = matched_top_p(run)
    if top_p is None:
        return generations(run)
    base = _written_at(run, "Base", top_p, questions(run))
    return pd.concat([base, generations(run, ["RLHF"])], ignore_index=True)


def _in_words(run: Run, steps: Iterable[str]) -> transcripts.Texts:
    return transcripts.texts(run.root, run.pair, questions(run), run.settings.generations, run.seed, list(steps))


def _few_questions(run: Run) -> list[Prompt]:
    return questions(run)[: run.settings.diversity_prompts or None]


def _written_at(run: Run, step: str, top_p: float, asked: Sequence[Prompt]) -> pd.DataFrame:
    return sampled(run, replace(run.settings.sampling, top_p=top_p), [step], asked)


def conditions(run: Run, steps: Sequence[str] = ENDS) -> Conditions:
    """Next-token distributions on gold text and on own generations: see `distributions.measure_pair`."""
    told, written = run.settings, generations(run, steps)
    gold = corpora.select(collapse_names(run), told.documents, run.seed, run.root)
    return distributions.measure_pair(run.root, run.pair, gold, written, told.positions, told.measured, run.seed)


def aligned(run: Run, steps: Sequence[str] = ENDS) -> pd.DataFrame:
    """Generations and nulls, aligned token by token: see `alignments.align_pair`."""
    return alignments.align_pair(run.root, generations(run, steps), run.settings.engine, run.seed)


def aligned_matched(run: Run) -> pd.DataFrame:
    """Like `aligned`, with diversity `matched`."""
    return alignments.align_pair(run.root, matched(run), run.settings.engine, run.seed)


def characters(run: Run, written: pd.DataFrame, nulls: bool = True) -> pd.DataFrame:
    """Generations, and maybe nulls, aligned character by character: see `alignments.align_characters`.

    Args:
        run: its setting `characters` names the engine; "auto" is MAFFT, as in the paper, where it is installed.
        written: generations of models of its pair.
        nulls: whether the nulls are aligned too.
    """
    engine = alignments.paper_engine() if run.settings.characters == "auto" else run.settings.characters
    decode = decoders(run, written.model.unique())
    return alignments.align_characters(run.root, written, decode, engine, run.seed, nulls)


def all_steps(run: Run) -> list[str]:
    """All models of a pair, in the order of training."""
    return list(run.pair.models)


def documents_work(run: Run) -> dict[str, Work]:
    """Tokens of `documents`, if texts have the usual length."""
    return {"documents": Work(scored=len(run.pair.models) * _kinds(run) * run.settings.documents * TOKENS)}


def finetunings_work(run: Run) -> dict[str, Work]:
    """Tokens of `finetunings`."""
    told = run.settings
    runs = len(run.pair.models) * targets(run) * (_SEARCH + told.orders - 1)
    return {"finetunings": Work(learned=runs * told.updates * told.batch / _BYTES)}


def targets(run: Run) -> int:
    """How many corpora models are finetuned on."""
    return min(run.settings.targets_limit or 10**9, len(run.settings.targets) or _kinds(run))


def generations_work(run: Run) -> dict[str, Work]:
    """Tokens of `generations` of all models, at their maximum length."""
    each = run.settings.generations * run.settings.max_new_tokens
    return {"generations": Work(sampled=len(run.pair.models) * len(questions(run)) * each)}


def matched_work(run: Run) -> dict[str, Work]:
    """Tokens of `generations`, and what `diversities` and `matched` need beyond these."""
    told, every, few = run.settings, len(questions(run)), len(_few_questions(run))
    known = told.base_top_p in (0, *NUCLEI["Base"])  # then Base has answered the first prompts
    more = 0 if told.base_top_p == told.top_p else every - known * few
    nuclei = sum(top_p != told.top_p for nuclei in NUCLEI.values() for top_p in nuclei)
    sampled = (nuclei * few + more) * told.generations * told.max_new_tokens
    return generations_work(run) | {"matched generations": Work(sampled=sampled)}


def conditions_work(run: Run) -> dict[str, Work]:
    """Tokens of `conditions` of all models, and of the generations that they need."""
    own = len(questions(run)) * run.settings.measured * run.settings.max_new_tokens
    gold = len(corpora.expanded(collapse_names(run))) * run.settings.documents * TOKENS
    return generations_work(run) | {"conditions": Work(scored=len(run.pair.models) * (gold + own))}


def _kinds(run: Run) -> int:
    return len(corpora.expanded(_names(run)))


def _names(run: Run) -> list[str]:
    return run.settings.corpora or run.pair.corpora
