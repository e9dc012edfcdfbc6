"""Figures of the laboratory as pictures: JupyterLab draws no specification of this version of Vega-Lite."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

import altair as alt
import vl_convert

from predact import markup

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
WIDTHS = {"wide": 640, "phone": 270}  # pixels of the plots themselves


def pictures(charts: Iterable[alt.LayerChart]) -> str:
    """Return figures as HTML: SVG for a wide and for a narrow page, each with its description; nothing is fetched.

    A picture is a file within the page: what a model has written in it is neither markup nor a script.

    Args:
        charts: as the book draws them; their controls stand as they are at first.
    """
    return markup.render("pictures.html", figures=[_drawn(chart.to_dict()) for chart in charts])


def _drawn(spec: dict) -> dict[str, str]:
    plain = _plain(spec)
    drawn = {name: vl_convert.vegalite_to_svg(json.dumps(plain | {"width": each})) for name, each in WIDTHS.items()}
    told = {name: f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}" for name, svg in drawn.items()}
    return told | {"description": spec.get("description", "")}


def _plain(value: Any) -> Any:
    """The same with � for characters that XML does not know: `vl_convert` would end the whole process at one."""
    if isinstance(value, str):
        return _NOT_XML.sub("\ufffd", value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
