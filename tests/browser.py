"""The built book as a browser shows it, with the network cut. Not part of `make test`: run it after `make book`.

.venv/bin/pytest tests/browser.py
"""

import csv
import io
import json
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import altair as alt
import nbformat
import pandas as pd
import pytest
import yaml
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from predact import markup
from predact.build import notebook, standalone
from predact.build.book import build
from predact.claims.verdict import MIME, Verdict
from predact.figures import style
from tests.made import HOSTILE, prose, write_notebook

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "pocket" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
EVERY = [*PAGES, "search", "genindex"]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
WIDTHS = {"wide": 1300, "phone": 360}
OPTIONS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --hide-scrollbars --force-device-scale-factor=1""".split()
CUT = ["--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9"]


AXE = (ROOT / "tests" / "vendor" / "axe.min.js").read_text(encoding="utf-8")
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "resultTypes": ["violations"],
}
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"], "resultTypes": ["violations"]}  # what a theme changes
STILL = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
OPEN = """
const tables = ".predact-provenance, .predact-status details, .predact-numbers details";
const all = [...document.querySelectorAll("details")];
for (const each of all.filter((each) => !each.matches(tables))) each.open = true;
for (const one of tables.split(", ").map((each) => document.querySelector(each))) if (one) one.open = true;"""
SAVED = """
const [box, label] = arguments, done = arguments[2], click = HTMLAnchorElement.prototype.click;
let blob;
URL.createObjectURL = (made) => { blob = made; return "blob:"; };
HTMLAnchorElement.prototype.click = async function () {
    HTMLAnchorElement.prototype.click = click;
    done([this.download, await blob.text()]);
};
[...box.querySelectorAll("button")].find((each) => each.textContent === label).click();"""
CUT_OFF = """
return [...document.querySelectorAll(".predact-chart svg")].flatMap(drawn => {
    const all = drawn.getBoundingClientRect();
    return [...drawn.querySelectorAll("text")].filter(text => {
        const box = text.getBoundingClientRect();
        return box.width && (box.left < all.left - 3 || box.right > all.right + 3);
    }).map(text => text.textContent);
});"""


class Loads(HTMLParser):
    """Gathers what a page loads by itself: scripts, styles, images, frames; not what a reader may click."""

    def __init__(self, path):
        super().__init__()
        self.found = []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        if tag == "link" and not {"stylesheet", "icon", "preload", "preconnect"} & set(names.get("rel", "").split()):
            return
        if tag not in ("a", "area", "form"):
            self.found += [names[name] for name in ("src", "href", "srcset", "data", "poster") if names.get(name)]


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in OPTIONS + CUT:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser):
    """A function that opens a page at a width and returns when its figures and formulas are drawn."""

    def visit(page, width, book=HTML):
        browser.get("about:blank")  # what the last page has begun says nothing into this one's log
        for log in ("browser", "performance"):
            browser.get_log(log)
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        browser.get((book / page).with_suffix(".html").as_uri())
        browser.set_script_timeout(20)
        browser.execute_async_script("window.MathJax?.startup?.promise.then(arguments[0]) ?? arguments[0]()")
        wait(lambda: all(figure.get_attribute("data-drawn") for figure in figures(browser)))
        return browser

    return visit


def wait(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)


def figures(browser):
    return browser.find_elements(By.CLASS_NAME, "predact-chart")


def test_the_front_page_is_where_it_was_promised(browser):
    browser.get((HTML / "index.html").as_uri())
    wait(lambda: "/book/index.html" in browser.current_url)
    assert browser.title.startswith("Predicting vs. Acting")


@pytest.mark.parametrize("page", PAGES)
def test_pages_load_only_files_of_the_book(page):
    path = (HTML / page).with_suffix(".html")
    loaded = [link for link in Loads(path).found if not link.startswith(("#", "data:"))]
    assert loaded
    assert [link for link in loaded if re.match(r"\w+:|//", link)] == []
    assert [link for link in loaded if not (path.parent / link.partition("?")[0].partition("#")[0]).exists()] == []


def test_styles_load_only_files_of_the_book():
    for path in HTML.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", path.read_text()) == [], path


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_page_is_drawn_without_errors_and_without_the_network(visit, page, width):
    browser = visit(page, width)
    for figure in figures(browser):
        assert figure.get_attribute("data-drawn") == "1"
        drawing = figure.find_element(By.CSS_SELECTOR, "svg.marks, canvas.marks")
        assert drawing.size["width"] > 250 and drawing.size["height"] > 100
        assert figure.get_attribute("aria-label")
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_wider_than_a_phone(visit, page):
    browser = visit(page, 360)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    wide = browser.execute_script(
        "return [...document.querySelectorAll('.predact-chart .marks')].filter(drawn => drawn.clientWidth > 360).length"
    )
    assert wide == 0
    assert browser.execute_script(CUT_OFF) == []


@pytest.mark.parametrize("page", CHAPTERS)
def test_chapters_show_figures_with_numbers_and_no_errors(visit, page):
    browser = visit(page, 1300)
    found = browser.find_elements(By.CSS_SELECTOR, "figure figcaption")
    captions = [caption.get_attribute("textContent").strip() for caption in found]  # of folded figures, too
    ends = r"Fig\. \d+ \S+.*[Pp]rotocol: (the paper's|ours).*; scale: \w+\W+"
    assert captions and all(re.fullmatch(ends, caption.replace("’", "'"), re.DOTALL) for caption in captions), captions
    assert figures(browser)
    text = browser.find_element(By.CSS_SELECTOR, "article").text
    assert "Traceback" not in text and "UserError" not in text
    assert "Where these numbers come from" in text


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("page", EVERY)
def test_nothing_on_a_page_keeps_a_reader_out(visit, page, width):
    browser = visit(page, width)
    browser.set_script_timeout(120)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", STILL)  # colours change at once
    browser.execute_script(OPEN)
    browser.execute_script(AXE)
    for theme, rules in {"light": RULES, "dark": COLOURS}.items():
        browser.execute_script(
            "const page = document.documentElement.dataset; page.mode = page.theme = arguments[0]", theme
        )
        found = browser.execute_async_script("axe.run(arguments[0]).then(arguments[1])", rules)
        assert [(each["id"], node["html"]) for each in found["violations"] for node in each["nodes"]] == [], theme


@pytest.mark.parametrize("page", CHAPTERS)
def test_who_asks_for_less_motion_gets_none(visit, page):
    browser = visit(page, 1300)
    moves = "return [...document.querySelectorAll('*')].filter(each => { const style = getComputedStyle(each);"
    moves += "return style.animationName !== 'none' || style.transitionDuration.match(/[1-9]/)"
    moves += "&& style.transitionProperty !== 'none' || style.scrollBehavior === 'smooth' }).length"
    assert browser.execute_script(moves) > 0
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", STILL)
    assert browser.execute_script(moves) == 0


class Anchors(HTMLParser):
    """Gathers the ids of a page, and the places that it links to in the book, itself among them."""

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links = path, set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        self.ids |= {names[name] for name in ("id", "name") if names.get(name)}
        page, mark, place = (names.get("href") or "").partition("#")
        if tag == "a" and place and not re.match(r"\w+:|//", page):
            self.links.add(((self.path.parent / unquote(page)).resolve() if page else self.path, unquote(place)))


def test_every_anchor_of_the_book_has_its_target():
    pages = {path.resolve(): Anchors(path.resolve()) for path in HTML.rglob("*.html") if "_static" not in path.parts}
    links = [(path, *link) for path, page in pages.items() for link in page.links]
    assert len(links) > 100
    assert [link for link in links if link[1] not in pages or link[2] not in pages[link[1]].ids] == []


def boxes(browser):
    """For each figure what stands below it: a table of its numbers, and buttons that save it."""
    return browser.find_elements(By.CLASS_NAME, "predact-numbers")


def saved(browser, box, label):
    """Press a button below a figure: the name of the file that is saved, and what it holds."""
    return browser.execute_async_script(SAVED, box, label)


def read(text):
    """A CSV as records; strictly, as RFC 4180 has it."""
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("page", CHAPTERS)
def test_every_figure_gives_its_numbers_and_its_picture(visit, page):
    browser = visit(page, 1300)
    captions = browser.find_elements(By.CSS_SELECTOR, "figure figcaption")
    assert len(boxes(browser)) == len(captions)
    names = []
    for box in boxes(browser):
        name, text = saved(browser, box, "CSV")
        rows = read(text)
        assert rows and all(None not in row and None not in row.values() for row in rows)
        names.append(name)
        if len(box.find_elements(By.TAG_NAME, "button")) > 1:  # a drawing, not a text
            picture, drawing = saved(browser, box, "SVG")
            assert picture == name.replace(".csv", ".svg")
            sizes = [float(size) for size in ElementTree.fromstring(drawing).attrib["viewBox"].split()]
            assert sizes[:2] == [0, 0] and sizes[3] > 100
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"(figures?|table)-[\w-]+-[0-9a-f]{7,}\.csv", name) for name in names), names


def test_the_numbers_of_a_figure_of_the_paper_are_those_drawn(visit):
    browser = visit("notebooks/02_world_modeling", 1300)
    figure = browser.find_element(By.ID, "fig-increase-bars")
    name, text = saved(browser, figure.find_element(By.CLASS_NAME, "predact-numbers"), "CSV")
    assert name.startswith("figure-2a-pocket-")
    script = figure.find_element(By.CSS_SELECTOR, "script[type='application/json']").get_attribute("textContent")
    ours, theirs = json.loads(script)["datasets"].values()
    rows, told, counted = read(text), ["model", "category", "unit"], ["documents", "estimate", "low", "high"]
    found = [[row[key] for key in told] + [float(row[key]) for key in counted] for row in rows[: len(ours)]]
    assert found == [[each[key] for key in told + counted] for each in ours]
    assert [float(row["value"]) for row in rows[len(ours) :]] == [each["value"] for each in theirs]


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", 'say "so", twice', "two\nlines", " plain -1", *HOSTILE]


@pytest.fixture
def alone(browser, tmp_path):
    """A page with one figure of more rows than a table shows, whose words are formulas, quotes and markup."""
    words = pd.DataFrame({"word": FORMULAS, "n": [-1.5, *range(1, len(FORMULAS))], "y": 1.0})
    lists = pd.DataFrame({"word": ["list"], "n": [list(range(120))], "place": [list(range(120))]})
    bars = alt.Chart(words).mark_bar().encode(x="n:Q", y="word:N", tooltip=["word:N"])
    dots = alt.Chart(lists).transform_flatten(["n", "place"]).mark_point().encode(x="n:Q", tooltip=["word:N"])
    chart = style.render(style.figure([bars, dots], [], description="words").to_dict())["text/html"]
    static = (ROOT / "book" / "_static").as_uri()
    scripts = "".join(f'<script src="{static}/{name}.js"></script>' for name in ("vendor/vega", "predact", "numbers"))
    (tmp_path / "page.html").write_text(f'<!doctype html><meta charset="utf-8"><body>{chart}{scripts}')
    browser.get((tmp_path / "page.html").as_uri())
    wait(lambda: all(figure.get_attribute("data-drawn") for figure in figures(browser)))
    return browser


def test_no_text_of_a_csv_is_a_formula_and_every_text_is_whole(alone):
    name, text = saved(alone, boxes(alone)[0], "CSV")
    rows = read(text)
    assert name == "figure-1.csv" and list(rows[0]) == ["word", "n"]
    escaped = [f"'{word}" if word[0] in "=+-@\t" else word for word in FORMULAS]
    assert [row["word"] for row in rows[: len(FORMULAS)]] == escaped
    assert rows[0]["n"] == "-1.5", "a number stays a number"
    assert [row["n"] for row in rows[len(FORMULAS) :]] == [str(number) for number in range(120)]


def test_the_keyboard_reaches_a_figure_its_files_and_its_table(alone):
    figure = figures(alone)[0]
    alone.execute_script("arguments[0].focus()", figure)
    assert alone.switch_to.active_element == figure and figure.get_attribute("aria-label") == "words"
    reached = []
    for _ in range(3):
        alone.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(alone.switch_to.active_element.text)
    assert sorted(reached) == ["CSV", "Numbers of this figure", "SVG"]
    box = boxes(alone)[0]
    box.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    wait(lambda: box.find_elements(By.TAG_NAME, "table"))
    cells = [row.find_elements(By.TAG_NAME, "td")[0] for row in box.find_elements(By.CSS_SELECTOR, "tbody tr")]
    assert len(cells) == 100 and [each.get_attribute("textContent") for each in cells[: len(FORMULAS)]] == FORMULAS
    assert f"The first 100 of {len(FORMULAS) + 120} rows" in box.text
    assert alone.execute_script("return window.PWN") is None


def test_formulas_are_drawn(visit):
    browser = visit("notebooks/02_world_modeling", 1300)
    assert browser.find_elements(By.CSS_SELECTOR, "mjx-container svg")
    assert "\\frac" not in browser.find_element(By.TAG_NAME, "article").text


def test_figures_take_the_colours_of_the_page(visit):
    browser = visit("notebooks/02_world_modeling", 1300)

    def ink(theme):
        browser.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
        return browser.execute_script(
            "return getComputedStyle(document.querySelector('.predact-chart svg .role-axis-label text')).fill"
        )

    light, dark = (sum(map(int, re.findall(r"\d+", ink(theme))[:3])) for theme in ("light", "dark"))
    assert light < 250 < 500 < dark


def test_figures_follow_the_width_of_the_page(visit):
    browser = visit("notebooks/02_world_modeling", 1300)
    size = "return document.querySelector('.predact-chart svg.marks').clientWidth"
    before = browser.execute_script(size)
    screen = {"width": 500, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    wait(lambda: browser.execute_script(size) < before)
    assert 250 < browser.execute_script(size) <= 500 < before


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_a_click_on_an_anchor_span_lists_its_generations(visit, width):
    browser = visit("notebooks/04_anchor_spans", width)
    said = "return [...document.querySelectorAll('.predact-chart svg text')].map(text => text.textContent)"
    assert "Generations" in browser.execute_script(said)
    spans = [each for each in browser.find_elements(By.CSS_SELECTOR, '.predact-chart svg [stroke-width="24"]')]
    assert len(spans) > 2
    place = browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center'}); const box = arguments[0].getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]",
        spans[1],
    )
    for kind in ("mousePressed", "mouseReleased"):
        event = {"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    wait(lambda: any("Generations with span 2" in text for text in browser.execute_script(said)))
    assert any("Generations with span 2" in text for text in browser.execute_script(said))


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_one_slider_moves_all_panels_of_the_frontier(visit, width):
    browser = visit("notebooks/07_discussion", width)
    read = (
        "return [...document.querySelectorAll('.predact-panels .predact-chart svg')].map(drawn =>"
        "drawn.textContent + [...drawn.querySelectorAll('path')].map(each => each.outerHTML))"
    )
    move = (
        "const [name, value] = arguments; const field = document.querySelector(`.predact-panels [name=${name}]`);"
        "field.value = value; field.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    seen = [browser.execute_script(read)]
    for name, value in (("step", 100), ("step", 0), ("step", 200), ("run", "dpo")):
        browser.execute_script(move, name, value)
        wait(lambda: all(new != old for new, old in zip(browser.execute_script(read), seen[-1], strict=True)), 5)
        seen.append(browser.execute_script(read))
    assert "step 100" in seen[1][0] and "step 0" in seen[2][0]
    assert all(len({state[panel] for state in seen}) == 5 for panel in range(4)), "each panel follows"


def test_front_page_has_a_verdict_for_what_was_run(visit):
    browser = visit("book/index", 1300)
    badges = [badge.text for badge in browser.find_elements(By.CSS_SELECTOR, "#claims .sd-badge")]
    assert badges and set(badges) <= {"holds", "fails", "undecided"}


def test_search_works_offline(browser):
    browser.get((HTML / "search.html").as_uri() + "?q=perplexity")
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#search-results li"))
    assert browser.find_elements(By.CSS_SELECTOR, "#search-results li")


def outputs(row):
    """What a chapter shows about hostile names: text, a table, a verdict, a sentence, figures, and its provenance."""
    table = pd.DataFrame({"word": HOSTILE, "n": range(len(HOSTILE))})
    names = alt.binding_select(options=HOSTILE, name=HOSTILE[0])
    chart = alt.Chart(table, width="container", title=HOSTILE[0], description=HOSTILE[-1])
    chart = (
        chart.mark_bar(size=20)
        .encode(x="n:Q", y="word:N", tooltip=["word:N"])
        .add_params(alt.param("name", value=HOSTILE[0], bind=names))
    )
    guess = {"word": HOSTILE[0], "hit": True, "p": "0.50", "offset": 1}
    text = {"prompt": HOSTILE[1], "tokens": [{"word": word, "guesses": [guess]} for word in HOSTILE]}
    token = {"space": " ", "color": "red", "peak": True, "base": 1, "rlhf": 2}
    passage = {"corpus": HOSTILE[0], "bits": 1, "base": 1, "rlhf": 2, "tokens": [token | {"word": w} for w in HOSTILE]}
    verdict = Verdict("C1", HOSTILE[0], "holds", 1.0, 1.0, 1.0, " ".join(HOSTILE), 2)
    results = [
        {"stage": word, "inputs": {word: word}, "versions": {word: word}, "device": word, "seconds": 1.0}
        | {"created": "2026-11-26T01:02:03", "sha256": "f" * 64}
        for word in HOSTILE
    ]
    settings = {"corpora": HOSTILE, "prompts": HOSTILE[0]}
    yield {"text/plain": "\n".join(HOSTILE)}
    yield {"text/html": style.table(table).to_html()}
    yield {"text/html": style.render(chart.to_dict())["text/html"]}
    yield {"text/html": markup.render("sentence.html", parts=HOSTILE)}
    yield {"text/html": markup.render("lens.html", texts=[text])}
    yield {"text/html": markup.render("passages.html", passages=[passage])}
    yield {"text/html": verdict._repr_html_(), MIME: row}
    told = {"settings": settings, "results": results, "remarks": HOSTILE, "pair": HOSTILE[0], "commit": HOSTILE[0]}
    yield {"text/html": notebook._table(told), notebook.PROVENANCE: told}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A book that was run with hostile names only: of pairs, prompts, corpora, files, stages, tokens."""
    project = tmp_path_factory.mktemp("hostile")
    for place, name in enumerate(prose(project)):
        parameters = 'scale: str = ""  # how much\nname: str = ""  # any'
        write_notebook(project / f"{name}.ipynb", parameters, title=name)
        made = nbformat.read(project / f"{name}.ipynb", 4)
        pair = HOSTILE[place % len(HOSTILE)]
        row = {"id": f"C{place + 1}", "claim": pair, "verdict": "fails", "estimate": 1.0, "low": 1.0, "high": 1.0}
        row |= {"unit": pair, "n": 9, "null": None, "protocol": "paper", "pair": pair, "scale": pair}
        made.cells[1].outputs = [nbformat.v4.new_output("display_data", data) for data in outputs(row)]
        made.cells[1].outputs += [nbformat.v4.new_output("stream", text="\n".join(HOSTILE))]
        given = {f"p{number}": word for number, word in enumerate(HOSTILE)}
        made.metadata["papermill"] = {"parameters": given, "start_time": "2026-11-26T01:02:03", "duration": 1.0}
        (project / "out/notebooks").mkdir(parents=True, exist_ok=True)
        nbformat.write(made, project / "out/notebooks" / f"{name.partition('/')[2]}.ipynb")
    return build(project, project / "out", HOSTILE[0]).parent


@pytest.mark.parametrize("page", PAGES)
def test_no_name_is_markup_or_runs(visit, hostile, page):
    browser = visit(page, 1300, hostile)
    assert browser.execute_script("return window.PWN") is None
    assert not browser.find_elements(By.CSS_SELECTOR, 'article img[src="x"], article a[href^="javascript"]')
    assert not browser.find_elements(By.CSS_SELECTOR, "mjx-container:not(.math *)")
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    if page in ("book/status", *CHAPTERS):
        shown = browser.find_element(By.TAG_NAME, "article").get_attribute("textContent")
        words = " ".join(shown.split())
        assert [word for word in HOSTILE if " ".join(word.split()) not in words] == []


def test_search_shows_hostile_names_as_text(browser, hostile):
    browser.get((hostile / "search.html").as_uri() + "?q=onerror")
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, "#search-results li"))
    assert browser.execute_script("return window.PWN") is None


SHARED, RARER = (
    "The town lies by the sea and has a small harbour.",
    "Many boats leave it early in the morning for fish.",
)
BARS = '.predact-chart svg [stroke-width="24"]'  # of the diagram of anchor spans


@pytest.fixture(scope="module")
def generations(tmp_path_factory):
    """A page about three prompts: a hundred generations of A to the first, all with a passage, 30 with another one."""
    rows = [
        ("First?", f"{SHARED} {number}. {RARER if number < 30 else f'No {number} here.'}", "A") for number in range(100)
    ]
    rows += [("First?", f"{number} ships. {SHARED}", "B") for number in range(4)]
    rows += [(prompt, f"{RARER} {number}", "A") for prompt in ("Second?", "Third?") for number in range(5)]
    names = ("prompt", "generation", "model")
    folder = tmp_path_factory.mktemp("generations")
    (folder / "a.jsonl").write_text("".join(f"{json.dumps(dict(zip(names, row, strict=True)))}\n" for row in rows))
    (folder / "page.html").write_text(standalone.page(standalone.read(folder / "a.jsonl"), "Mine"))
    return folder / "page.html"


@pytest.fixture
def opened(browser, generations):
    """A function that opens this page at an address within it, and returns when its figures are drawn."""

    def opened(place=""):
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get(generations.as_uri() + place)
        wait(lambda: all(figure.get_attribute("data-drawn") for figure in figures(browser)))
        return browser

    yield opened
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def diagram(browser):
    return browser.execute_script("return document.querySelector('.predact-chart svg').outerHTML")


def test_sliders_change_the_spans_of_a_blueprint(opened):
    browser = opened()
    move = "const field = document.querySelector(`[name=${arguments[0]}]`); field.value = arguments[1];"
    move += "field.dispatchEvent(new Event('input', {bubbles: true}))"
    bars = [len(browser.find_elements(By.CSS_SELECTOR, BARS))]
    told = [browser.find_element(By.ID, "thresholds").text]
    for name, value in (("share", 4), ("words", 4)):
        before = diagram(browser)
        browser.execute_script(move, name, value)
        wait(lambda before=before: diagram(browser) != before)
        bars.append(len(browser.find_elements(By.CSS_SELECTOR, BARS)))
        told.append(browser.find_element(By.ID, "thresholds").text)
    assert bars[0] < bars[1] > bars[2], "a smaller share shows the rarer passage, too; none has twenty words"
    assert "100%" in told[0] and "25%" in told[1] and "20" in told[2]


def test_a_table_of_a_blueprint_sorts_by_numbers_and_words(opened):
    browser = opened()
    table = browser.find_element(By.CSS_SELECTOR, "table.sorts")
    for head, column, found in (
        ("Generations", 3, [4, 5, 5, 100]),
        ("Prompt", 1, ["First?"] * 2 + ["Second?", "Third?"]),
    ):
        for order in (found, found[::-1]):
            table.find_element(By.XPATH, f".//button[text()='{head}']").click()
            cells = [
                row.find_elements(By.TAG_NAME, "td")[column].text for row in table.find_elements(By.XPATH, "tbody/tr")
            ]
            assert cells == list(map(str, order))
    assert [each.get_attribute("aria-sort") for each in table.find_elements(By.TAG_NAME, "th")].count("descending") == 1


def test_a_list_of_a_hundred_numbers_folds(opened):
    browser = opened()
    (folded,) = [each for each in browser.find_elements(By.CSS_SELECTOR, "#ngrams details") if each.is_displayed()][:1]
    head = folded.find_element(By.TAG_NAME, "summary")
    assert head.text == "0, 1, 2, 3, 4, 5, …" and folded.size["height"] <= head.size["height"] + 2
    head.click()
    assert folded.text.endswith(", 98, 99") and folded.size["height"] > 2 * head.size["height"]


def test_an_address_opens_its_prompt(opened):
    browser = opened("#prompt-2")

    def shown():
        sections = browser.find_elements(By.CSS_SELECTOR, "section[data-prompt]")
        chosen = browser.find_element(By.CSS_SELECTOR, "select[name=prompt]").get_attribute("value")
        return [each.get_attribute("id") for each in sections if each.is_displayed()], chosen

    assert shown() == (["prompt-2"], "2")
    second = diagram(browser)
    assert "Many boats" in second and "The town" not in second
    browser.find_element(By.CSS_SELECTOR, 'select[name="prompt"] option[value="1"]').click()
    wait(lambda: "The town" in diagram(browser))
    assert shown() == (["prompt-1"], "1") and browser.current_url.endswith("#prompt-1")
    browser.back()
    wait(lambda: "The town" not in diagram(browser))
    assert shown() == (["prompt-2"], "2")
    assert opened("#prompt-9").find_element(By.ID, "prompt-1").is_displayed(), "of no such prompt, the first one"


def test_models_stand_side_by_side(opened):
    browser = opened()
    first = browser.find_element(By.ID, "prompt-1")
    assert [each.text for each in first.find_elements(By.TAG_NAME, "h3")] == ["A", "B"]
    said = browser.execute_script(
        "return [...document.querySelectorAll('.predact-chart svg text')].map(e => e.textContent)"
    )
    assert {"A", "B"} <= {*said}


def test_the_deck_shows_every_slide_and_loads_nothing_from_elsewhere(browser):
    deck = HTML / "lesson.slides.html"
    if not deck.exists():
        pytest.skip("make slides makes the deck")
    loaded = [link for link in Loads(deck).found if not link.startswith(("#", "data:"))]
    assert loaded and all((HTML / link).exists() for link in loaded)
    browser.get("about:blank")
    browser.get_log("browser")
    browser.set_window_size(1280, 860)
    browser.get(deck.as_uri())
    WebDriverWait(browser, 60).until(lambda page: page.execute_script("return window.Reveal && Reveal.isReady()"))
    slides = browser.execute_script("return Reveal.getTotalSlides()")
    assert slides >= 8
    for number in range(slides):
        browser.execute_script("Reveal.slide(arguments[0])", number)
        slide = browser.execute_script("return Reveal.getCurrentSlide()")
        WebDriverWait(browser, 10).until(lambda _, shown=slide: shown.text.strip())
        assert "Out[" not in slide.text
        for figure in slide.find_elements(By.CSS_SELECTOR, ".predact-chart"):
            WebDriverWait(browser, 60).until(lambda _, drawn=figure: drawn.get_attribute("data-drawn") == "1")
            WebDriverWait(browser, 10).until(
                lambda _, drawn=figure: drawn.find_element(By.CSS_SELECTOR, ".marks").size["width"] > 250
            )
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
