"""Read: both models of a pair read a text; how much does each token surprise them, and what did they expect?"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from IPython.display import HTML
from torch import Tensor

from predact import markup
from predact.errors import UserError
from predact.figures import laboratory as figures
from predact.lab.held import Held
from predact.models import scoring, tokens
from predact.models.pairs import ENDS, Pair
from predact.models.tokens import Per, compared_per

MOST = 400  # tokens of a text: the page holds for each what both models expected
LIKELIEST = 10  # tokens that are told of each place
FULL = 10.0  # bits of the thickest bar


def read(held: Held, pair: Pair, text: str) -> pd.DataFrame:
    """Let Base and RLHF read a text, each after the token that stands before documents (`tokens.pair_lead`).

    Args:
        held: the models.
        pair: whose they are.
        text: what they read.

    Returns:
        A row per model and token: model, position, token (text), bits (surprise: -log2 p; NaN for a first token that
        nothing stands before), rank (tokens that the model thought likelier), likeliest (the `LIKELIEST` tokens, as
        text), p (their probabilities), mass (p summed up).

    Raises:
        UserError: there is no text, or it has more than `MOST` tokens.
    """
    if not text.strip():
        raise UserError("text: write something for the models to read.")
    return pd.concat([_read(held, pair, step, text) for step in ENDS], ignore_index=True)


def _read(held: Held, pair: Pair, step: str, text: str) -> pd.DataFrame:
    model, tokenizer = held(pair.models[step])
    lead, (ids,), size = tokens.pair_lead(pair, step), tokens.encode(tokenizer, [text]), len(tokenizer)
    if len(ids) > MOST:
        raise UserError(f"text: it has {len(ids):,} tokens for {step}; give {MOST} at most.")
    best, p = np.zeros((len(ids), min(LIKELIEST, size)), int), np.zeros((len(ids), min(LIKELIEST, size)))

    def observe(places: np.ndarray, logits: Tensor) -> None:
        found = logits.softmax(1).topk(best.shape[1])
        best[places], p[places] = found.indices.cpu().numpy(), found.values.cpu().numpy()

    lead_again = tokens.pair_window_lead(pair, step)
    scores = scoring.score_ids(model, [lead + ids], [len(lead)], size, lead_again, observe=observe)
    columns: dict[str, Any] = {
        "model": step,
        "position": range(len(ids)),
        "token": [tokenizer.decode([each]) for each in ids],
    }
    columns |= {"bits": scores.nll / np.log(2), "rank": scores.rank}
    columns |= {"likeliest": [[tokenizer.decode([each]) for each in row] for row in best.tolist()]}
    return pd.DataFrame(columns | {"p": p.tolist(), "mass": p.cumsum(1).tolist()})


def page(frame: pd.DataFrame) -> HTML:
    """Show a text as models read it: over each token a bar for Base's surprise, under it one for RLHF's.

    A token that is pointed at, or reached with the Tab key, tells what both expected. Where the tokenizers cut the text
    otherwise, each model has a text of its own. Everything that was typed or written is escaped.

    Args:
        frame: what `read` returns.
    """
    parts = {str(step): part.reset_index(drop=True) for step, part in frame.groupby("model", sort=False)}
    same = len({tuple(part.token) for part in parts.values()}) == 1
    groups = [list(parts)] if same else [[step] for step in parts]
    blocks = [{"models": names, "tokens": _tokens([parts[name] for name in names], names)} for names in groups]
    return HTML(markup.render("reading.html", blocks=blocks, full=f"{FULL:g}"))


def _tokens(parts: Sequence[pd.DataFrame], names: Sequence[str]) -> list[dict[str, Any]]:
    """What the page says of each token."""
    found = []
    for place, text in enumerate(parts[0].token):
        word = text.lstrip(" ")
        read = [_reading(part.iloc[place], name) for part, name in zip(parts, names, strict=True)]
        space = text[: len(text) - len(word)]
        found.append({"space": space, "word": word.replace("\n", "↵") or "\N{OPEN BOX}", "read": read})
    return found


def _reading(row: Any, name: str) -> dict[str, Any]:
    """What one model expected at one place."""
    if np.isnan(row.bits):
        return {"model": name, "known": False, "bar": 0}
    ranked = zip(row.likeliest, row.p, row.mass, strict=True)
    guesses = [
        {"word": word.replace("\n", "↵"), "p": _percent(p), "mass": _percent(mass), "right": place == row["rank"]}
        for place, (word, p, mass) in enumerate(ranked)
    ]
    told = {"bits": f"{row.bits:.1f}", "p": _percent(2.0 ** -float(row.bits)), "rank": int(row["rank"]) + 1}
    return {"model": name, "known": True, "bar": round(5 * min(row.bits / FULL, 1), 1), "guesses": guesses, **told}


def _percent(p: float) -> str:
    return f"{100 * p:.1f} %" if p >= 0.0005 else "< 0.1 %"


def ratio(frame: pd.DataFrame) -> pd.DataFrame:
    """The running ratio of perplexities, RLHF's to Base's, of tokenizers that agree.

    ratio_k = exp(mean over the first k scored tokens of (nll of RLHF - nll of Base)).

    Args:
        frame: what `read` returns.

    Returns:
        A row for each scored token: position (counted from 1), token, ratio.
    """
    base, rlhf = (frame[(frame.model == step) & frame.bits.notna()].reset_index(drop=True) for step in ENDS)
    lost = (rlhf.bits - base.bits).astype(float)
    ratios = 2.0 ** (lost.cumsum() / np.arange(1, len(lost) + 1))
    return pd.DataFrame({"position": base.position + 1, "token": base.token, "ratio": ratios})


def in_words(frame: pd.DataFrame, pair: Pair, text: str) -> str:
    """Say in a sentence how much worse RLHF predicts this text than Base: per token, or per byte."""
    sums = frame.groupby("model").bits.sum()
    lost = float(sums["RLHF"] - sums["Base"])
    if compared_per(pair) is Per.TOKEN:
        count = int(frame[frame.model == "Base"].bits.notna().sum())
        unit = f"per token, over {count} tokens"
    else:
        count = len(text.encode())
        unit = f"per byte, over {count} bytes: the tokenizers cut it into other tokens"
    times = 2.0 ** (lost / max(1, count))
    return f"RLHF's perplexity on this text is {times:.2f} times Base's ({unit})."


def figure(frame: pd.DataFrame, pair: Pair) -> alt.LayerChart | None:
    """Draw the running ratio; None where the tokenizers do not agree, or where no token was scored."""
    return figures.running_ratio(ratio(frame)) if compared_per(pair) is Per.TOKEN and len(ratio(frame)) else None
