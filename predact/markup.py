"""HTML from the Jinja2 templates in `templates/`; every value is escaped."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_environment = Environment(
    loader=PackageLoader("predact", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.policies["json.dumps_kwargs"] = {"allow_nan": False}  # of `tojson`: JSON has no NaN; keys keep their order


def render(template: str, /, **values: Any) -> str:
    """Return a template with its values filled in.

    Args:
        template: name of a file in `predact/templates`.
        **values: what its names stand for. A name without a value raises `jinja2.UndefinedError`.
    """
    return _environment.get_template(template).render(**values)
