"""The one shape of progress that everything which takes a while reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Called as work goes on, possibly from another thread.

It gets the name of the stage, how much of it is done, how much there is,
and figures of what was found so far, by name.
The figure ``audio_seconds`` is how much audio was processed, in seconds.
"""
