"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from wav2small import cli

# the same examples in every run, however busy the machine is
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# two workers on two cores: more threads would only wait for each other
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real speech; without it the test is skipped, and says so."""
    folder = os.environ.get("WAV2SMALL_DATA")
    if not folder:
        pytest.skip("WAV2SMALL_DATA is not set: no real speech to test with")
    return Path(folder)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in this process: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wav2small", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = error.code or 0
        output = capsys.readouterr()
        return code, output.out, output.err

    return call
