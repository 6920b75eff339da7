"""Networks and images of `planted`."""

import pytest
from planted import PlantedNet, lit_columns, planted_net


@pytest.fixture
def planted() -> PlantedNet:
    return planted_net()


@pytest.fixture(name='lit_columns')
def lit_columns_of():
    return lit_columns
