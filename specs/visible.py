"""The only place where characters that control a terminal or reorder text are made visible.

Exceptions, task names, reasons and tracebacks come from outside. They may contain terminal commands (write to the
clipboard, hide a line, fake a link) or the Unicode controls that change the direction of text. Every output, terminal,
readable log, page and JSON, shows them as the escapes of Python and JSON: ``\\x1b``, ``\\u202e``.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any, Final

UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction controls
    "\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # Unicode line breaks, and invisible characters
    "\ud800-\udfff]"  # lone surrogates, which no output can carry
)
"""Characters that are never written unchanged. Newline and tab stay, so that tracebacks remain readable."""


def visible(text: str) -> str:
    r"""Show every control character as an escape, ``\x1b`` or ``\u202e``; newlines and tabs stay."""
    return UNSAFE.sub(_escape, text)


def visible_json(text: str) -> str:
    r"""Escape them in JSON with JSON's own escapes (``\u001b``), so that a parser reads the original text."""
    return UNSAFE.sub(_json_escape, text)


def visible_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters in a log event's names and texts; a structlog processor that runs before the renderer.

    The renderer's colors stay, and it writes values that are not text with ``repr``. A JSON renderer escapes by
    itself.
    """
    shown = {visible(name): visible(value) if isinstance(value, str) else value for name, value in event.items()}
    event.clear()
    event.update(shown)
    return event


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
