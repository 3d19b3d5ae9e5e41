"""Bodies of requests are the same JSON with orjson and without."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs.storage import bodies

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(params=[True, False], ids=["orjson", "json"])
def orjson(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in turn."""
    monkeypatch.setattr(bodies, "ORJSON", request.param)


@given(value=VALUES)
def test_a_body_is_read_back_as_it_was(value: object) -> None:
    for way in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bodies, "ORJSON", way)
            written = bodies.to_json(value)
        assert json.loads(written) == value


@pytest.mark.usefixtures("orjson")
def test_what_has_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        bodies.to_json({"B": b"x"})
    with pytest.raises(ValueError, match=r"."):
        bodies.from_json(b"<html>")


@pytest.mark.parametrize("installed", [True, False])
def test_orjson_alone_is_asked_where_it_is_installed_and_not_missed_where_it_is_not(
    installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "ORJSON", installed)
    monkeypatch.delattr(bodies, "json" if installed else "orjson")
    value = {"a": [1, "é"]}
    assert bodies.from_json(bodies.to_json(value)) == value
