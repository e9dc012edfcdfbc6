"""The laboratory in a real JupyterLab with a running kernel, seen by headless Chromium, the network cut.

Not part of `make test`: it needs chromium and chromedriver, and the extra `lab`. With PICTURES=FOLDER it leaves pictures
of every tab there, wide and phone.

.venv/bin/pytest tests/laboratory.py -n 0
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from selenium import webdriver
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
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.2)
    return found


def run_all(browser):
    """Choose Run > Run All Cells, and wait for the tabs."""
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, ".jp-Notebook .jp-CodeCell"), "the notebook opens")
    wait(lambda: "Idle" in browser.page_source or "idle" in browser.page_source, "the kernel starts")
    time.sleep(3)
    browser.execute_script("document.querySelectorAll('.jp-Dialog-button.jp-mod-reject').forEach(each => each.click())")
    bar = browser.find_elements(By.CSS_SELECTOR, ".lm-MenuBar-item")
    next(item for item in bar if item.text == "Run").click()
    items = wait(
        lambda: browser.find_elements(By.CSS_SELECTOR, ".lm-Menu-item[data-command='runmenu:run-all']"), "menu"
    )
    items[0].click()
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, ".jupyter-widget-tab"), "the laboratory appears")
