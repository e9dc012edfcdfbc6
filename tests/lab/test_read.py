"""What two models make of a text: bits, ranks, what they expected; the running ratio; the page."""

import numpy as np
import pandas as pd
import pytest
import torch

from predact.errors import UserError
from predact.lab import read
from predact.lab.held import Held
from predact.models import pairs
from tests.made import HOSTILE

TEXT = "the cat sat on the river"


@pytest.fixture(scope="module")
def pair(folders):
    return pairs.pair("::".join(map(str, folders)))


@pytest.fixture(scope="module")
def frame(pair):
    return read.read(Held(), pair, TEXT)


def test_every_token_has_its_bits_its_rank_and_what_was_expected(pair, frame, make_model, tokenizer):
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    for seed, (_, part) in enumerate(frame.groupby("model", sort=False)):
        with torch.inference_mode():
            logits = make_model(seed)(input_ids=torch.tensor([[tokenizer.bos_token_id, *ids]])).logits
        p = logits[0, :-1, : len(tokenizer)].softmax(1).numpy()
        right = p[range(len(ids)), ids]
        np.testing.assert_allclose(part.bits, -np.log2(right), atol=1e-4)
        assert list(part["rank"]) == [(row > one).sum() for row, one in zip(p, right, strict=True)]
        order = np.argsort(-p, axis=1)[:, :10]
        assert list(part.likeliest) == [[tokenizer.decode([each]) for each in row] for row in order]
        np.testing.assert_allclose(np.stack(part.mass), np.take_along_axis(p, order, 1).cumsum(1), atol=1e-5)
        assert "".join(part.token) == TEXT


def test_the_running_ratio_ends_at_the_ratio_of_the_text(frame, pair):
    found = read.ratio(frame)
    base, rlhf = (frame[frame.model == step].bits.to_numpy(float) for step in ("Base", "RLHF"))
    assert found.ratio.iloc[0] == pytest.approx(2 ** (rlhf[0] - base[0]), rel=1e-5)
    assert found.ratio.iloc[-1] == pytest.approx(2 ** (rlhf.mean() - base.mean()), rel=1e-5)
    assert f"is {found.ratio.iloc[-1]:.2f} times Base's (per token, over {len(base)} tokens)" in read.in_words(
        frame, pair, TEXT
    )
    chart = read.figure(frame, pair).to_dict()
    assert f"{found.ratio.iloc[-1]:.2f} after {len(base)}" in chart["description"]


def rows(model, tokens, likeliest, bits=2.0, rank=1):
    return pd.DataFrame(
        {"model": model, "position": range(len(tokens)), "token": tokens, "bits": bits, "rank": rank}
        | {
            "likeliest": [likeliest] * len(tokens),
            "p": [[0.5, 0.25]] * len(tokens),
            "mass": [[0.5, 0.75]] * len(tokens),
        }
    )


def test_the_page_tells_rank_mass_and_marks_the_right_token():
    page = read.page(pd.concat([rows("Base", ["a", " b"], ["x", "b"]), rows("RLHF", ["a", " b"], ["b", "x"])])).data
    assert page.count('tabindex="0"') == 2 and page.count("rank 2, 25.0 %, 2.0 bits") == 4
    assert page.count("✓ b") == 2 and page.count("✓ x") == 2 and "75.0 %" in page
    assert "border-top:1.0px solid" in page and "border-bottom:1.0px solid" in page, "2 of 10 bits: a fifth of 5 px"


def test_texts_that_are_cut_otherwise_stand_apart():
    page = read.page(pd.concat([rows("Base", ["ab"], ["x", "b"]), rows("RLHF", ["a", "b"], ["b", "x"])])).data
    assert page.count('class="predact-reading') == 2 and page.count('tabindex="0"') == 3


def test_a_first_token_that_nothing_stands_before_is_told_to_be_so():
    unread = pd.concat([rows(step, ["a"], ["x", "b"], np.nan, -1) for step in ("Base", "RLHF")])
    assert read.page(unread).data.count("nothing stands before it") == 2
    assert len(read.ratio(unread)) == 0


def test_what_was_typed_is_no_markup(pair):
    for text in HOSTILE:
        page = read.page(pd.concat([rows(step, [text], [text, "b"]) for step in ("Base", "RLHF")])).data
        assert "<img" not in page and "<script" not in page


def test_a_text_that_cannot_be_read_is_a_sentence(pair):
    with pytest.raises(UserError, match="text: write something"):
        read.read(Held(), pair, "  ")
    with pytest.raises(UserError, match="text: it has .* tokens for Base; give 400 at most"):
        read.read(Held(), pair, "q z " * 300)
