"""Frames made by hand that tests of several modules begin with."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import yaml

from predact.claims import summary, verdict
from predact.discussion import published
from predact.methods import alignment
from predact.methods.ngrams import GENERATIONS
from predact.models import distributions, pairs
from predact.models.distributions import Measured
from predact.models.finetuned import AFTER, BEFORE
from predact.models.passages import GOLD, OWN

ROOT = Path(__file__).parents[1]


def written(texts, model="Base"):
    """Generations as `sampling.of_pair` gives them, without the columns that no one reads here."""
    rows = [
        {"model": model, "category": f"of {prompt}", "prompt": prompt, "sample": sample, "ids": np.array(ids, np.int64)}
        for prompt, generations in texts.items()
        for sample, ids in enumerate(generations)
    ]
    return pd.DataFrame(rows)


def random_generations():
    """Three generations of random ids by each model for each of sixteen prompts, after prompts of up to three ids."""
    draw = np.random.default_rng(0)
    rows = [
        {"model": model, "category": "a", "prompt": f"prompt {prompt}", "sample": sample}
        | {"given": np.array([0, *range(5, 6 + prompt % 3)]), "ids": draw.integers(5, 30, draw.integers(8, 30))}
        for model in ("Base", "RLHF")
        for prompt in range(16)
        for sample in range(3)
    ]
    return pd.DataFrame(rows)


def measured(mass, support, groups=2, positions=50):
    """What `measure` returns for a model that is everywhere the same, up to a little noise by group."""
    ranks = distributions.ranks(64)
    noise = 1 + 0.01 * np.arange(groups)
    curve = np.minimum(1, mass + (1 - mass) * (ranks - 1) / 63)
    frame = pd.DataFrame(
        {"group": np.repeat(np.arange(groups), positions), "position": np.tile(np.arange(positions), groups)}
    )
    frame = frame.assign(nll=1.0, top1=mass, entropy=0.5)
    for threshold in distributions.THRESHOLDS:
        frame[f"{threshold:.0e}"] = np.round(support * noise[frame.group] * 10)
    return Measured(frame, np.outer(noise, curve) * positions, ranks)


def crossing(each, masses):
    """The same measurements, with other mean masses of the k likeliest tokens {k: mass}."""
    mass = each.mass.copy()
    for k, value in masses.items():
        mass[:, k - 1] = value * each.counts
    return replace(each, mass=mass)


def conditions(base_gold, rlhf_gold, base_own, rlhf_own):
    given = {("Base", GOLD): base_gold, ("RLHF", GOLD): rlhf_gold, ("Base", OWN): base_own, ("RLHF", OWN): rlhf_own}
    return {place: measured(*numbers) for place, numbers in given.items()}


SPANS = {"A": range(10, 15), "B": range(20, 26), "C": range(30, 38), "D": range(40, 52)}  # no two sums of sizes equal
PLANS = ["ABC"] * 5 + ["CA", "BA", "", "A", "AB"]


def planned(plans):
    """Generations: each passage of a plan after two tokens that stand nowhere else, and one at the end."""
    fresh = iter(range(100, 10**6))
    return [
        [each for span in plan for each in (next(fresh), next(fresh), *SPANS[span])] + [next(fresh)] for plan in plans
    ]


def aligned_rows(generations, prompt="p", model="RLHF"):
    """Generations aligned, as `alignments.align_pair` gives them."""
    columns = [np.flatnonzero(row != alignment.GAP) for row in alignment.align(generations)]
    ids = [np.array(each, np.int64) for each in generations]
    place = {"model": model, "category": "c", "prompt": prompt, "text": GENERATIONS, "row": range(len(ids))}
    return pd.DataFrame(place | {"ids": ids, "columns": columns})


def word(ids):
    return "".join(f" w{each}" for each in ids)


def held_out(nll, world=1.0):
    """What `finetuned.finetune_pair` returns for nll {corpus: {model: (before, after)}}, each a list by document."""
    parts = [
        pd.DataFrame({"doc": range(len(each)), "nll": each, "bytes": 100, "words": 20, "tokens": 50}).assign(
            corpus=corpus, category="kind", model=model, when=when, world_nll=world, order=0
        )
        for when in (BEFORE, AFTER)
        for corpus, found in nll.items()
        for model, each in ((model, both[when == AFTER]) for model, both in found.items())
    ]
    return pd.concat(parts, ignore_index=True).astype({"nll": float})


def learned(nll, tokens=(0, 10, 30), corpus="news", world=1.0, order=0):
    """Rows of the best run of each model {model: [evaluations][documents]}, and of one that was not chosen."""
    parts = []
    for model, each in nll.items():
        for chosen, rate, values in ((True, 1e-3, np.array(each, float)), (False, 3e-4, np.array(each, float)[:2] + 9)):
            rows = {"tokens": np.repeat(tokens[: len(values)], values.shape[1]), "nll": values.ravel()}
            rows |= {"doc": np.tile(range(values.shape[1]), len(values)), "bytes": 10, "world_nll": world}
            rows |= {"evaluation": np.repeat(range(len(values)), values.shape[1])}
            where = {"corpus": corpus, "category": "kind", "model": model, "order": order}
            parts.append(pd.DataFrame(where | rows | {"rate": rate, "chosen": chosen, "failed": False}))
    return pd.concat(parts, ignore_index=True)


def values(rung):
    """The value of a rung for each model: the mean over its strata of sums over counts."""
    return np.mean([stratum[..., 0].sum(0) / stratum[..., 1].sum(0) for stratum in rung.strata], axis=0)


def row(id="C1", pair="pocket", verdict="holds", **more):
    """A verdict as a row."""
    numbers = {"estimate": 1.4, "low": 1.3, "high": 1.5, "unit": "perplexity ratio", "n": 900, "null": None}
    place = {"protocol": "paper", "pair": pair, "scale": "full"}
    return {"id": id, "claim": "…", "verdict": verdict} | numbers | place | more


def executed(path, *rows, **metadata):
    """Write a notebook that has shown these verdicts."""
    cells = [
        {"cell_type": "code", "source": "", "metadata": {}, "outputs": [{"output_type": "display_data", "data": data}]}
        for data in ({verdict.MIME: each} for each in rows)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))


WEIGHTS = {"source": "org/model", "revision": None, "dtype": "bfloat16", "template": {}, "fingerprint": "f" * 64}
EXECUTION = {"scale": "full", "seed": 0, "settings": {}, "versions": {"torch": "2.13.0"}, "devices": ["a GPU"]}
EXECUTION |= {"finished": "2026-11-26T01:02:03Z", "commit": "abc1234"}


def results(pair, rows=(), figures=None, parameters=7_000_000_000, **more):
    """Published results of a pair: verdicts and, where there are any, summaries of figures."""
    models = {step: WEIGHTS | {"parameters": parameters} for step in ("Base", "RLHF")}
    chapters = {claim.chapter: EXECUTION for claim in verdict.claims().values()}
    told = published.Provenance(**{"pair": pair, "models": models, "chapters": chapters} | more)
    return published.Published(told, list(rows), summary.from_data([]) if figures is None else figures)


def publish(root, *args, **more):
    """Write published results, and return their folder."""
    folder = root / pairs.slug(args[0])
    folder.mkdir(parents=True)
    for name, data in published.packed(results(*args, **more)).items():
        (folder / name).write_bytes(data)
    return folder


# A toy of a notebook, for `write_notebook`: its parameters, and a stage that it computes
PARAMETERS = """\
seed: int = 0  # seed of all that is random
n: int = 3  # how many
texts: list[str] = []  # files
name: str = ""  # empty unless given
store: str = "_build/store"  # folder of results"""
COMPUTE = """\
import pandas as pd
from predact import store as keep
from predact.build import notebook
run = notebook.start(globals(), pair="pocket")
keep.frame(run.root, "toy", {"n": n, "seed": seed}, lambda: pd.DataFrame({"x": range(n)}))"""


def write_notebook(path, *sources, title="A chapter", tag="parameters"):
    """A notebook of these code cells, the first one tagged."""
    cells = [nbformat.v4.new_markdown_cell(f"# {title}"), *map(nbformat.v4.new_code_cell, sources)]
    cells[1].metadata["tags"] = [tag]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


def prose(project):
    """Copy the repository's prose and settings into a project, and return the names of its chapters."""
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, project)
    shutil.copytree(ROOT / "book", project / "book", ignore=shutil.ignore_patterns("_generated"))
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    names = [chapter["file"] for part in parts for chapter in part["chapters"]]
    return [name for name in names if name.startswith("notebooks/")]


def shuffled(frame, seed=0):
    """The rows of a frame in another order, with their labels."""
    return frame.sample(frac=1, random_state=seed)


# What a name must not do on a page: be a tag, an attribute, mathematics, a directive, a role, a substitution, a cell of
# a table; nor end the line, the block or the script that it stands in
_IMAGE = """<img src=x onerror="window.PWN=1">"""
HOSTILE = [
    *(f"a{end}{end}{_IMAGE}{end}b" for end in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"),
    *(f"{fence}\n{_IMAGE}\n{fence}" for fence in ("```", "````", ":::", "-->", "]]>", "|", "</code></td></table>")),
    "{{7*7}} {% print(7*7) %} $x^2$ \\(y\\) $$z$$ **bold** [a](javascript:window.PWN=1) {eval-rst}`x` `` ` \" ' & < >",
    "```{include} ../_config.yml\n```\n```{raw} html\n<script>window.PWN=1</script>\n```",
    "</script><script>window.PWN=1</script><!--",
]
