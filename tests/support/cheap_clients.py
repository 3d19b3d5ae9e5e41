"""boto3 clients at half the price: botocore keeps what it finds out once in a process.

The suite makes thousands of clients. Each would read and parse the descriptions of its service, inspect the signatures
of a hundred handlers and translate the names of their events.
"""

from __future__ import annotations

import functools
from types import FunctionType
from typing import Any

import botocore.hooks
import botocore.session
from botocore.compat import accepts_kwargs
from botocore.hooks import EVENT_ALIASES, EventAliaser
from botocore.loaders import create_loader


def install() -> None:
    """Have botocore keep it, from now on and in this process."""
    botocore.session.create_loader = functools.cache(create_loader)
    vars(botocore.hooks)["accepts_kwargs"] = _accepts_kwargs
    EventAliaser.__init__ = _with_all_names  # type: ignore[method-assign]


def _accepts_kwargs(handler: Any) -> Any:
    function = getattr(handler, "__func__", handler)  # a method would keep its client alive
    return _known(function) if isinstance(function, FunctionType) else accepts_kwargs(function)


_known = functools.cache(accepts_kwargs)
_names: dict[str, str] = {}
_init = EventAliaser.__init__


def _with_all_names(self: Any, event_emitter: Any, event_aliases: Any = None) -> None:
    _init(self, event_emitter, event_aliases)
    if self._event_aliases == EVENT_ALIASES:
        self._alias_name_cache = _names
