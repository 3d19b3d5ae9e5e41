"""The stores that the contract of `JobRepo` is run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from moto import mock_aws

from jobclaim.jobs.clock import system_clock
from jobclaim.jobs.storage.lean import LeanClient
from tests.contract.stores import Store
from tests.simulation.client import ModelClient
from tests.support.clock import ManualClock
from tests.support.endpoints import Endpoint

MOTO, REAL, MODEL = "moto", "dynamodb-local", "model"


@contextmanager
def open_store(name: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Give a store with an empty job table."""
    if name == MOTO:
        with mock_aws():
            yield Store(name, boto3.client("dynamodb"), present())
    elif name == MODEL:
        clock = present()
        yield Store(name, ModelClient(clock), clock)
    else:
        opened: Store = request.getfixturevalue("real_store")
        opened.clock, settings = present(), opened.settings
        yield opened
        opened.settings = settings  # one store for the session: what a test set would hold for all that follow
        opened.empty()


@pytest.fixture(scope="session")
def real_store(dynamodb_local: Endpoint) -> Store:
    """One table in DynamoDB Local for all tests, one after the other: making one for each takes longer than a test.

    Its repos use the lean client, as deployed ones do; those on moto use boto3's.
    """
    client = dynamodb_local.client(max_pool_connections=64)
    return Store(REAL, client, present(), endpoint_url=dynamodb_local.endpoint_url, line=LeanClient.of(client))


def present() -> ManualClock:
    """A clock that starts now, for DynamoDB Local really deletes what expired by the machine's clock."""
    return ManualClock(system_clock())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of the contract on the simulation's model and on DynamoDB Local, some on moto as well.

    moto is slow and its conditional writes are not atomic; modules marked ``embedded`` run on it too.
    """
    if "store" in metafunc.fixturenames:
        stores = [MODEL, pytest.param(REAL, marks=pytest.mark.real)]
        embedded = metafunc.definition.get_closest_marker("embedded") is not None
        metafunc.parametrize("store", [MOTO, *stores] if embedded else stores, indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Every store in turn."""
    with open_store(request.param, request) as opened:
        yield opened


@pytest.fixture
def atomic_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """The store whose conditional writes are atomic, as AWS's are."""
    with open_store(REAL, request) as opened:
        yield opened
