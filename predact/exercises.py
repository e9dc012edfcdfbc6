"""Exercises that check themselves: ``check("02-1", base=2.5)`` tells what is right, and gives a hint where it is not.

An answer stands nowhere in clear text. `exercises.yaml` holds its *seal*, a slow, salted hash: of a text, or of the
place of a number on a grid whose steps are half its tolerance, so that the places within the tolerance can be tried.
A function is called for some cases, and what it returns has a seal for each.
"""

import copy
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from numbers import Real
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from predact.errors import UserError, near

TOLERANCE = 0.01  # of a number that does not tell its own


class Part(BaseModel):
    """A part of an exercise: what it asks for, a hint, and its seal, or one for each case of a function."""

    model_config = ConfigDict(extra="forbid")

    asks: str
    hint: str
    tolerance: Annotated[float, Field(gt=0)] = TOLERANCE
    seals: list[str] = Field(min_length=1)
    cases: list[list[Any]] = []  # arguments of a function


@cache
def parts(exercise: str) -> dict[str, Part]:
    """Return the parts of an exercise by name.

    Raises:
        UserError: there is no such exercise.
    """
    known = yaml.safe_load((files("predact") / "exercises.yaml").read_text("utf-8"))
    if exercise not in known:
        guess = near(exercise, known) or "."
        raise UserError(f"exercise: {exercise!r} cannot be checked{guess} Those that can are {', '.join(known)}.")
    return {name: Part.model_validate(part) for name, part in known[exercise].items()}


def check(exercise: str, **answers: Any) -> None:
    """Say of each answer to an exercise whether it is right; of one that is not, a hint.

    Args:
        exercise: its chapter and number, ``02-1``.
        **answers: numbers, texts, lists of texts in any order, or functions; ``...`` for what is not answered yet.

    Raises:
        UserError: there is no such exercise, or it has no such part.
    """
    known = parts(exercise)
    for name in answers:
        if name not in known:
            raise UserError(f"{name}: exercise {exercise} does not ask for it. It asks for {', '.join(known)}.")
    if all(answer is ... for answer in answers.values()):
        print("Put your answers in place of the dots, and run this cell.")
        print(*(f"  {name}: {part.asks}" for name, part in known.items()), sep="\n")
        return
    for name, part in known.items():
        answer = answers.get(name, ...)
        print(f"{name}: {'no answer yet' if answer is ... else said(exercise, name, part, answer)}")


def said(exercise: str, name: str, part: Part, answer: Any) -> str:
    """Return what is said of an answer: ``right``, or why not."""
    salt = f"{exercise}/{name}"
    if not part.cases:
        return "right" if part.seals[0] in _tried(answer, part.tolerance, salt) else f"not yet. {part.hint}"
    if not callable(answer):
        return f"not yet. Give the function itself, without brackets: {name}={name}"
    for case, wanted in zip(part.cases, part.seals, strict=True):
        call = f"{name}({', '.join(map(repr, case))})"
        try:
            found = answer(*copy.deepcopy(case))
        except Exception as error:  # whatever a student's function does wrong
            return f"not yet. {call} stops: {type(error).__name__}: {error}"
        if wanted not in _tried(found, part.tolerance, salt):
            return f"not yet. {call} returns {found!r}. {part.hint}"
    return "right"


def sealed(answer: Any, salt: str, tolerance: float = TOLERANCE, cases: Sequence[Sequence[Any]] = ()) -> list[str]:
    """Return the seals of a part (`salt`: ``exercise/part``): of its answer, or of a function's for each case."""
    found = [answer(*case) for case in cases] if cases else [answer]
    return [_hash(_forms(each, tolerance)[0], salt) for each in found]


def _tried(answer: Any, tolerance: float, salt: str) -> Iterable[str]:
    return (_hash(form, salt) for form in _forms(answer, tolerance))


def _forms(answer: Any, tolerance: float) -> list[str]:
    """The texts that may have been sealed if this answer is right, its own first."""
    if isinstance(answer, Real) and math.isfinite(answer):
        place = math.floor(float(answer) / tolerance * 2 + 0.5)
        return [str(place + step) for step in (0, -1, 1, -2, 2)]
    if isinstance(answer, str):
        return [" ".join(re.findall(r"\w+", answer.casefold()))]
    if isinstance(answer, list | tuple | set) and all(isinstance(each, str) for each in answer):
        return ["|".join(sorted(_forms(each, tolerance)[0] for each in answer))]
    if hasattr(answer, "tolist"):  # of NumPy and PyTorch
        return _forms(answer.tolist(), tolerance)
    return []


def _hash(text: str, salt: str) -> str:
    return hashlib.scrypt(text.encode(), salt=salt.encode(), n=2**12, r=8, p=1, dklen=12).hex()
