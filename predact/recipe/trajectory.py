"""What is recorded along a training run: reward, KL, bits per byte of documents, and the signs of collapse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from predact import stats
from predact.methods.ngrams import shares
from predact.models import scoring
from predact.models.distributions import NEGLIGIBLE, THRESHOLDS, summarize
from predact.pocket import human, world
from predact.recipe.answers import LOGITS, Answers, by_length, log_probabilities, sample, states_along, text_of
from predact.recipe.rewards import Reward

RANKS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597)
SHOWN = 8  # answers kept as text
MEASURES = {
    "reward": "true reward",
    "model_reward": "learned reward",
    "bits": "bits per byte, mean over corpora",
    "entropy": "entropy (nats per token)",
    "top1": "mean probability of the likeliest token",
    "support": "tokens with p > 1e-8",
    "share10": "share of the commonest 10-gram",
    "words": "words per answer",
}


def recorder(
    sft: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, reward: Reward, samples: int, documents: int, tokens: int
) -> Callable[[int, PreTrainedModel], dict]:
    """A function ``(step, model) -> row`` that evaluates a model on the validation questions and documents.

    The row holds: ``reward`` (true, mean over questions) and ``rewards`` (by question); its parts ``complete``,
    ``wrong``, ``words``; ``model_reward``; ``kl`` (nats per answer, to the SFT model, on the model's own
    answers); on the same answers ``entropy`` (nats per token), ``mass`` (of the k most probable tokens, k in RANKS),
    ``support`` (tokens with p > 1e-8), ``share10`` (of the answers to a question, those with the commonest 10-gram);
    bits per byte of each corpus as ``bits/<corpus>``; and some ``answers`` to the first question.
    """
    texts = {
        corpus: [world.document(corpus, "validation", i).text for i in range(documents)] for corpus in world.CORPORA
    }
    questions = human.questions("validation")

    def row(step: int, model: PreTrainedModel) -> dict:
        answers = sample(model, tokenizer, questions, samples, tokens, seed=7)
        written = [text_of(tokenizer, ids) for ids in answers.ids]
        judged = pd.DataFrame([human.judge(q, text) for q, text in zip(answers.questions, written, strict=True)])
        by_question = judged.groupby(np.arange(len(judged)) // samples).reward.mean()
        share10 = [shares(answers.ids[first : first + samples], 10)[-1] for first in range(0, len(written), samples)]
        return {
            "step": step,
            **judged.mean().to_dict(),
            "rewards": by_question.tolist(),
            "model_reward": reward(answers.questions, answers.ids).mean().item(),
            **distribution(model, sft, tokenizer, answers),
            "share10": float(np.mean(share10)),
            **{f"bits/{corpus}": bits_per_byte(model, tokenizer, texts[corpus]) for corpus in texts},
            "answers": written[:SHOWN],
        }

    return row


def bits_per_byte(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> float:
    """Cross-entropy of documents, their ends included as in the world's entropy, in bits per byte of UTF-8."""
    scored = scoring.documents(scoring.score(model, tokenizer, texts, end=True), texts)
    return float(scored.nll.sum() / np.log(2) / scored.bytes.sum())


@torch.no_grad()
def distribution(
    model: PreTrainedModel, sft: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, answers: Answers
) -> dict:
    """KL to the SFT model per answer, and entropy, mass curve and support of the next-token distributions along it."""
    kl, entropy, support, mass = 0.0, 0.0, 0.0, np.zeros(len(RANKS))
    tokens = 0
    for some in by_length(answers.ids):
        prompts, ids = [answers.prompts[i] for i in some], [answers.ids[i] for i in some]
        kl -= log_probabilities(sft, tokenizer, prompts, ids).sum().item()
        kl += log_probabilities(model, tokenizer, prompts, ids).sum().item()
        for states in states_along(model, tokenizer, prompts, ids).split(max(1, LOGITS // model.config.vocab_size)):
            found = summarize(model.lm_head(states).float(), np.array(RANKS))
            mass += found.mass.sum(0)
            entropy += found.entropy.sum()
            support += found.support[:, THRESHOLDS.index(NEGLIGIBLE)].sum()
            tokens += len(states)
    return {
        "kl": kl / len(answers.ids),
        "entropy": entropy / tokens,
        "support": support / tokens,
        "mass": (mass / tokens).tolist(),
    }


def tidy(runs: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Recorded runs as one frame: run, step, kl (nats per answer), measure, value, low, high.

    The true reward has an interval (95 % bootstrap over questions); the others are recorded as means only.
    """
    parts = []
    for name, rows in runs.items():
        bits = rows.filter(like="bits/").mean(axis=1)
        wide = rows.assign(run=name, bits=bits, top1=[mass[0] for mass in rows.mass])
        long = wide.melt(["run", "step", "kl"], list(MEASURES), "measure", "value")
        spread = [stats.interval(np.column_stack([r, np.ones(len(r))]), _mean) for r in rows.rewards]
        rewarded = long.measure == "reward"
        long.loc[rewarded, "low"] = [interval.low for interval in spread]
        long.loc[rewarded, "high"] = [interval.high for interval in spread]
        parts.append(long)
    return pd.concat(parts, ignore_index=True).replace({"measure": MEASURES})


def _mean(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]
