"""The laboratory in a real JupyterLab with a running kernel, seen by headless Chromium, the network cut.

Not part of `make test`: it needs chromium, chromedriver and the extra `lab`. With PICTURES=FOLDER it leaves pictures of
every tab there, wide and phone.

.venv/bin/pytest tests/laboratory.py -n 0
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

ROOT = Path(__file__).parents[1]
OPTIONS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --force-device-scale-factor=1""".split()
CUT = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1", "--proxy-server=127.0.0.1:9"]
PATIENCE = 300  # seconds, on a slow machine
WIDE, PHONE = 1280, 360


@pytest.fixture(scope="module")
def address():
    """Where `predact lab` says that it is; what it starts has no network, nor a browser to open."""
    nowhere = "http://127.0.0.1:9"
    cut = {"BROWSER": "true", "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "NO_PROXY": "localhost,127.0.0.1"}
    command = [sys.executable, "-m", "predact", "lab"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | cut, stdout=subprocess.PIPE, text=True) as lab:
        yield re.search(r"http://\S+", lab.stdout.readline())[0]
        lab.terminate()


@pytest.fixture(scope="module")
def browser(address):
    """The laboratory, with all cells run."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in OPTIONS + CUT:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        sized(driver, WIDE)
        driver.get(address)
        run_all(driver)
        yield driver
    finally:
        driver.quit()


def sized(browser, width):
    screen = {"width": width, "height": 1400, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    time.sleep(1)


def wait(condition, what, seconds=PATIENCE):
    """Return what a condition comes to as soon as it holds; of a page that changes meanwhile, look again."""
    end = time.monotonic() + seconds
    while True:
        with suppress(StaleElementReferenceException):
            if found := condition():
                return found
        assert time.monotonic() < end, what
        time.sleep(0.2)


def run_all(browser):
    """Choose Run > Run All Cells, and wait for the tabs."""
    wait(lambda: "| Idle" in browser.page_source, "the kernel starts")
    next(item for item in browser.find_elements(By.CSS_SELECTOR, ".lm-MenuBar-item") if item.text == "Run").click()
    entry = ".lm-Menu-item[data-command='runmenu:run-all']"
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, entry), "the menu opens")[0].click()
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, ".jupyter-widget-tab"), "the laboratory appears")


class Tab:
    """A tab of the laboratory, as a reader uses it."""

    def __init__(self, browser, name):
        self.browser = browser
        titles = browser.find_elements(By.CSS_SELECTOR, ".jupyter-widget-tab .lm-TabBar-tab")
        title = next(each for each in titles if each.text == name)
        browser.execute_script("arguments[0].scrollIntoView()", title)
        title.click()
        panels = browser.find_elements(By.CSS_SELECTOR, ".widget-tab-contents > .jupyter-widgets")
        (self.panel,) = wait(lambda: [each for each in panels if each.is_displayed()], name)

    def find(self, css):
        return [each for each in self.panel.find_elements(By.CSS_SELECTOR, css) if each.is_displayed()]

    def button(self, name):
        return next(each for each in self.find("button") if each.text == name)

    def press(self, name):
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.button(name))
        self.button(name).click()

    def control(self, label, css):
        return self.panel.find_element(By.XPATH, f".//label[.='{label}']/..").find_element(By.CSS_SELECTOR, css)

    def type(self, label, text, css="textarea"):
        box = self.control(label, css)
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(text or Keys.DELETE)

    def slide(self, label, *keys):
        """Move a slider by the keyboard."""
        handle = self.control(label, ".noUi-handle")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", handle)
        handle.send_keys(*keys)

    @property
    def said(self):
        return self.find("p[role=status]")[0].text

    def count(self, css):
        return len(self.find(css))

    def picture(self, name):
        if folder := os.environ.get("PICTURES"):
            sized(self.browser, WIDE)
            self.browser.execute_script("arguments[0].scrollIntoView()", self.panel)
            time.sleep(2)
            self.browser.save_screenshot(f"{folder}/{name}-wide.png")
            sized(self.browser, PHONE)
            for part, block in (("top", "start"), ("end", "end")):
                self.browser.execute_script(f"arguments[0].scrollIntoView({{block: '{block}'}})", self.panel)
                time.sleep(2)
                self.browser.save_screenshot(f"{folder}/{name}-phone-{part}.png")
            sized(self.browser, WIDE)


ANSWER = "section li"
CHART = "picture img"
SIX = (Keys.HOME, *(Keys.ARROW_RIGHT,) * 4)  # of a slider that begins with 2


@pytest.mark.parametrize("question", ["Where does the river begin?", "What is eaten in winter? <b>Say</b>."])
def test_answers_appear_as_they_are_sampled_then_what_they_share(browser, question):
    tab = Tab(browser, "Ask")
    tab.type("Question", question)
    tab.slide("Answers", *SIX)
    tab.press("Ask")
    wait(lambda: 0 < tab.count(ANSWER) < 12, "some answers, not all")
    assert tab.button("Stop").is_enabled() and not tab.button("Ask").is_enabled()
    wait(lambda: tab.said.startswith("12 answers"), "all answers, compared")
    assert tab.count(ANSWER) == 12 and tab.count("section") == 2
    wait(lambda: tab.count(CHART) >= 3, "the figures are drawn")
    assert "commonest 10-gram" in tab.find("table")[0].text
    tab.picture("ask")


@pytest.mark.parametrize("turn", [1, 2])
def test_stop_stops_and_the_button_goes_on(browser, turn):
    tab = Tab(browser, "Ask")
    tab.type("Question", f"Who lives by the sea, {turn}?")
    tab.slide("Answers", Keys.END)
    tab.press("Ask")
    wait(lambda: tab.count(ANSWER) > 0, "the first answers")
    tab.press("Stop")
    wait(lambda: tab.said.startswith("Stopped."), "it says that it has stopped", 30)
    found = tab.count(ANSWER)
    time.sleep(5)
    assert tab.count(ANSWER) == found < 200 and tab.button("Ask").is_enabled() and not tab.button("Stop").is_enabled()
    tab.slide("Answers", *SIX)


@pytest.mark.parametrize("text", ["The river runs to the sea.", "A <i>cat</i> sat on the mat\nand saw a dog."])
def test_a_text_is_read_by_both_models(browser, text):
    tab = Tab(browser, "Read")
    tab.type("Text", "")
    tab.press("Read")
    wait(lambda: tab.said.startswith("text: write something"), "a mistake is a sentence")
    tab.type("Text", text)
    tab.press("Read")
    wait(lambda: not tab.said and tab.count(".predact-reading [tabindex]") > 2, "the text, token by token")
    token = tab.find(".predact-reading [tabindex]")[2]
    assert not tab.find(".told")
    ActionChains(browser).move_to_element(token).perform()
    (told,) = wait(lambda: tab.find(".told"), "what was expected")
    assert told.text.count("rank") == 2 and told.text.count("%") >= 40
    tab.picture("read")
    wait(lambda: tab.count(CHART) == 1, "the running ratio")
    tab.type("Text", "")


@pytest.mark.parametrize("turn", [1, 2])
def test_a_reader_plays_against_both_models(browser, turn):
    tab = Tab(browser, "Guess")
    tab.press("Draw a passage")
    wait(lambda: tab.control("Passage", "textarea").get_attribute("value"), "a passage")
    tab.press("Begin")
    wait(lambda: "Word 1 of" in tab.panel.text, "the first word is to be guessed")
    assert not tab.find("table")
    tab.type("Your guess", "zzz", "input")
    tab.control("Your guess", "input").send_keys(Keys.ENTER)
    wait(lambda: "Not zzz." in tab.panel.text, "it is not the right one")
    assert tab.panel.text.count("zzz") == 1, "guessed once"
    tab.press("Show it")
    wait(lambda: "Word 2 of" in tab.panel.text, "the next word")
    cells = [row.text.split() for row in tab.find("tbody tr")]
    assert [row[0] for row in cells] == ["you", "Base", "RLHF"] and cells[0][1:] == ["1", "0", "1+", "1"]
    wait(lambda: tab.count(CHART) == 1, "the figure is drawn")
    tab.picture("guess")


@pytest.mark.parametrize("question", ["What grows in the garden?", "Who mends the boats?"])
def test_the_question_is_asked_again_as_the_sliders_move(browser, question):
    tab = Tab(browser, "Steer")
    tab.type("Question", question)
    tab.slide("Answers", *SIX)
    tab.press("Ask again")
    wait(lambda: tab.count("tbody tr") == 1 and tab.button("Ask again").is_enabled(), "the first place")
    tab.slide("Weight of it", Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    wait(lambda: tab.count("tbody tr") == 2 and tab.button("Ask again").is_enabled(), "a place more")
    places = tab.count("tbody tr")
    tab.slide("Mix Base with", Keys.ARROW_LEFT)
    wait(lambda: tab.count("tbody tr") > places and tab.button("Ask again").is_enabled(), "another model")
    places = tab.count("tbody tr")
    began = time.monotonic()
    tab.slide("Mix Base with", Keys.ARROW_RIGHT)
    wait(lambda: "RLHF" in tab.find("section b")[0].text, "where it was before")
    assert time.monotonic() - began < 10 and tab.count("tbody tr") == places, "kept, not sampled again"
    wait(lambda: tab.count(CHART) == 1, "the figure is drawn")
    tab.picture("steer")
    tab.slide("Weight of it", Keys.HOME)
    wait(lambda: not tab.button("Ask again").is_enabled(), "it begins")
    tab.press("Stop")
    wait(lambda: tab.said.startswith("Stopped."), "it stops", 30)
    tab.slide("Weight of it", Keys.END)
    wait(lambda: tab.button("Ask again").is_enabled(), "it has done")


@pytest.mark.parametrize("name", ["Ask", "Read", "Guess", "Steer"])
def test_on_a_phone_the_widgets_stand_one_below_the_other(browser, name):
    sized(browser, PHONE)
    try:
        tab = Tab(browser, name)
        boxes = [each.rect for each in tab.find(".widget-slider, .widget-dropdown, .widget-textarea, .widget-text")]
        assert boxes and all(box["x"] >= 0 and box["x"] + box["width"] <= PHONE for box in boxes)
        ends = [box["y"] + box["height"] for box in boxes]
        assert all(below["y"] >= end for below, end in zip(boxes[1:], ends, strict=False)), "no two side by side"
        wide = "return arguments[0].scrollWidth - arguments[0].clientWidth"
        assert browser.execute_script(wide, tab.panel) <= 1, name
    finally:
        sized(browser, WIDE)


def test_nothing_was_asked_of_the_network(browser):
    told = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in told if each["method"] == "Network.requestWillBeSent"]
    assert asked
    assert [url for url in asked if not url.startswith(("http://localhost:", "data:", "blob:"))] == []
