"""The fixture ``dsql_local``: one local Aurora DSQL for all tests of a run."""

import pytest

from ._server import DsqlLocal


@pytest.fixture(scope="session")
def dsql_local():
    """A running :class:`dsql_local.DsqlLocal`."""
    with DsqlLocal() as dsql:
        yield dsql
