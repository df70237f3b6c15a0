"""HTML that is escaped by construction: text becomes markup only through :func:`element`."""

from __future__ import annotations

import base64
import hashlib
import html
import json

# Elements without content and without an end tag.
_VOID = frozenset({"meta", "img", "input", "br"})


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


def element(tag: str, /, *children: object, **attributes: object) -> Markup:
    """Return an element; children that are not :class:`Markup` are escaped, None is omitted.

    Parameters
    ----------
    tag
        Name of the element, such as "p".
    children
        Content of the element.
    attributes
        Attributes by name: an underscore at the end is dropped, and others become hyphens. True is
        an attribute without a value; None and False are omitted.
    """
    words = [tag, *(_attribute(name, value) for name, value in attributes.items())]
    start = "<" + " ".join(word for word in words if word) + ">"
    return Markup(start) if tag in _VOID else Markup(f"{start}{join(*children)}</{tag}>")


def join(*children: object) -> Markup:
    """Return children one after the other, escaped where they are not markup."""
    known = (child for child in children if child is not None)
    return Markup("".join(one if isinstance(one, Markup) else _escaped(one) for one in known))


def data_block(name: str, value: object) -> Markup:
    """Return plain data for the page's script; the browser does not execute them."""
    # Escaping ensures that nothing in the data can end the element or begin another.
    text = json.dumps(value).replace("<", "\\u003c").replace("&", "\\u0026")
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')


def source_hash(text: str) -> str:
    """Return the Content-Security-Policy source of a script or a style within the page."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    word = name.rstrip("_").replace("_", "-")
    return word if value is True else f'{word}="{_escaped(value)}"'


def _escaped(value: object) -> str:
    """Return text for HTML, without bytes that are not UTF-8 and without control characters."""
    whole = str(value).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return html.escape("".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in whole))
