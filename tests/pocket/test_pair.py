"""The shipped pair: it is complete, small, and what its cards and the appendix say it is."""

from pathlib import Path

import pytest

from predact.models import loading, pairs, tokens
from predact.pocket import human, shipped
from predact.recipe import recipe

SHIPPED = sorted(path.parent for path in (shipped.SHIPPED / "models").rglob("model.safetensors"))


def test_models_are_small():
    sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in SHIPPED]
    assert {"base", "sft", "rlhf"} <= {folder.name for folder in SHIPPED}
    assert max(sizes) <= 10e6 and sum(sizes) <= 60e6


def test_nothing_shipped_runs_code():
    assert {path.suffix for folder in SHIPPED for path in folder.iterdir()} <= {".json", ".jinja", ".safetensors"}


def test_all_models_read_alike():
    tokenizers = [loading.tokenizer(model) for model in pairs.pair("pocket").models.values()]
    assert [tokens.difference(tokenizers[0], other) for other in tokenizers[1:]] == [None, None]


def test_base_is_near_the_world_on_every_corpus():
    """On a sample of its validation documents, for speed; the appendix measures it on test documents."""
    assert recipe.farthest(*shipped.load(shipped.SHIPPED / "models" / "base"), documents=12) < recipe.NEAR


def test_the_shipped_model_is_chosen_by_the_rule():
    cards, runs = shipped.cards(shipped.SHIPPED / "models"), shipped.runs(shipped.SHIPPED / "trajectories")
    for name in cards.run[cards.step.notna()]:
        trajectory = runs[name]
        card = cards[cards.run == name].iloc[0]
        assert card.validation_reward == pytest.approx(trajectory.reward.max(), abs=0.01)
        assert card.step == trajectory.step[trajectory.reward.idxmax()]
    rewards = sorted(run.reward.max() for name, run in runs.items() if "seed" in name)
    assert cards.loc["rlhf"].validation_reward == pytest.approx(rewards[(len(rewards) - 1) // 2], abs=0.01)


def test_trajectories_tell_every_measure_of_every_step():
    for name, run in shipped.runs(shipped.SHIPPED / "trajectories").items():
        assert run.step.is_monotonic_increasing and len(run) > 5, name
        assert run.kl[0] == 0 and not run.isna().any().any(), name
        assert all(len(rewards) == len(human.questions("validation")) for rewards in run.rewards), name


def test_every_model_tells_how_it_was_made():
    for folder in SHIPPED:
        assert (folder / "recipe.json").exists(), folder
    assert not list(Path(shipped.SHIPPED).rglob("*.tmp"))
