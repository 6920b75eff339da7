"""The network of `planted`."""

import pytest
from planted import PlantedNet, planted_net


@pytest.fixture
def planted() -> PlantedNet:
    return planted_net()
