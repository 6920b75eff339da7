"""The hosts are as the command line prepares them, and as they were after each test."""

import pytest


@pytest.fixture(autouse=True)
def _prepared(hosts_unchanged: None) -> None:
    from mmposenc.host.patches import prepare_hosts

    prepare_hosts()
