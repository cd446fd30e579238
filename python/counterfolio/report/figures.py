"""Plots as SVG that stands in a page."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from counterfolio.exceptions import MissingExtraError

try:
    import markupsafe
    import matplotlib as mpl
except ImportError as error:
    text = 'the report needs matplotlib and jinja2; pip install "counterfolio[report]"'
    raise MissingExtraError(text) from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def inline_svg(draw: Callable[[], Axes], name: str) -> markupsafe.Markup:
    """Draw a plot as SVG to stand in a page: no fixed size, ids of its own, the same each time."""
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10}
    buffer = io.BytesIO()
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The reader's browser has glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure: Any = draw().figure
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{XLINK}}}href":
                element.set(key, f"#{name}-{value.removeprefix('#')}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    width = root.attrib.pop("width").removesuffix("pt")
    root.attrib.pop("height")
    root.set("style", f"width:100%;max-width:{float(width) * 4 / 3:.0f}px")
    root.set("role", "img")
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return markupsafe.Markup(ElementTree.tostring(root, encoding="unicode"))
