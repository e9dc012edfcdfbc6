"""Figures as pictures: for two widths, with their description, and as data."""

import re
from base64 import b64decode

import altair as alt
import pandas as pd

from predact.figures import style
from predact.lab import pictures
from tests.made import HOSTILE


def test_a_figure_is_a_picture_for_each_width_and_what_it_says_is_no_markup():
    said = "".join([*HOSTILE, *map(chr, [0, 27, 0xFFFE]), "😀"])
    text = alt.Chart(pd.DataFrame({"said": [said]})).mark_text(limit=100).encode(text="said:N")
    page = pictures.pictures([style.figure([text], [], description=said)] * 2)
    assert page.count("<picture>") == page.count("<img src=") == 2 and "<script" not in page and 'onerror="' not in page
    wide, phone = (
        b64decode(re.search(rf'{name}="data:image/svg\+xml;base64,([^"]+)"', page)[1]).decode()
        for name in ("src", "srcset")
    )
    widths = [float(re.search(r'width="([\d.]+)"', svg)[1]) for svg in (wide, phone)]
    assert widths[0] > 600 and widths[1] < 320 and "<script" not in wide and "&lt;script&gt;" in wide
