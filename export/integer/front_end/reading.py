"""Integers of the log-mel that a model states, checked against what it computes."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ...base import log_mel
from ...base.errors import ExportError, one_line
from ...base.log_mel import LogMelSettings
from ...model import topology
from ...model.topology import Topology
from .constants import FloatFrontEnd, FrontEnd, integer_constants
from .fourier import LENGTHS

LARGEST_ERROR = 0.002
"""Decibels by which the model may differ from what it states: a graph in float32
differs by less than a tenth of this, any setting that is another one by more."""


def read_front_end(
    model: ModelProto, graph: Topology, quantize: int, scale: float, zero_point: int
) -> FrontEnd:
    """Read the front end that ends at a QuantizeLinear.

    Args:
        model: model whose constants are stored
        graph: its graph
        quantize: index of the node
        scale: step of the int8 map
        zero_point: of the int8 map

    Raises:
        ExportError: if the model states no log-mel, or another than it computes,
            or there are no integers for it

    """
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    settings = log_mel.require_settings(metadata)
    if settings.n_fft not in LENGTHS:
        raise ExportError(
            f"n_fft of a log-mel must be one of {LENGTHS} samples, got "
            f"{settings.n_fft}: train a student with such a length, its window may be "
            "shorter"
        )
    _check(model, graph, quantize, settings)
    constants = integer_constants(float_front_end(settings), scale, zero_point)
    if constants is None:
        node = topology.label(graph.nodes[quantize])
        raise ExportError(
            f"log-mel must have a logarithm in the range of its quantisation, got "
            f"steps of {scale:g} in {node}: quantise the model again"
        )
    return constants


def float_front_end(settings: LogMelSettings) -> FloatFrontEnd:
    """Return the numbers that settings stand for, as a graph of float32 has them."""
    power_floor = settings.power_floor
    return FloatFrontEnd(
        window=settings.window_values().astype(np.float32).astype(np.float64),
        length=settings.n_fft,
        hop_length=settings.hop_length,
        padding=(settings.padding, settings.padding),
        power_floor=None if power_floor is None else float(np.float32(power_floor)),
        mel=settings.mel_weights(),
        floor=float(np.float32(settings.floor)),
        slope=settings.slope,
        intercept=settings.intercept,
        past_frames=settings.past_frames,
    )


def _check(
    model: ModelProto, graph: Topology, quantize: int, settings: LogMelSettings
) -> None:
    """Let the model's own front end hear noise, and compare."""
    name = graph.nodes[quantize].input[0]
    where = f"at {topology.label(graph.nodes[quantize])}"
    signals = _probes(settings)
    try:
        session = topology.session(_front_end_alone(model, graph, quantize), "exact")
        (source,) = (entry.name for entry in session.get_inputs())
        heard = [session.run([name], {source: signal[None]})[0] for signal in signals]
    except Exception as error:  # onnxruntime's have no common base class
        raise ExportError(
            f"model must compute the log-mel that its metadata state, got none {where} "
            f"({one_line(error)}): export the model again"
        ) from error
    for signal, found in zip(signals, heard, strict=True):
        expected = log_mel.compute(settings, signal)[None, None]
        if found.shape != expected.shape:
            difference = f"a map {found.shape} and not {expected.shape}"
        else:
            distance = settings.spread * np.abs(found - expected).max()
            if distance <= LARGEST_ERROR:
                continue
            difference = f"{distance:.3g} dB more or less"
        raise ExportError(
            "model must compute the log-mel that its metadata state, got "
            f"{difference} {where}: export the model again"
        )


def _front_end_alone(model: ModelProto, graph: Topology, quantize: int) -> ModelProto:
    """Return the nodes before a QuantizeLinear as a model, for any length."""
    before = sorted(graph.upstream([quantize]) - {quantize})
    nodes = [graph.nodes[index] for index in before]
    read = {name for node in nodes for name in node.input}
    stored = [entry for entry in model.graph.initializer if entry.name in read]
    signal, output = model.graph.input[0].name, graph.nodes[quantize].input[0]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in ((signal, [1, None]), (output, None))
    ]
    made = helper.make_graph(nodes, "front end", values[:1], values[1:], stored)
    return helper.make_model(
        made, opset_imports=model.opset_import, ir_version=model.ir_version
    )


def _probes(settings: LogMelSettings) -> list[np.ndarray]:
    """Signals on which every setting has an influence.

    Noise with an offset, which then falls silent, and noise that is hardly there;
    both longer than the frames whose level is taken.
    """
    generator = np.random.default_rng(0)
    frames = 16 + (settings.past_frames or 0)
    samples = settings.window_length + frames * settings.hop_length
    noise = generator.normal(size=samples)
    noise[: samples // 2] += 0.5
    noise[samples // 2 : -4 * settings.hop_length] = 0
    return [(level * noise).astype(np.float32) for level in (0.1, 3e-4)]
