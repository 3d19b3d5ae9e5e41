"""Hostile values: texts, numbers and structures as nobody sends them by mistake."""

from __future__ import annotations

import random
from typing import Any

CONTROLS = ("\x00", "\x07", "\x08", "\x1b]52;c;YQ==\x07", "\x1b[2J", "\x7f", "\x85", "\x9b31m", "\x1f", "\r")
TURNING = ("\u202e", "\u2066", "\u2069", "\u200f", "\u061c", "\u2028", "\ufeff", "\U000e0041", "\ud800")
MARKUP = (
    "<script>xss()</script>",
    "\"'><img src=x onerror=xss()>",
    "{{7*7}}",
    "[bold red]x[/]",
    "`rm -rf`",
    "%n%s",
    "'",
    "\\",
)
PLAIN = (
    "a",
    "shop.charge",
    "fuzz.job",
    "default",
    "mail",
    "recovery",
    "FAILED",
    "PENDING",
    "retry",
    "0",
    "-1",
    "2096-10-02",
)
NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, -(2**63), 10**30, 0.1, -0.0, 1e308, 5e-324, True, False)
NAMES = (
    "task",
    "queue",
    "id",
    "verb",
    "status",
    "cursor",
    "limit",
    "name",
    "payload",
    "reason",
    "args",
    "jobclaim",
    "since",
)


class Draw:
    """Values drawn from a random generator."""

    def __init__(self, random_: random.Random) -> None:
        self.random = random_

    def text(self, longest: int = 6) -> str:
        """A text of a few hostile pieces; rarely a long one."""
        pick, random_ = self.random.choice, self.random
        pieces = [pick(pick((CONTROLS, TURNING, MARKUP, PLAIN, PLAIN))) for _ in range(random_.randrange(longest))]
        text = "".join(pieces)
        return text * random_.randrange(1, 3_000) if random_.random() < 0.02 else text

    def name(self) -> str:
        """A name that something has, or a hostile one."""
        return self.random.choice(NAMES) if self.random.random() < 0.8 else self.text(3)

    def value(self, depth: int = 3) -> Any:
        """A JSON value."""
        chance = self.random.random()
        if depth and chance < 0.15:
            return [self.value(depth - 1) for _ in range(self.random.randrange(4))]
        if depth and chance < 0.3:
            return {self.name(): self.value(depth - 1) for _ in range(self.random.randrange(4))}
        if chance < 0.45:
            return self.random.choice(NUMBERS)
        if chance < 0.5:
            return None
        if chance < 0.51:
            deep: Any = 1
            for _ in range(self.random.randrange(1, 400)):
                deep = [deep]
            return deep
        return self.text()

    def broken(self, data: bytes) -> bytes:
        """Bytes with some of them changed, cut, doubled or inserted."""
        made = bytearray(data)
        for _ in range(self.random.randrange(1, 6)):
            at = self.random.randrange(len(made) + 1)
            how = self.random.randrange(4)
            if how == 0 and at < len(made):
                made[at] = self.random.randrange(256)
            elif how == 1:
                del made[at : at + self.random.randrange(1, 40)]
            elif how == 2:
                made[at:at] = made[max(0, at - 20) : at]
            else:
                made[at:at] = self.random.randbytes(self.random.randrange(1, 8))
        return bytes(made)
