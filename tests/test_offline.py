"""What the pages load stands beside them; nothing is fetched from elsewhere."""

import hashlib
import re
from pathlib import Path

import altair
import yaml

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "book" / "_static"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]


def test_configured_files_exist():
    scripts = [entry[0] for entry in CONFIG["html_js_files"]] + [CONFIG["mathjax_path"]] + CONFIG["html_css_files"]
    assert all((STATIC / name).is_file() for name in scripts)


def test_extensions_that_load_from_elsewhere_are_off():
    assert not {"sphinx_thebe", "sphinx.ext.intersphinx"} & set(CONFIG["extensions"])
    assert CONFIG["nb_ipywidgets_js"] == {}


def test_own_scripts_and_styles_fetch_nothing():
    for path in [*STATIC.glob("*.js"), *STATIC.glob("*.css"), *STATIC.glob("*.svg")]:
        remote = re.findall(r"(?:https?:)?//[\w.-]+\.\w+|@import", path.read_text())
        assert [link for link in remote if "www.w3.org" not in link] == [], path.name


def test_vega_bundle_is_of_altairs_version_and_keeps_its_names_to_itself():
    bundle = (STATIC / "vendor" / "vega.js").read_text()
    assert bundle.startswith("(() => {\n") and bundle.endswith("})();\n")
    assert "window.vegaEmbed=" in bundle
    named = re.search(r"Vega-Lite \((\d+\.\d+)", (STATIC / "vendor" / "LICENSES.md").read_text())[1]
    assert altair.SCHEMA_VERSION.startswith(f"v{named}")
    assert f"vega-lite/v{named}" in bundle or f'"{named}.' in bundle


def test_every_vendored_file_has_its_licence_noted():
    notes = (STATIC / "vendor" / "LICENSES.md").read_text()
    assert all(f"`{path.name}`" in notes for path in (STATIC / "vendor").glob("*.js"))


def test_what_only_tests_use_is_as_its_notes_say():
    folder = ROOT / "tests" / "vendor"
    for path in folder.glob("*.js"):
        noted = re.search(rf"`{path.name}`.*`(\w{{64}})`", (folder / "LICENSES.md").read_text())
        assert noted and hashlib.sha256(path.read_bytes()).hexdigest() == noted[1]
