"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# the same examples in every run, however busy the machine is
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# two workers on two cores: more threads would only wait for each other
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real speech; without it the test is skipped, and says so."""
    folder = os.environ.get("WAV2SMALL_DATA")
    if not folder:
        pytest.skip("WAV2SMALL_DATA is not set: no real speech to test with")
    return Path(folder)
