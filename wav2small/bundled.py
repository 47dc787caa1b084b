"""Paths of the bundled speech and name of the default model; imports nothing."""

from pathlib import Path

DEMO = Path(__file__).parent / "assets" / "demo" / "manifest.csv"
"""Manifest of the bundled synthetic speech."""

DEFAULT = "wav2small-rt"
"""The bundled model that is used where none is named."""
