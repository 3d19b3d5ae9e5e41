"""moto at half the price: it works out once under which names it finds a member, and how large an item is.

For every member of every answer, and each value of DynamoDB has ten, moto makes six objects that look for other names
of the member; and for every attribute that it writes it measures all the others. Each block of `mock_aws` lists 1,300
addresses for the library `requests`, which nothing here calls AWS by: one pattern refuses them all.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from moto.core import models, serialize, utils
from moto.dynamodb.models.dynamo_type import LimitedSizeDict
from moto.dynamodb.parsing import ast_nodes

SURELY_ALLOWED = 50_000
"""Bytes up to which an item is not measured again; moto refuses one of 405,000."""
MOST_BYTES = 4
"""Of a character."""

_traverser: Any = vars(ast_nodes)["DepthFirstTraverser"]
_absent = object()
_keys: dict[Any, tuple[str, ...]] = {}
_nodes: dict[type, tuple[type, ...]] = {}
_picked_by_moto = serialize.AttributePicker.__call__
_nodes_of_moto = _traverser.nodes_to_be_processed
_set_by_moto = LimitedSizeDict.__setitem__


def install() -> None:
    """Have moto keep it, from now on and in this process."""
    patched: Any = serialize.AttributePicker
    patched.__call__ = _picked
    _traverser.nodes_to_be_processed = _known_nodes
    LimitedSizeDict.__setitem__ = _set  # type: ignore[method-assign]
    vars(models)["backend_index"] = SimpleNamespace(backend_url_patterns=())


def _picked(self: Any, context: Any) -> Any:
    found = context.obj
    if type(found) is not dict or self.response_transformers:  # the names depend on the object, or more is to be done
        return _picked_by_moto(self, context)
    which = (type(self), context.shape, context.key)
    if (keys := _keys.get(which)) is None:
        keys = _keys[which] = tuple(dict.fromkeys(self.get_possible_keys(context)))
    for key in keys:
        value = utils.get_value(found, key, _absent)
        if value is not _absent:
            return value
    return None


def _known_nodes(self: Any) -> tuple[type, ...]:
    if (nodes := _nodes.get(type(self))) is None:
        nodes = _nodes[type(self)] = _nodes_of_moto(self)
    return nodes


def _set(self: Any, key: str, value: Any) -> None:
    most = getattr(self, "_most", 0) + _at_most(key, value)
    if most > SURELY_ALLOWED:  # some of it has replaced the rest
        most = sum(map(_at_most, self, self.values())) + _at_most(key, value)
    if most > SURELY_ALLOWED:
        _set_by_moto(self, key, value)
    else:
        dict.__setitem__(self, key, value)
    self._most = most


def _at_most(key: str, value: Any) -> int:
    return MOST_BYTES * (len(key) + len(str(getattr(value, "value", value))))
