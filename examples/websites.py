"""Websites: titles and links of a saved page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from celery import shared_task

from examples.files import existing_file, write_json
from jobclaim.workers import JobTask


class PageParser(HTMLParser):
    """Collects the title and the links of one page.

    Attributes
    ----------
    title : str
        Text of ``<title>``.
    links : list of dict
        ``url`` and ``text`` of every ``<a href>``, in the order of the page.
    """

    def __init__(self, base_url: str = "") -> None:
        super().__init__()
        self.title = ""
        self.links: list[dict[str, str]] = []
        self._base_url = base_url
        self._inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a title or a link."""
        given = dict(attrs)
        if tag == "base" and given.get("href"):
            self._base_url = urljoin(self._base_url, given["href"] or "")
        elif tag == "title" and not self.title:
            self._inside = "title"
        elif tag == "a" and given.get("href"):
            self._inside = "a"
            self.links.append({"url": urljoin(self._base_url, given["href"] or ""), "text": ""})

    def handle_endtag(self, tag: str) -> None:
        """Close the title or the link."""
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data: str) -> None:
        """Add text to the open title or link."""
        if self._inside == "title":
            self.title += data
        elif self._inside == "a":
            self.links[-1]["text"] += data


def extract(html: str, base_url: str = "") -> dict[str, Any]:
    """Return title and links of a page; resolve relative links against ``base_url`` or the page's ``<base>``."""
    parser = PageParser(base_url)
    parser.feed(html)
    parser.close()
    links = [{"url": link["url"], "text": _collapsed(link["text"])} for link in parser.links]
    return {"title": _collapsed(parser.title), "links": links}


@shared_task(base=JobTask, bind=True, name="examples.scrape_website", on_orphan="retry")
def scrape_website(self: JobTask, path: str, base_url: str = "") -> dict[str, Any]:
    """Write title and links of the HTML file at ``path`` into ``<path>.links.json`` beside it."""
    source = existing_file(path)
    page = extract(source.read_text(encoding="utf-8", errors="replace"), base_url)
    output = Path(f"{source}.links.json")
    write_json(output, page)
    return {"output": str(output), "title": page["title"], "links": len(page["links"])}


def _collapsed(text: str) -> str:
    return " ".join(text.split())
