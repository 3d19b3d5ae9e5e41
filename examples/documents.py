"""Documents: count the words of a text file."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from celery import shared_task

from examples.files import existing_file, write_json
from jobclaim.workers import JobTask


def count_words(text: str, *, most_common: int = 10) -> dict[str, Any]:
    """Count lines, words and characters of a text, and its most frequent words, without regard to case."""
    words = re.findall(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*", text.lower())
    return {
        "lines": len(text.splitlines()),
        "words": len(words),
        "characters": len(text),
        # equal counts in alphabetical order, so that the same text gives the same file
        "most_common": dict(sorted(Counter(words).items(), key=lambda pair: (-pair[1], pair[0]))[:most_common]),
    }


# A retry after a crash writes the same file again, so it is safe.
@shared_task(base=JobTask, bind=True, name="examples.process_document", on_orphan="retry")
def process_document(self: JobTask, path: str) -> dict[str, Any]:
    """Count the words of the text file at ``path`` into ``<path>.words.json`` beside it."""
    source = existing_file(path)
    counted = count_words(source.read_text(encoding="utf-8"))
    output = Path(f"{source}.words.json")
    write_json(output, counted)
    return {"output": str(output), "words": counted["words"]}
