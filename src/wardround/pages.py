"""A page in one HTML file that loads nothing and runs nothing.

Its content security policy allows exactly the style sheet inside it, by hash. Values may hold
anything: all of them go through the template's escaping.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Template


class Page:
    """The template ``NAME.html.j2`` and its style sheet ``NAME.css``, side by side in ``folder``.

    ``base`` is a sheet that several pages begin with. The template is given ``style`` and
    ``style_hash`` besides the values of :meth:`render`. All files are read once, when the first
    page is rendered.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        base: Path | None = None,
        **filters: Callable[..., object],
    ) -> None:
        self._folder = folder
        self._name = name
        self._sheets = [one for one in (base, folder / f"{name}.css") if one is not None]
        self._filters = filters

    def render(self, **values: object) -> str:
        """The whole page as text; the same values always give the same page."""
        style, style_hash = self._style
        return self._template.render(style=style, style_hash=style_hash, **values)

    @cached_property
    def _style(self) -> tuple[Markup, str]:
        text = "".join(sheet.read_text(encoding="utf-8") for sheet in self._sheets)
        hashed = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return Markup(text), f"sha256-{hashed}"  # noqa: S704 - our own file, not input

    @cached_property
    def _template(self) -> Template:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(self._folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(self._filters)
        return environment.get_template(f"{self._name}.html.j2")
