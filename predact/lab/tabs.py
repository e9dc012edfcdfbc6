"""The four tabs: thin layers of widgets on `ask`, `read`, `guess` and `steer`; each keeps its own state."""

import itertools
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import ipywidgets as widgets
import pandas as pd

from predact import markup
from predact.claims import materials
from predact.figures import laboratory as figures
from predact.lab import answers, ask, guess, read, steer
from predact.lab.answers import Answers
from predact.lab.guess import Game
from predact.lab.held import Held
from predact.lab.pictures import pictures
from predact.lab.steer import Place
from predact.lab.work import Steps, Work
from predact.models.runs import Run
from predact.models.sampling import Generation

NOTHING = "nothing"  # beside the first model
COUNT = 20  # answers at first
_WIDE = {"width": "auto", "min_width": "0"}  # as wide as the page: a margin more would be cut off


class Bench(NamedTuple):
    """What the tabs of a laboratory share."""

    run: Run
    held: Held
    kept: Answers
    loop: AbstractEventLoop  # of all work, see `work`


def asking(bench: Bench) -> widgets.Widget:
    """The tab Ask: answers of one model or two as they come, then what they share."""
    run, held, kept, _ = bench
    models, names = run.pair.models, list(run.pair.models)
    question = _text("Question", materials.questions(run)[0].text)
    first = _control(widgets.Dropdown, "Model", options=names, value="RLHF")
    second = _control(widgets.Dropdown, "Beside it", options=[NOTHING, *names], value="Base")
    top_p = _control(widgets.FloatSlider, "p", value=run.settings.top_p, min=0.05, max=1, step=0.05)
    temperature = _control(widgets.FloatSlider, "Temperature", value=1.0, min=0.1, max=2, step=0.1)
    count = _control(widgets.IntSlider, "Answers", value=COUNT, min=2, max=100)
    bar, shown, table, drawn = _bar(), _html(), _html(), _html()
    tell, told = _telling()
    decode = ask.decoders(run.pair, list(models))

    def steps() -> Steps:
        text = ask.checked(question.value)
        how = replace(run.settings.sampling, generations=count.value, top_p=top_p.value, temperature=temperature.value)
        used = list(dict.fromkeys(name for name in (first.value, second.value) if name != NOTHING))
        _clear(shown, table, drawn)
        bar.value, bar.max = 0, how.generations * len(used)
        streams = {}
        for name in used:
            room, write = ask.writer(held, run.pair, name, text, how)
            streams[name] = kept.batches(name, text, how, run.seed, room, write)
        found: dict[str, list[Generation]] = {name: [] for name in used}
        for name, made in answers.in_turn(streams):
            found[name] = made
            texts = {each: [decode[each](one.ids) for one in some] for each, some in found.items()}
            shown.value, bar.value = answers.page(texts), sum(map(len, found.values()))
            tell(f"{bar.value} of {bar.max} answers.")
            yield
        tell("Comparing the answers, token by token …")
        yield
        written = answers.frame(found)
        shared = ask.shared(written, decode, text, run.settings.share, run.settings.length)
        shown.value, table.value = answers.page(texts, shared.drawn), _turned(shared.table, "What the answers share")
        drawn.value = pictures(shared.figures)
        tell(f"{bar.value} answers. Underlined: anchor spans, with their numbers.")

    buttons = _work(bench, "Ask", steps, tell)
    controls = _row(first, second, top_p, temperature, count)
    return _column(question, controls, buttons, bar, told, shown, table, drawn)


def reading(bench: Bench) -> widgets.Widget:
    """The tab Read: a text, token by token, as both models see it."""
    run, held, _, _ = bench
    text = _text("Text", "")
    shown, said, drawn = _html(), _html(), _html()
    tell, told = _telling()

    def steps() -> Steps:
        _clear(shown, said, drawn)
        tell("Both models read …")
        yield
        found = read.read(held, run.pair, text.value)
        shown.value = read.page(found).data
        said.value = _sentence(read.in_words(found, run.pair, text.value))
        drawn.value = pictures(filter(None, [read.figure(found, run.pair)]))
        tell("")

    return _column(text, _work(bench, "Read", steps, tell, _drawing(bench, text, tell)), told, shown, said, drawn)


def guessing(bench: Bench) -> widgets.Widget:
    """The tab Guess: the next word of a passage, guessed by the reader, by Base and by RLHF."""
    run = bench.run
    text, word = _text("Passage", ""), widgets.Text(description="Your guess", layout=_WIDE, continuous_update=False)
    shown, drawn = _html(), _html()
    tell, told = _telling()
    state: dict[str, Any] = {}  # the game, and what the models have guessed

    def show() -> None:
        game: Game = state["game"]
        shown.value = guess.page(game, state["played"])
        over.disabled = sent.disabled = word.disabled = game.over
        drawn.value = pictures([guess.figure(game, state["played"])] if game.results else [])

    def begin() -> Steps:
        state.clear()
        _clear(shown, drawn)
        game = guess.begin(text.value)
        tell("Base and RLHF guess first; their guesses stay hidden …")
        yield
        state["played"] = guess.models_play(run.root, run.pair, game)
        state["game"] = game
        show()
        tell("Which word comes next?")

    def move(change: Callable[[Game], Game]) -> Steps:
        if "game" not in state:
            tell("Draw a passage, or type one, and begin.")
            return
        before = state["game"]
        state["game"] = change(before)
        word.value = ""
        show()
        right = len(state["game"].results) > len(before.results) and state["game"].results[-1].hit
        tell("Right!" if right else "" if state["game"].results != before.results else "No; guess again.")
        yield

    work = Work(tell, lambda _: None, bench.loop)
    sent, over = (widgets.Button(description=name, disabled=True) for name in ("Guess", "Show it"))

    def send(_: Any) -> None:
        """Guess what is typed: at the Enter key, at the button, once if both tell it."""
        if word.value:
            work.begin(move(lambda game: guess.guess(game, word.value)))

    sent.on_click(send)
    word.observe(send, names="value")
    over.on_click(lambda _: work.begin(move(guess.give_up)))
    buttons = _work(bench, "Begin", begin, tell, _drawing(bench, text, tell))
    return _column(text, buttons, told, shown, _row(word, sent, over), drawn)


def steering(bench: Bench) -> widgets.Widget:
    """The tab Steer: one question, asked again as two sliders move."""
    run, held, kept, _ = bench
    names = list(steer.stations(run.pair))
    question = _text("Question", materials.questions(run)[0].text)
    weight = _control(widgets.FloatSlider, "Weight of it", value=1.0, min=0, max=1, step=0.125, continuous_update=False)
    station = _control(widgets.SelectionSlider, "Mix Base with", options=names, value="RLHF", continuous_update=False)
    count = _control(widgets.IntSlider, "Answers", value=COUNT, min=2, max=100, continuous_update=False)
    bar, shown, table, drawn = _bar(), _html(), _html(), _html()
    tell, told = _telling()
    visited: dict[Any, dict[Place, dict[str, object]]] = {}

    def steps() -> Steps:
        text, place = ask.checked(question.value), Place(weight.value, station.value)
        how = replace(run.settings.sampling, generations=count.value)
        bar.value, bar.max = 0, how.generations
        if (text, how) not in visited:  # what is shown is about another question
            _clear(table, drawn)
        room, write = steer.writer(held, run.pair, place.station, [place.weight], text, how)
        title = f"Base and {place.station}, weight {place.weight:g}"
        for made in kept.batches(place, text, how, run.seed, room, write):
            shown.value = answers.page({title: [steer.decode(run.pair, each.ids) for each in made]})
            bar.value = len(made)
            tell(f"{bar.value} of {bar.max} answers.")
            yield
        rows = visited.setdefault((text, how), {})
        rows[place] = steer.measured(place, made)
        found = steer.visited(rows, run.pair)
        named = found.rename(columns={"station": "mixed with Base", "sharing": f"with the commonest {steer.N}-gram"})
        table.value = _table(named, "Places visited")
        drawn.value = pictures([figures.steering(found, steer.N)])

    buttons = _work(bench, "Ask again", steps, tell, moved=(weight, station))
    return _column(question, _row(weight, station, count), buttons, bar, told, shown, table, drawn)


def _work(
    bench: Bench,
    name: str,
    steps: Callable[[], Steps],
    tell: Callable[[str], None],
    *more: widgets.Widget,
    moved: Iterable[widgets.Widget] = (),
) -> widgets.Widget:
    """The button that begins work and the one that stops it; a control that is moved begins it, too."""
    go = widgets.Button(description=name, button_style="primary")
    stop = widgets.Button(description="Stop", disabled=True)

    def running(now: bool) -> None:
        go.disabled, stop.disabled = now, not now

    work = Work(tell, running, bench.loop)
    go.on_click(lambda _: work.begin(steps()))
    stop.on_click(lambda _: work.stop())
    for control in moved:
        control.observe(lambda _: work.begin(steps()), names="value")
    return _row(go, stop, *more)


def _drawing(bench: Bench, text: widgets.Textarea, tell: Callable[[str], None]) -> widgets.Widget:
    """A button that draws the next passage into a text box."""
    numbers, button = itertools.count(), widgets.Button(description="Draw a passage")

    def draw() -> Steps:
        text.value = guess.passage(bench.run, next(numbers))
        yield

    work = Work(tell, lambda _: None, bench.loop)
    button.on_click(lambda _: work.begin(draw()))
    return button


def _telling() -> tuple[Callable[[str], None], widgets.HTML]:
    """A line that says what goes on, and the function that sets it."""
    line = _html()

    def tell(text: str) -> None:
        line.value = markup.render("told.html", text=text)

    tell("")
    return tell, line


def _sentence(text: str) -> str:
    return markup.render("sentence.html", parts=[text])


def _text(name: str, value: str) -> widgets.Textarea:
    return widgets.Textarea(value=value, description=name, rows=3, layout=_WIDE)


def _control(kind: type, name: str, **options: Any) -> Any:
    """A control with its name, as wide as a column of a page, or as a phone."""
    layout = {"flex": "1 1 17em", "width": "auto", "min_width": "0", "max_width": "100%"}
    return kind(description=name, layout=layout, style={"description_width": "7em"}, **options)


def _html() -> widgets.HTML:
    return widgets.HTML(layout=_WIDE)


def _bar() -> widgets.IntProgress:
    return widgets.IntProgress(description="Progress", layout=_WIDE)


def _row(*inside: widgets.Widget) -> widgets.Widget:
    return widgets.Box(inside, layout=_WIDE | {"display": "flex", "flex_flow": "row wrap"})


def _column(*inside: widgets.Widget) -> widgets.Widget:
    return widgets.VBox(inside, layout=_WIDE | {"overflow": "hidden"})


def _clear(*shown: widgets.HTML) -> None:
    for each in shown:
        each.value = ""


def _table(frame: pd.DataFrame, label: str) -> str:
    """A frame as HTML; everything in it is escaped, names of columns too."""
    return markup.render("table.html", columns=list(frame), rows=frame.astype(object).to_numpy().tolist(), label=label)


def _turned(frame: pd.DataFrame, label: str) -> str:
    """A table with a column for each model, which is narrower."""
    return _table(frame.set_index("model").T.rename_axis("of the answers").reset_index(), label)
