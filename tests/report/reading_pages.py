"""Reads a report's HTML with the standard library's parser, which does not know how it is made."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "img", "input", "br"}


@dataclass
class Found:
    """An element: tag, attributes, and the text in it."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""
    inside: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """All elements of a page, in their order; wrong nesting is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[Found] = []
        self._open: list[Found] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        assert len(dict(attrs)) == len(attrs)
        one = Found(tag, dict(attrs), inside=[outer.tag for outer in self._open])
        self.found.append(one)
        if tag not in VOID:
            self._open.append(one)

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        """Keep text for all elements that it is in."""
        for one in self._open:
            one.text += data

    def all(self, tag: str) -> list[Found]:
        """Return the elements of a kind."""
        return [one for one in self.found if one.tag == tag]

    def by_id(self, name: str) -> Found:
        """Return the element with an id."""
        (one,) = [one for one in self.found if one.attributes.get("id") == name]
        return one

    @property
    def text(self) -> str:
        """All that a reader sees."""
        (body,) = self.all("body")
        return body.text

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script shows."""
        return json.loads(self.by_id("data").text)

    @property
    def policy(self) -> dict[str, list[str]]:
        """The Content-Security-Policy, by directive."""
        (meta,) = [x for x in self.all("meta") if "http-equiv" in x.attributes]
        assert meta.attributes["http-equiv"] == "Content-Security-Policy"
        parts = [part.split() for part in str(meta.attributes["content"]).split(";")]
        return {name: values for name, *values in parts}


def hash_of(text: str) -> str:
    """Return the source expression of a text, as the standard defines it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
