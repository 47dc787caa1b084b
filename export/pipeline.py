"""From a student to a checked file: export, quantise, tune, compare, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto

from . import package
from .base.escape import line
from .base.progress import Progress
from .checks import agreement, parity
from .checks.agreement import AgreementReport
from .checks.parity import ParityReport
from .model import size, topology
from .model.size import Part, SizeCheck
from .model.to_onnx import to_onnx
from .quantise.config import QuantConfig
from .quantise.scales import measure_scales
from .quantise.steps import fitting_config, prepare_to_quantise
from .quantise.write import write_quantised

if TYPE_CHECKING:
    from torch import nn

ENOUGH = 0.999
"""Concordance to the float model with which a model is left untuned."""


@dataclass(frozen=True)
class ExportConfig:
    """What :func:`export` does."""

    int8: bool = True
    """Whether the model is quantised."""

    window: int | None = None
    """Length of every signal in samples, None for any length."""

    max_bytes: int | None = None
    """Largest size of the file, None for any.
    The layers with the most weights get 4 bits until it is kept."""

    tune_steps: int | None = None
    """Steps of quantisation-aware tuning;
    None for as many as are usual, if a concordance falls below :data:`ENOUGH`."""

    quantisation: QuantConfig = field(default_factory=QuantConfig)
    """How weights and activations are rounded."""


@dataclass(frozen=True)
class Export:
    """A model and what was found out about it."""

    data: bytes
    """The ONNX file."""

    metadata: dict[str, str]
    """What it says of itself:
    what the caller gave, labels, settings of the log-mel,
    and the lowest and highest scores that were measured."""

    parity: ParityReport
    """Scores against the module's."""

    agreement: AgreementReport | None
    """onnxruntime against the integer graph; None for a float model."""

    parts: tuple[Part, ...]
    """What the bytes are for."""

    size: SizeCheck | None
    """Size against the limit; None without one."""

    quantisation: QuantConfig | None
    """How it was quantised; None for a float model."""

    tuned_steps: int
    """Steps of tuning that went into it."""

    speech: Mapping[str, float] = field(default_factory=dict)
    """How well the detector of speech knows it, empty without one:
    area under the curve by second at ratios of speech to noise, and the share of
    noise that is taken for speech."""

    @property
    def failures(self) -> list[str]:
        """What the file fails; nothing if it may be shipped."""
        found = []
        if not self.parity.passed:
            found.append("parity with the float model")
        if self.agreement is not None and not self.agreement.passed:
            found.append("agreement of onnxruntime with the integer graph")
        if self.size is not None and not self.size.fits:
            found.append(f"size: {self.size.bytes:,} of {self.size.limit:,} bytes")
        return found

    def to_dict(self) -> dict[str, Any]:
        """All figures in JSON types."""
        return {
            "bytes": len(self.data),
            "max_bytes": self.size.limit if self.size else None,
            "four_bit_layers": (
                self.quantisation.four_bit_layers if self.quantisation else None
            ),
            "tuned_steps": self.tuned_steps,
            "parity": self.parity.to_dict(),
            "agreement": self.agreement.to_dict() if self.agreement else None,
            "speech": dict(self.speech) or None,
            "parts": [
                {"name": part.name, "kind": part.kind, "bytes": part.bytes}
                for part in self.parts
            ],
            "failures": self.failures,
        }

    def to_markdown(self) -> str:
        """All figures as a page."""
        lines = [
            "# Export",
            "",
            f"{len(self.data):,} bytes"
            + (f" of at most {self.size.limit:,}" if self.size else "")
            + (f"; fails {', '.join(self.failures)}" if self.failures else "; passes"),
            "",
            f"Lowest and highest scores: {line(self.metadata['range'])}",
            "",
            f"## Scores against the student's, {self.parity.signals} clips",
            "",
            "| execution | largest difference | CCC |",
            "|---|--:|---|",
        ]
        for name, entry in self.parity.executions.items():
            ccc = " ".join(f"{value:.5f}" for value in entry.concordance_cc)
            lines.append(f"| {name} | {entry.max_error:.5f} | {ccc} |")
        if self.speech:
            lines += ["", "## Speech or not, on recordings that did not train it", ""]
            lines += [f"- {name}: {value}" for name, value in self.speech.items()]
        lines += ["", "## Bytes", "", size.to_markdown(self.parts)]
        if self.agreement is not None:
            lines += [
                f"## onnxruntime against the integer graph, "
                f"{self.agreement.signals} clips",
                "",
                "Each layer on the inputs that onnxruntime had for it.",
                "",
                agreement.to_markdown(self.agreement),
            ]
        return "\n".join(lines)


def export(
    module: nn.Module,
    signals: Sequence[np.ndarray],
    config: ExportConfig,
    *,
    metadata: Mapping[str, str],
    labels: Sequence[str],
    progress: Progress | None = None,
) -> Export:
    """Export a student and find out how good the file is.

    Every other signal measures the ranges and tunes the weights,
    the rest tests the result.

    Args:
        module: module that maps ``(1, time)`` to ``(1, 3)``
        signals: speech, each of shape ``(samples,)``, at 16 kHz, at least 4
        config: what to do
        metadata: what the file shall say of itself; ``range`` is measured and added
        labels: names of the scores, in their order
        progress: called as it goes on

    Returns:
        the file's bytes and all figures; a model that fails is a result

    Raises:
        ExportError: if the module, a signal or the metadata cannot be used

    """
    calibration, held_out = signals[::2], signals[1::2]
    reference = _scorer(module)
    model = to_onnx(module, window=config.window, example_samples=32000)
    tuned, found, quantisation = 0, None, None
    if not config.int8:
        compared = parity.compare(
            reference, model, held_out, max_error=1e-3, min_concordance_cc=0.9999
        )
    else:
        overhead = _overhead(model, metadata, labels)
        model, compared, quantisation, tuned = _quantize(
            model, reference, calibration, held_out, config, overhead, progress
        )
        # Squeeze and excitation carries one step of one cell to all others:
        # so a share of the error of quantisation is allowed between the two.
        changed = max(entry.max_error for entry in compared.executions.values())
        limit = max(agreement.LARGEST_SCORE_ERROR, changed / 4)
        found = agreement.agree(model, signals, progress, score_limit=limit)
    scores = parity.scores(model, signals, "default")
    entries = {**metadata, "range": describe_range(labels, scores)}
    data = package.pack(model, metadata=entries, labels=labels)
    return Export(
        data=data,
        metadata={e.key: e.value for e in topology.load(data).metadata_props},
        parity=compared,
        agreement=found,
        parts=tuple(size.byte_budget(data)),
        size=size.check(data, config.max_bytes) if config.max_bytes else None,
        quantisation=quantisation,
        tuned_steps=tuned,
    )


def with_data(
    result: Export, data: bytes, max_bytes: int | None, speech: Mapping[str, float]
) -> Export:
    """Same result for a file that got a detector of speech.

    Args:
        result: what was found out before
        data: the file now
        max_bytes: largest size of the file, None for any
        speech: figures of the detector

    """
    return replace(
        result,
        data=data,
        parts=tuple(size.byte_budget(data)),
        size=size.check(data, max_bytes) if max_bytes else None,
        speech=speech,
    )


def _overhead(
    model: ModelProto, metadata: Mapping[str, str], labels: Sequence[str]
) -> int:
    """Return the most bytes that metadata and labels add to a file."""
    longest = describe_range(labels, np.full((999, len(labels)), -9.0))
    entries = {**metadata, "range": longest}
    packed = package.pack(model, metadata=entries, labels=labels)
    return len(packed) - model.ByteSize()


def _scorer(module: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """Return what scores a signal ``(time,)`` with a module."""
    import torch

    module.eval()

    def score(signal: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(signal)[None]).numpy()[0]

    return score


def describe_range(labels: Sequence[str], scores: np.ndarray) -> str:
    """Write the lowest and the highest of the scores ``(signals, labels)``."""
    # packing refuses another number of labels, in words
    columns = zip(labels, scores.min(axis=0), scores.max(axis=0), strict=False)
    parts = [f"{label} {low:.3f}..{high:.3f}" for label, low, high in columns]
    return f"{', '.join(parts)} on {len(scores)} clips"


def _quantize(
    model: ModelProto,
    reference: Callable[[np.ndarray], np.ndarray],
    calibration: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    config: ExportConfig,
    overhead: int,
    progress: Progress | None,
) -> tuple[ModelProto, ParityReport, QuantConfig, int]:
    """Quantised model, its parity, how it was quantised and steps of tuning."""
    from .quantise.tune import TuneConfig, tune

    quantisation = config.quantisation
    prepared, plan = prepare_to_quantise(model, quantisation)
    scales = measure_scales(prepared, plan, calibration)
    if config.max_bytes:
        room = config.max_bytes - overhead
        quantisation = fitting_config(prepared, plan, scales, room, quantisation)

    def compare(candidate: ModelProto) -> ParityReport:
        return parity.compare(reference, candidate, held_out, max_error=0.05)

    rounded = write_quantised(prepared, plan, scales, quantisation)
    plain = compare(rounded)
    steps = config.tune_steps
    if steps is None:
        steps = 0 if plain.least_concordance_cc >= ENOUGH else TuneConfig().steps
    if not steps:
        return rounded, plain, quantisation, 0
    trained, trained_scales = tune(
        prepared,
        plan,
        scales,
        calibration,
        TuneConfig(steps=steps),
        quantisation,
        progress,
    )
    rounded = write_quantised(trained, plan, trained_scales, quantisation)
    return rounded, compare(rounded), quantisation, steps
