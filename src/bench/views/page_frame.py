"""Render a template and plain data as one self-contained HTML page."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bench.escaping import pieces, visible
from bench.views.viridis import heat_colour, text_on
from bench.writing import encode

if TYPE_CHECKING:
    from PIL import Image

_FOLDER = Path(__file__).parent
_QUALITY = 85  # of JPEG


def render_page(template: str, *, script: str | None = None, **values: Any) -> str:
    """Render `template` with `values`; `script` is a file of this package that the page runs.

    The content security policy allows that script and no other, and forbids the page to load anything.
    """
    text = (_FOLDER / script).read_text(encoding="utf-8") if script else ""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    policy = f"'sha256-{digest}'" if text else "'none'"
    return _environment().get_template(template).render(**values, script=Markup(text), script_policy=policy)


def embedded(picture: "Image.Image") -> str:
    """The address of a picture whose bytes are part of the page."""
    content = encode(picture, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_visible,
    )
    style = Markup((_FOLDER / "style.css").read_text(encoding="utf-8"))
    environment.globals.update(style=style, heat_colour=heat_colour, text_on=text_on)
    environment.filters.update(breakable=breakable, code=code)
    return environment


def breakable(name: str) -> Markup:
    """A name that may break after an underscore, where there is little room."""
    return Markup("_<wbr>").join(visible(name).split("_"))


def code(text: str) -> Markup:
    """A text whose words between backticks are code."""
    parts = pieces(visible(text))
    return Markup("").join(Markup("<code>{}</code>").format(p.text) if p.is_code else escape(p.text) for p in parts)


def _visible(value: Any) -> Any:
    """Any text on a page, with characters that are invisible or change its direction written as escapes."""
    return visible(value, lines=True) if type(value) is str else value
