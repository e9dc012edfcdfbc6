"""A run: which pair, at which scale, from which store, with which seed.

`Settings` declares what the chapters share. Its defaults are the full scale; `scales.yaml` lists how smaller scales
differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from predact.errors import UserError, near, refused
from predact.models import pairs, tokens, transcripts
from predact.models.pairs import Pair

if TYPE_CHECKING:
    from predact.models.finetuning import Settings as Finetuning
    from predact.models.sampling import Settings as Sampling

Count = Annotated[int, Field(ge=1)]


def _positive(rates: list[float]) -> list[float]:
    if not all(rate > 0 for rate in rates):
        raise ValueError("expected numbers above 0")
    return rates


class Settings(BaseModel):
    """Settings that the chapters of a book share; ``-p`` sets them by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    corpora: list[str] = Field([], description="names of `predact corpora`, or files; none: the pair's own")
    documents: Count = Field(100, description="of each corpus, at most")
    context: Count = Field(1024, description="tokens that a model reads at once, at most")
    prompts: str = Field("", description="general, pocket or a JSON Lines file; empty: the pair's own")
    prompts_limit: int = Field(0, ge=0, description="use only the first prompts, this many; 0: all")
    generations: Count = Field(100, description="sampled for each prompt")
    top_p: float = Field(0.9, gt=0, le=1, description="sample from the likeliest tokens that hold this probability")
    temperature: float = Field(
        1.0, ge=1e-6, le=1e6, description="above 1 flattens probabilities, below 1 sharpens them"
    )
    top_k: int = Field(0, ge=0, description="sample from this many likeliest tokens at most; 0: no limit")
    max_new_tokens: Count = Field(256, description="maximum tokens of a generation")
    base_top_p: float = Field(0.0, ge=0, le=1, description="Base's top_p where diversity is matched; 0: chosen")
    diversity_prompts: int = Field(20, ge=0, description="measure diversity on the first prompts, this many; 0: all")
    rows: Count = Field(256, description="generations sampled together, at most; fewer if memory runs out")
    positions: Count = Field(20_000, description="measured for each model and kind of text")
    measured: Count = Field(20, description="generations of each prompt from which these positions are drawn")
    unseen: list[str] = Field(["letters"], description="further corpora of prefixes, of a kind not seen in training")
    prefixes: Count = Field(20, description="completed from each source")
    prefix: Count = Field(8, description="tokens of a prefix")
    completion_tokens: Count = Field(64, description="maximum tokens of a completion")
    last_words: str = Field("", description="lambada, pocket or a file of passages; empty: the pair's own")
    passages: Count = Field(1000, description="whose last words are guessed, at most")
    targets: list[str] = Field([], description="corpora that models are finetuned on; none: the corpora")
    targets_limit: int = Field(0, ge=0, description="finetune on this many of them, categories in turn; 0: all")
    finetuning_documents: Count = Field(500, description="of each target, at most, in all parts")
    method: Literal["auto", "full", "lora"] = Field("auto", description="auto: lora from 200 million parameters on")
    rates: Annotated[list[float], AfterValidator(_positive)] = Field(
        [], description="learning rates to begin the search with; none: 0.0003 and 0.001"
    )
    updates: Count = Field(64, description="optimizer steps of a finetuning run, at most")
    batch: Count = Field(4096, description="bytes of text in an update, at most")
    rank: Count = Field(16, description="of the adapters of lora")
    keep_weights: bool = Field(False, description="keep finetuned weights in the store, as large as the models")
    orders: Count = Field(2, description="number of orders of the training documents")
    share: float = Field(0.25, gt=0, le=1, description="of generations that must contain an anchor span, at least")
    length: int = Field(5, ge=2, description="tokens of the shortest anchor span")
    engine: Literal["native", "mafft"] = Field("native", description="of alignment; mafft must be installed")
    characters: Literal["auto", "native", "mafft"] = Field(
        "auto", description="engine that aligns characters; auto: mafft where it is installed, else native"
    )
    compared: Count = Field(6, description="prompts on which the engines of alignment are compared")
    others: Literal[1, 2, 3, 5, 7, 10, 15, 20, 30, 50] = Field(5, description="C8: others that a token is aligned with")
    probe_layer: int = Field(0, ge=0, description="read by the probes of Figure 6; 0: at seven eighths of the depth")
    layers: list[int] = Field([], description="read besides it, 0: embeddings; none: five, evenly spread")
    trained: list[int] = Field([], description="read by the low-rank probe; none: the middle one of these")
    probe_rank: Count = Field(16, description="of the low-rank probe")
    probe_positions: Count = Field(100_000, description="to fit probes on, for each reader and author")
    nudged: Count = Field(5, description="answers per prompt that are read, and whose first tokens Base continues")
    planned: Count = Field(40, description="questions of the pocket world whose decision problem is solved, at most")
    mixtures: list[float] = Field(
        [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0], description="weights of RLHF in mixtures with Base"
    )
    window: Count = Field(64, description="tokens read of an answer, and written after a nudge")

    @property
    def sampling(self) -> "Sampling":
        """How generations are sampled."""
        from predact.models.sampling import Settings as Sampling

        return Sampling(self.generations, self.top_p, self.temperature, self.top_k, self.max_new_tokens)

    @property
    def finetuning(self) -> "Finetuning":
        """How models are finetuned."""
        from predact.models.finetuning import Settings as Finetuning

        return Finetuning(self.method, self.rates, self.updates, self.batch, self.context, self.rank)


@dataclass(frozen=True)
class Run:
    """What a chapter is run with."""

    name: str  # of the pair, as the user has named it
    pair: Pair
    settings: Settings
    scale: str  # its name, and the settings that differ from it
    root: Path  # of the store
    seed: int  # of all random choices

    @property
    def per(self) -> tokens.Per:
        """Whether the losses of the pair's models can be compared per token, or only per byte."""
        return tokens.compared_per(self.pair)


@cache
def scales() -> dict[str, dict[str, Any]]:
    """Return, for each scale, the settings in which it differs from the full one."""
    return yaml.safe_load((files(__package__) / "scales.yaml").read_text(encoding="utf-8"))


def run(pair: str, scale: str = "", seed: int = 0, root: Path | str = "_build/store", **given: Any) -> Run:
    """Return the run of a pair.

    Args:
        pair: a name of `predact pairs`, a pair file, or BASE::RLHF.
        scale: classroom, laptop or full; empty: the pair's own.
        seed: of all random choices.
        root: folder of the store.
        **given: settings that are to differ from those of the scale.

    Raises:
        UserError: the pair or the scale is unknown, or a setting has an invalid value.
    """
    found = pairs.pair(pair)
    scale = scale or found.scale
    if scale not in scales():
        raise UserError(f"scale: {scale!r} is not known{near(scale, scales()) or '.'} Expected {', '.join(scales())}.")
    settings = checked(scales()[scale] | given)
    if found.written:
        if settings.prompts:
            raise UserError("prompts: those of a pair of generations stand in its files; set prompts_limit for fewer.")
        given["generations"] = transcripts.count(found, settings.generations, settings.prompts_limit)
        settings = checked(scales()[scale] | given)
    usual = checked(scales()[scale])
    other = [f"{name} {getattr(settings, name)}" for name in given if getattr(settings, name) != getattr(usual, name)]
    return Run(pair, found, settings, ", ".join([scale, *other]), Path(root), seed)


def checked(given: Mapping[str, Any]) -> Settings:
    """Return validated settings.

    Raises:
        UserError: a name is unknown, or a value is invalid.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        name, expected = refused(error)
        if expected is None:
            raise UserError(f"{name}: no such setting{near(name, Settings.model_fields) or '.'}") from error
        raise UserError(f"{name}: {expected}.") from error
