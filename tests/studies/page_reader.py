"""Reads a page as a test wants it: its words, its addresses, its tags, and pictures without words."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path


class Reader(HTMLParser):
    """Collects every address, every text and every tag of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.missing_alt: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        if tag == "img" and not given.get("alt"):
            self.missing_alt.append(str(given)[:80])
        if tag == "svg" and not (given.get("aria-label") or given.get("aria-hidden")):
            self.missing_alt.append(str(given)[:80])

    def handle_data(self, data):
        self.words += data


def self_contained(path: Path) -> str:
    """The words of a page, once it was found to need nothing else, to tell its pictures in words, and to be drawn."""
    page = path.read_text(encoding="utf-8")
    read = Reader(page)
    assert all(address.startswith("data:image/png;base64,") for address in read.addresses)
    assert not {"link", "iframe", "object", "embed", "script"} & set(read.tags)
    assert "@import" not in page
    assert "url(" not in page
    assert read.missing_alt == []
    assert len(page) < 5_000_000
    for chart in re.findall(r"<svg[^>]*>.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(chart)
    return " ".join(read.words.split())
