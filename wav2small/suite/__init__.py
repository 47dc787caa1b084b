"""A test bench: how well, how fairly and how stably a model hears emotion."""

from .bench import Outcome, run_suite
from .sounds import Sounds, read_sounds
from .speech import Speech

__all__ = ["Outcome", "Sounds", "Speech", "read_sounds", "run_suite"]
