"""Rankings by the simulated people, and the two rewards: the one learned from them, and the true one behind them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerFast

from predact.pocket import human
from predact.pocket.human import Question
from predact.recipe import training
from predact.recipe.answers import by_length, chat, sample, text_of
from predact.recipe.training import pad, update

Reward = Callable[[list[Question], list[list[int]]], torch.Tensor]
COMPARED = 8  # answers to one question
OFF_TOPIC = 0.1  # of these answers belong to another question
ASKED = 64  # questions that are answered at once
SCALE = 50.0  # tokens whose values sum to a reward near 1


@dataclass(frozen=True)
class Ranking:
    """Answers to one question in the order in which a simulated person likes them, the best first; all as ids."""

    prompt: list[int]
    answers: list[list[int]]


class Values(torch.nn.Module):
    """A reward model: a language model without its head, and a value for each token."""

    def __init__(self, body: PreTrainedModel) -> None:
        """Take the language model; all values are 0."""
        super().__init__()
        self.body = body
        self.score = torch.nn.Linear(body.config.hidden_size, 1, bias=False, device=body.device)
        torch.nn.init.zeros_(self.score.weight)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The value of each token: ``[rows, tokens]`` to the same."""
        return self.score(self.body(input_ids=ids, use_cache=False).last_hidden_state)[..., 0].float()

    @classmethod
    def load(cls, folder: Path) -> Values:
        """Read the language model of a folder; the head's weights stand in its card."""
        values = cls(AutoModel.from_pretrained(folder, dtype=torch.float32))
        card = json.loads((folder / "recipe.json").read_text())
        values.score.weight.data = torch.tensor([card["score"]])
        return values.eval()


def rankings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, count: int, tokens: int, seed: int
) -> Iterator[list[Ranking]]:
    """Answers sampled from the SFT model and ranked by the simulated people, `ASKED` questions at a time.

    A share of them, `OFF_TOPIC`, are answers to another question: a learned reward must know that a good answer to the
    wrong question is a bad one.
    """
    draw = random.Random(f"rankings/{seed}")
    for start in tqdm(range(0, count, ASKED), desc="rankings", leave=False, disable=None):
        questions = draw.sample(human.questions("train"), min(ASKED, count - start))
        sampled = sample(model, tokenizer, questions, COMPARED, tokens, seed * 100_003 + start)
        found = []
        for place, question in enumerate(questions):
            shown = sampled.ids[COMPARED * place : COMPARED * (place + 1)]
            shown = [draw.choice(sampled.ids) if draw.random() < OFF_TOPIC else each for each in shown]
            judged = [human.judge(question, text_of(tokenizer, each))["reward"] for each in shown]
            order = human.ranked(judged, draw)
            found.append(Ranking(sampled.prompts[COMPARED * place], [shown[each] for each in order]))
        yield found


def learn(
    values: Values,
    optimizers: list[torch.optim.Optimizer],
    tokenizer: PreTrainedTokenizerFast,
    ranked: list[Ranking],
    rows: int,
) -> float:
    """Train a reward model on rankings; return its accuracy on pairs of the last tenth of them.

    The reward of an answer is the sum of a value for each of its tokens (over `SCALE`): people judge a few words of an
    answer, and the end of it need not remember all of them. The loss is that of Plackett and Luce,

        - sum over places i of log(exp r_i / sum over j >= i of exp r_j),

    and each ranking of the first nine tenths is read once, ``rows`` at a step.
    """
    train, test = ranked[: len(ranked) * 9 // 10], ranked[len(ranked) * 9 // 10 :]
    groups = [(group, group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]
    batches = range(0, len(train), rows)
    values.train()
    for step, start in enumerate(tqdm(batches, desc="reward model", leave=False, disable=None)):
        for group, peak in groups:
            group["lr"] = peak * training.schedule(step, len(batches), warmup=20)
        update(values, listwise(_scores_of(values, tokenizer, train[start : start + rows])), *optimizers)
    values.eval()
    with torch.no_grad():
        found = torch.cat([_scores_of(values, tokenizer, test[i : i + rows]) for i in range(0, len(test), rows)])
    return accuracy(found)


def listwise(scores: torch.Tensor) -> torch.Tensor:
    """Mean loss of Plackett and Luce, in nats a choice, of scores in a ranking's order: ``[rankings, answers]``."""
    behind = scores.flip(1).logcumsumexp(1).flip(1)
    return (behind - scores)[:, :-1].mean()


def accuracy(scores: torch.Tensor) -> float:
    """Share of the pairs that scores ``[rankings, answers]`` put in the person's order; ties count half."""
    first, second = torch.triu_indices(scores.shape[1], scores.shape[1], 1)
    margin = scores[:, first] - scores[:, second]
    return ((margin > 0).float() + 0.5 * (margin == 0).float()).mean().item()


def _scores_of(model: Values, tokenizer: PreTrainedTokenizerFast, ranked: list[Ranking]) -> torch.Tensor:
    """Scores of rankings in their order: ``[rankings, answers]``."""
    prompts = [each.prompt for each in ranked for _ in each.answers]
    return scores(model, tokenizer, prompts, [row for each in ranked for row in each.answers]).view(len(ranked), -1)


def scores(
    model: Values,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[list[int]],
    answers: list[list[int]],
) -> torch.Tensor:
    """The learned reward of each answer: the sum of its tokens' values over `SCALE`, ``[rows]``."""
    places = list(by_length(answers))
    found = torch.cat([_summed(model, tokenizer, [(prompts[i], answers[i]) for i in some]) for some in places])
    order = torch.tensor([i for some in places for i in some], device=found.device)
    return found[order.argsort()]


def _summed(model: Values, tokenizer: PreTrainedTokenizerFast, rows: list[tuple[list[int], list[int]]]) -> torch.Tensor:
    ids = pad([prompt + answer for prompt, answer in rows], tokenizer.pad_token_id).to(model.body.device)
    start = torch.tensor([len(prompt) for prompt, _ in rows], device=model.body.device)[:, None]
    end = torch.tensor([len(prompt) + len(answer) for prompt, answer in rows], device=model.body.device)[:, None]
    place = torch.arange(ids.shape[1], device=model.body.device)
    return (model(ids) * ((place >= start) & (place < end))).sum(1) / SCALE


def learned_reward(model: Values, tokenizer: PreTrainedTokenizerFast) -> Reward:
    """The reward that RLHF optimizes: the reward model's score."""

    @torch.no_grad()
    def reward(questions: list[Question], answers: list[list[int]]) -> torch.Tensor:
        return scores(model, tokenizer, [chat(tokenizer, each) for each in questions], answers)

    return reward


def true_reward(tokenizer: PreTrainedTokenizerFast) -> Reward:
    """The reward behind the simulated people's rankings, which RLHF with real people cannot observe."""

    def reward(questions: list[Question], answers: list[list[int]]) -> torch.Tensor:
        pairs = zip(questions, answers, strict=True)
        return torch.tensor([human.judge(q, text_of(tokenizer, a))["reward"] for q, a in pairs])

    return reward
