"""Trained models of any form: bundled, checkpoint or ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wav2small.export.base import onnx_file
from wav2small.export.base.escape import line

from . import checkpoint
from .errors import InputError

if TYPE_CHECKING:
    from torch import nn

ASSETS = Path(__file__).parent / "assets" / "models"

MIN_SAMPLES = 64
"""Least number of samples that every student scores."""

DEFAULT = "wav2small-rt"
"""The bundled model that is used where none is named."""


def bundled() -> dict[str, Path]:
    """Return the bundled models: name to folder."""
    return {path.name: path for path in sorted(ASSETS.glob("*")) if path.is_dir()}


def find_checkpoint(name: str | Path) -> Path:
    """Find the checkpoint that a bundled name, a run or a folder stands for.

    Raises:
        InputError: if there is none

    """
    folder = bundled().get(str(name), Path(name))
    for candidate in (folder, folder / "best", folder / "checkpoint"):
        if (candidate / checkpoint.MANIFEST).exists():
            return candidate
    raise InputError(
        f"model must be a run, a checkpoint or one of {', '.join(bundled())}, "
        f"got '{name}': there is no {checkpoint.MANIFEST} in it"
    )


def find_onnx(name: str | Path) -> Path:
    """Find the ONNX file that a bundled name, a folder or a path stands for.

    Raises:
        InputError: if there is none

    """
    path = bundled().get(str(name), Path(name))
    if path.is_dir():
        path = path / "model.onnx"
    if not path.is_file():
        raise InputError(
            f"model must be an ONNX file, a folder with model.onnx or one of "
            f"{', '.join(bundled())}, got '{name}': no such file"
        )
    return path


def load_student(name: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load a student for evaluation.

    Args:
        name: bundled model, run or checkpoint

    Returns:
        the module in evaluation mode, and the checkpoint's configuration

    Raises:
        InputError: if it is damaged or of another format

    """
    import torch

    from .students import student

    folder = find_checkpoint(name)
    weights, config = checkpoint.load(folder)
    try:
        entry = student(config["student"])
        kind = type(entry.config)
        known = {field.name for field in fields(kind)}
        unknown = set(config["config"]) - known
        if unknown:
            raise InputError(
                f"checkpoint has unknown settings {sorted(unknown)}: {folder}: "
                "it is of a newer version"
            )
        module = entry.module(kind(**config["config"]))
        module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"checkpoint must be of a student: {folder}: {' '.join(str(error).split())}"
        ) from error
    return module.eval(), config


class OnnxModel:
    """An exported model in onnxruntime, on one thread.

    Shape:
        signals: a sequence of arrays ``(time,)``, float32 at 16 kHz
        scores: ``(len(signals), 3)``, arousal, dominance, valence

    """

    def __init__(self, path: Path) -> None:
        where = f"model '{line(path)}'"
        self.session = onnx_file.open_foreign(onnx_file.read(path), where)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        # some published models have hidden states as a further output
        scores = {output.name: output.shape for output in outputs}
        self.output = "logits" if "logits" in scores else outputs[0].name
        shape = scores[self.output]
        if [i.name for i in inputs] != ["signal"] or len(shape) != 2 or shape[1] != 3:
            raise InputError(
                "model must map 'signal' (1, time) to 3 scores, got "
                f"{[(i.name, i.shape) for i in inputs]} and {scores}: {path}"
            )
        time = inputs[0].shape[1]
        self.window: int | None = time if isinstance(time, int) else None
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals; a fixed window crops or repeats them to its length.

        Raises:
            InputError: if a signal has fewer than 64 samples

        """
        scores = []
        for signal in signals:
            if len(signal) < MIN_SAMPLES:
                raise InputError(
                    f"signal must have at least {MIN_SAMPLES} samples at 16 kHz, "
                    f"got {len(signal)}"
                )
            if self.window:
                signal = np.resize(signal, self.window)
            scores.append(
                self.session.run(
                    [self.output], {"signal": np.asarray(signal, np.float32)[None]}
                )[0][0]
            )
        return np.stack(scores)


class StudentModel:
    """A student's checkpoint in torch; one signal at a time."""

    def __init__(self, name: str | Path) -> None:
        self.module, self.config = load_student(name)

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals, as :meth:`OnnxModel.predict`."""
        import torch

        with torch.inference_mode():
            return np.stack(
                [
                    self.module(
                        torch.from_numpy(np.asarray(s, np.float32))[None]
                    ).numpy()[0]
                    for s in signals
                ]
            )


def load_model(name: str | Path) -> OnnxModel | StudentModel:
    """Load a bundled model, an ONNX file, a run or a checkpoint.

    Raises:
        InputError: if it is none of them

    """
    path = Path(name)
    if str(name) in bundled() or path.is_file() or (path / "model.onnx").exists():
        return OnnxModel(find_onnx(name))
    return StudentModel(name)
