"""Tiny speech-emotion models for hearing aids.

The main job, each step a function that takes and leaves files::

    import wav2small

    wav2small.annotate("speech/", "labels")
    wav2small.distill("labels", "run")
    wav2small.export_model("run", "model")
    print(wav2small.bench("model", targets=["generic-m4-64k"]).verdict)

Nothing is imported before it is used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wav2small.export.integer.decisions import Decisions, Rule
    from wav2small.export.integer.streaming.run import Stream
    from wav2small.export.pipeline import ExportConfig

    from .api.exporting import export_model
    from .api.listening import follow
    from .api.personal import calibrate, load_calibration
    from .api.publishing import publish
    from .api.steps import annotate, bench, distill, predict
    from .config import AnnotateConfig, DistillConfig
    from .errors import InputError
    from .evaluation import evaluate
    from .models import load_model as load
    from .progress import ProgressBar

__version__ = "0.1.0"

# Threads of torch that wait for each other give their core away. By default they spin,
# and where other programs run as well, steps of milliseconds then take seconds.
# It is read when torch is imported, so it has to be said here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_PLACES = {
    "AnnotateConfig": "wav2small.config",
    "Decisions": "wav2small.export.integer.decisions",
    "DistillConfig": "wav2small.config",
    "ExportConfig": "wav2small.export.pipeline",
    "InputError": "wav2small.errors",
    "ProgressBar": "wav2small.progress",
    "Rule": "wav2small.export.integer.decisions",
    "Stream": "wav2small.export.integer.streaming.run",
    "annotate": "wav2small.api.steps",
    "bench": "wav2small.api.steps",
    "calibrate": "wav2small.api.personal",
    "distill": "wav2small.api.steps",
    "evaluate": "wav2small.evaluation",
    "export_model": "wav2small.api.exporting",
    "follow": "wav2small.api.listening",
    "load": "wav2small.models:load_model",
    "load_calibration": "wav2small.api.personal",
    "predict": "wav2small.api.steps",
    "publish": "wav2small.api.publishing",
}
"""Where each public name is defined."""

__all__ = [
    "AnnotateConfig",
    "Decisions",
    "DistillConfig",
    "ExportConfig",
    "InputError",
    "ProgressBar",
    "Rule",
    "Stream",
    "__version__",
    "annotate",
    "bench",
    "calibrate",
    "distill",
    "evaluate",
    "export_model",
    "follow",
    "load",
    "load_calibration",
    "predict",
    "publish",
]


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'wav2small' has no attribute '{name}'")
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return __all__
