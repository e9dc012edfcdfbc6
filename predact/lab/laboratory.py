"""The laboratory: its tabs, put together."""

import ipywidgets as widgets

from predact.errors import UserError
from predact.lab import tabs, work
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
    bench = tabs.Bench(run, holding(run.pair), Answers(), work.own_loop())
    kinds = {"Ask": tabs.asking, "Read": tabs.reading, "Guess": tabs.guessing, "Steer": tabs.steering}
    made = {name: tab(bench) for name, tab in kinds.items()}
    return widgets.Tab(list(made.values()), titles=list(made))
