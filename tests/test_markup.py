"""Templates: values are text, whatever they say; a name without a value is an error."""

import jinja2
import pytest

from predact import markup

NASTY = "<script>alert(1)</script> & \"q\" 'a'"


@pytest.fixture
def template(monkeypatch):
    """A function that renders a template from its text."""

    def render(text, **values):
        monkeypatch.setattr(markup._environment, "loader", jinja2.DictLoader({"toy.html": text}))
        monkeypatch.setattr(markup._environment, "cache", None)
        return markup.render("toy.html", **values)

    return render


def test_values_are_escaped_in_texts_and_attributes(template):
    page = template('<b title="{{ x }}">{{ x }}</b>', x=NASTY)
    assert page.count("<") == 2 and page.count('"') == 2 and page.count("&lt;script&gt;") == 2


def test_data_cannot_end_a_script_and_keeps_the_order_of_its_keys(template):
    page = template("<script>{{ x | tojson }}</script>", x={"b": NASTY, "a": 1})
    assert page.count("</script>") == 1 and page.index('"b"') < page.index('"a"')
    with pytest.raises(ValueError):
        template("{{ x | tojson }}", x=float("nan"))


def test_a_name_without_a_value_is_an_error(template):
    with pytest.raises(jinja2.UndefinedError, match="'y' is undefined"):
        template("{{ x }} {{ y }}", x=1)


def test_lines_of_statements_leave_no_lines(template):
    assert template("<ul>\n  {% for x in found %}\n<li>{{ x }}</li>\n  {% endfor %}\n</ul>", found=[1, 2]) == (
        "<ul>\n<li>1</li>\n<li>2</li>\n</ul>"
    )
