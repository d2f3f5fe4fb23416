"""What the tests of `ops` share."""

import pytest

from s2s_plugin.ops import devices


@pytest.fixture(params=["the ways of a CPU", "the ways of a GPU"])
def ways(request, monkeypatch):
    """Runs a test twice: the branches for GPUs compute the same and are tried here on the CPU."""
    if request.param == "the ways of a GPU":
        monkeypatch.setattr(devices, "on_cpu", lambda x: False)
    return request.param
