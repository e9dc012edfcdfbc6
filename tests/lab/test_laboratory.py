"""The tabs without a browser: buttons are pressed from another thread than that of the work, as a kernel does it."""

import asyncio

import pytest

from predact.errors import UserError
from predact.lab import work
from predact.lab.work import PAUSE
from predact.models import runs

widgets = pytest.importorskip("ipywidgets", reason="the extra `lab` is not installed")

from predact.lab.laboratory import laboratory  # noqa: E402


@pytest.fixture
def loop(monkeypatch):
    """The event loop of the laboratory."""
    loop = work.own_loop()
    monkeypatch.setattr(work, "own_loop", lambda: loop)
    yield loop
    loop.call_soon_threadsafe(loop.stop)


@pytest.fixture
def tabs(tmp_path, loop):
    run = runs.run("pocket", "classroom", root=tmp_path, max_new_tokens=12)
    return {name: child for name, child in zip(laboratory(run).titles, laboratory(run).children, strict=True)}


def inside(widget):
    """A widget and all that it holds."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from inside(child)


def named(tab, name):
    return next(each for each in inside(tab) if getattr(each, "description", "") == name)


def shown(tab):
    return "".join(each.value for each in inside(tab) if isinstance(each, widgets.HTML))


@pytest.fixture
def done(loop):
    """A function that returns when all work is done."""

    async def idle():
        await asyncio.sleep(PAUSE)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(PAUSE)

    return lambda: asyncio.run_coroutine_threadsafe(idle(), loop).result(300)


@pytest.fixture
def pressed(done):
    """A function that presses buttons one after the other, each when the work of the one before is done."""

    def pressed(tab, *names):
        for name in names:
            named(tab, name).click()
            done()

    return pressed


def test_two_models_are_asked_and_what_is_typed_is_no_markup(tabs, pressed):
    tab = tabs["Ask"]
    named(tab, "Question").value, named(tab, "Answers").value = "<script>alert(1)</script>", 3
    pressed(tab, "Ask")
    page = shown(tab)
    assert page.count("<li") == 6 and "commonest 10-gram" in page and "<script" not in page
    assert page.count("<img src=") == 3
    assert "6 answers." in page and named(tab, "Stop").disabled and not named(tab, "Ask").disabled


@pytest.mark.parametrize(
    ("name", "box", "button", "said"),
    [
        ("Ask", "Question", "Ask", "question: write one"),
        ("Read", "Text", "Read", "text: write something"),
        ("Guess", "Passage", "Begin", "passage: it has 0 words"),
        ("Steer", "Question", "Ask again", "question: write one"),
    ],
)
def test_a_mistake_is_a_sentence_and_the_next_press_works(tabs, pressed, name, box, button, said):
    tab = tabs[name]
    before, named(tab, box).value = named(tab, box).value, " "
    pressed(tab, button)
    assert said in shown(tab)
    named(tab, box).value = before or "The river runs to the sea, and the boats go out in the morning."
    pressed(tab, button)
    assert said not in shown(tab) and "did not work" not in shown(tab)


def test_a_passage_is_drawn_and_played(tabs, pressed):
    tab = tabs["Guess"]
    pressed(tab, "Draw a passage", "Begin", "Show it")
    assert "Word 2 of" in shown(tab) and "given up" in shown(tab)


def test_a_moved_slider_asks_again_once(tabs, pressed, done):
    tab = tabs["Steer"]
    named(tab, "Answers").value = 2
    pressed(tab, "Ask again")

    for weight in (0.5, 0.25, 0.0):
        named(tab, "Weight of it").value = weight
    done()
    page = shown(tab)
    assert "weight 0<" in page and page.count("<tr>") == 1 + 2, "only where it came to rest"


def test_generations_alone_are_refused(tmp_path):
    path = tmp_path / "told.jsonl"
    lines = [f'{{"model": "{model}", "prompt": "a", "generation": "b"}}' for model in ("Base", "RLHF")]
    path.write_text("\n".join(lines * 2))
    with pytest.raises(UserError, match="the laboratory needs its weights"):
        laboratory(runs.run(str(path), root=tmp_path))
