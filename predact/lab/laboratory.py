"""The laboratory: its tabs, put together."""

import ipywidgets as widgets

from predact.errors import UserError
from predact.lab import tabs
from predact.lab.answers import Answers
from predact.lab.held import holding
from predact.models.runs import Run


def laboratory(run: Run) -> widgets.Tab:
    """Return the laboratory of a pair, to be shown by a live kernel.

    Raises:
        UserError: of this pair only generations are known.
    """
    if run.pair.written:
        raise UserError("pair: of this pair only generations are known; the laboratory needs its weights.")
    held, kept = holding(run.pair), Answers()
    made = {
        "Ask": tabs.asking(run, held, kept),
        "Read": tabs.reading(run, held),
        "Guess": tabs.guessing(run),
        "Steer": tabs.steering(run, held, kept),
    }
    return widgets.Tab(list(made.values()), titles=list(made))
