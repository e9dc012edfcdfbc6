"""Many pairs side by side: figures and effects in one table with the paper's, by family and size."""

import numpy as np
import pytest

from predact.claims import summary
from predact.discussion import compared
from tests.made import results, row


def test_what_a_name_tells():
    for one, other in (("Llama 2 7B", "llama2-70b"), ("pocket", "pocket-dpo"), ("smollm2-135m", "smollm2-1.7b")):
        assert compared.family(one) == compared.family(other)
    assert compared.family("olmo2-1b") != compared.family("olmo3-7b")
    assert [compared.billions(name) for name in ("Tulu 2 70B", "smollm2-135m", "qwen3-0.6b")] == [70, 0.135, 0.6]
    assert np.isnan(compared.billions("pocket"))
    assert [compared.size(each) for each in (0.99, 1, 10)] == ["below 1 billion", "1 to 10 billion", "above 10 billion"]


def test_the_papers_estimates_are_taken_as_the_rules_take_theirs():
    """Compared with what the claims say of the paper (`CLAIM.paper`), and with sums by hand."""
    found = {(each["id"], each["pair"]): each["estimate"] for each in compared.estimates_of_paper()}
    assert found["C1", "OLMo 7B"] == pytest.approx((2.64 + 2.04 + 2.26 + 6.60) / 4, abs=0.02)
    assert found["C2", "Llama 2 7B"] == pytest.approx((0.50 + 0.45 + 0.10 + 1.47) / 4, abs=0.02)
    assert found["C3", "Llama 2 70B"] < 0.638 - 0.5 and found["C3", "Llama 2 70B"] > 0
    assert found["C4", "Llama 2 7B"] == pytest.approx(33.8 - 27.6, abs=0.1)
    assert found["C5", "Llama 2 7B"] == pytest.approx(
        (1.47 * 1.41 * 1.24 * 1.32 / 3.72 / 3.38 / 3.85 / 4.55) ** 0.25, abs=0.01
    )
    assert found["C6", "Llama 2 7B"] == pytest.approx(0.050 - 0.008, abs=0.003)
    assert found["C9", "Llama 2 7B"] == pytest.approx(0.1, abs=0.02)
    assert found["C10", "Llama 2 70B"] == pytest.approx(8.64 - 6.18)
    assert found["C12", "Llama 2 7B"] == pytest.approx(9.0 - 8.8, abs=0.05)
    assert found.keys() >= {("C8", name) for name in ("Llama 2 7B", "Tulu 2 70B")} and not {"C11"} & {
        id for id, _ in found
    }


def test_effects_are_those_of_claims_with_three_pairs_or_more():
    rows = [row("C3", "a"), row("C1", "a"), row("C1", "a", protocol="book"), row("C4", "a", "undecided", estimate=None)]
    found = compared.effects([results("a", rows, parameters=2_500_000_000)])
    mine = found[found.whose == compared.HERE]
    assert mine[["id", "estimate", "parameters"]].values.tolist() == [["C1", 1.4, 2.5]], "one pair of the paper has C3"
    assert set(found.id) == {"C1", "C2", "C5", "C7", "C8"} and found.low.notna().sum() == 1
    more = compared.effects([results(name, [row("C9", name)]) for name in ("a", "b")])
    assert "C9" in set(more.id)


def test_figures_of_all_pairs_are_one_table_by_size():
    place = {"figure": "2A", "pair": "a-1b", "scale": "full", "protocol": "paper", "model": "RLHF", "series": ""}
    numbers = {"x": "chat", "unit": "perplexity increase", "estimate": 1.5, "low": 1.0, "high": 2.0, "n": 9}
    found = compared.figures([results("a-1b", (), summary.from_data([place | numbers]), 1_100_000_000), results("b")])
    bars = found[found.figure == "2A"]
    theirs = ["Llama 2 7B, paper", "Tulu 2 7B, paper", "OLMo 7B, paper", "Llama 2 70B, paper", "Tulu 2 70B, paper"]
    assert list(bars.label.unique()) == ["a-1b", *theirs]
    assert bars.iloc[0][["whose", "family", "parameters", "size"]].tolist() == [
        "published",
        "a",
        1.1,
        "1 to 10 billion",
    ]
    assert set(found.figure) == set(summary.FIGURES) and set(found.whose) == {compared.HERE, compared.PAPER}
