"""Write one hop of a model: signal and state in, scores and the next state out.

Shape:
    signal: ``(1, hop_length)``, float32, where 1 is full scale
    state, next_state: ``(numbers,)``, int64; zeros begin a signal
    logits: ``(1, scores)``, float32, those of :meth:`Stream.latest` after the hop,
        NaN before there are any
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ..base.errors import ExportError
from ..integer.graph import IntegerGraph
from ..integer.operators.softmax_pool import SoftmaxPool
from ..integer.pooling import decay_of
from ..integer.reference import ReferenceModel
from ..integer.streaming.line import Line
from ..integer.streaming.pace import Pace
from ..integer.streaming.run import Stream
from ..integer.streaming.stages import PoolStage, WindowStage
from . import front_end, pool
from .layers import apply
from .numbers import Integers, Nodes

OPSET = 17
"""Operators of the file."""


def write_hop(
    source: IntegerGraph | ModelProto | bytes | str | Path,
    forget_seconds: float | None = None,
) -> bytes:
    """Write a model that streams as an ONNX file of one hop.

    It computes the integers of :class:`wav2small.export.integer.streaming.run.Stream`
    with operators of ONNX on integers, not the float operators of the source.
    The outputs for speech, categories and doubts are left out.

    Args:
        source: exported int8 model
        forget_seconds: time in which what was heard falls to 1 / e;
            what the model was made with if None

    Returns:
        the file; the same arguments give the same bytes

    Raises:
        ExportError: if the model does not stream, or an operator has no counterpart

    """
    stream = Stream(source)
    for stage in stream.schedule.pools:
        if not isinstance(stage.operator, SoftmaxPool):
            raise ExportError(
                f"pooling must be a softmax, got {stage.name}: take the C of this model"
            )
    return _Hop(stream, forget_seconds).model().SerializeToString(deterministic=True)


class _Hop:
    """Nodes of a hop."""

    def __init__(self, stream: Stream, forget_seconds: float | None) -> None:
        self.graph, self.plan = stream.graph, stream.schedule
        self.reference = ReferenceModel(stream.graph)
        self.front = self.plan.front.constants
        self.forget_seconds = forget_seconds
        self.builder = Nodes()
        front = self.front
        ahead = front.padding[0] - front.window_length
        self.first = -(ahead // front.hop_length)
        """Hop, counted from 1, at whose end the first frame is there."""
        self.late = ahead % front.hop_length
        """Samples behind the last frame at the end of each hop."""
        kept = front.window_length + self.late - front.hop_length
        if kept < 1:
            raise ExportError(
                "hop must be shorter than the window, got "
                f"{front.hop_length} samples: take the C of this model"
            )
        self.shapes: dict[str, tuple[int, ...]] = {"count": (1,), "samples": (kept,)}
        if front.past_frames is not None:
            self.shapes["levels"] = (max(1, front.past_frames - 1),)
        for name, line in self.plan.lines.items():
            rows = list(line.shape)
            rows[line.axis] = line.keep + 1
            self.shapes[f"line {name}"] = tuple(rows)
        for stage in self.plan.pools:
            for part in pool.PARTS:
                shape = (1,) if part == "age" else tuple(stage.shape)
                self.shapes[f"{part} {stage.operator.output}"] = shape
        self.next: dict[str, Integers] = {}
        self.hits: dict[tuple[str, int, int], Integers] = {}

    def model(self) -> ModelProto:
        """The whole file."""
        graph = helper.make_graph([], "hop", *self._ends())
        scores = self._nodes()
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        flat = [self.next[name].reshape([-1]) for name in self.shapes]
        together = self.builder.concat(flat, 0)
        self.builder.nodes[-1].output[0] = "next_state"
        assert together.name and sum(sizes) == self.numbers
        graph.node.extend(self.builder.nodes)
        renamed = {scores.name: "logits"}
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [renamed.get(name, name) for name in names]
        graph.initializer.extend(self.builder.constants.values())
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
        )
        said = {e.key: e.value for e in self.graph.model.metadata_props}
        said["source_sha256"] = self.graph.digest
        for key in sorted(said):
            model.metadata_props.add(key=key, value=said[key])
        return model

    @property
    def numbers(self) -> int:
        """Numbers of the state."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def _ends(self) -> tuple[list, list]:
        """Inputs and outputs of the graph."""
        count = self.graph.tensors[self.graph.output].shape[-1]
        assert isinstance(count, int)

        def described(name: str, kind: int, *shape: int) -> object:
            return helper.make_tensor_value_info(name, kind, shape)

        hop = self.front.hop_length
        return (
            [
                described("signal", TensorProto.FLOAT, 1, hop),
                described("state", TensorProto.INT64, self.numbers),
            ],
            [
                described("logits", TensorProto.FLOAT, 1, count),
                described("next_state", TensorProto.INT64, self.numbers),
            ],
        )

    def _nodes(self) -> Integers:
        """Enter all nodes; return the scores."""
        builder = self.builder
        sizes = np.array([int(np.prod(shape)) for shape in self.shapes.values()])
        parts = builder.outputs(
            "Split", len(sizes), Integers(builder, "state"), sizes, axis=0
        )
        state = {
            name: part.reshape(shape)
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }
        self.next["count"] = state["count"] + 1
        frame = self.next["count"] - self.first
        # the row of the frame before counts now that another one is there
        pooled = self._settle(state, frame - 1)
        rows = {self.plan.front.operator.output: self._front(state, frame)}
        self._keep(state, self.plan.front.output, frame, rows)
        for stage in self.plan.stages:
            name = stage.operator.output
            lines = self._window if isinstance(stage, WindowStage) else self._rows
            inputs = lines(stage, frame)  # type: ignore[arg-type]
            scales = self.reference.scales(stage.operator)
            operator = stage.operator
            rows[name] = apply(operator, scales, inputs, stage.output.shape)
            self._keep(state, stage.output, frame, rows)
        return self._scores(pooled, frame - 1)

    def _front(self, state: Mapping[str, Integers], frame: Integers) -> Integers:
        """Row of the map of a frame."""
        builder, front = self.builder, self.front
        new = front_end.to_samples(builder, Integers(builder, "signal")).reshape([-1])
        samples = builder.concat([state["samples"], new], 0)
        self.next["samples"] = samples.take(
            np.arange(front.hop_length, front.window_length + self.late)
        )
        heard = samples.take(np.arange(front.window_length))
        logarithms = front_end.frame_logarithms(builder, front, heard)
        if front.past_frames is not None:
            level = builder.node("ReduceSum", logarithms, [0], keepdims=1)
            before = state["levels"]
            kept = self.shapes["levels"][0]
            together = builder.concat([before, level], 0)
            past = min(kept, front.past_frames - 1)
            counted = together.take(np.arange(kept - past, kept + 1))
            total = builder.node("ReduceSum", counted, [0], keepdims=1)
            frames = (frame + 1).at_most(front.past_frames).at_least(1)
            count = frames * len(front.mel)
            logarithms = logarithms - (total * 2 + count) // (count * 2)
            later = together.take(np.arange(1, kept + 1))
            self.next["levels"] = builder.where(frame >= 0, later, before)
        row = front_end.to_int8(front, logarithms)
        return row.reshape(self.plan.front.output.shape)

    # -- lines -------------------------------------------------------------------

    def _hits(self, pace: Pace, frame: Integers) -> Integers | None:
        """Whether a row comes with a frame; None if one comes with each."""
        if pace.period == 1:
            return None
        key = (frame.name, pace.period, pace.delay % pace.period)
        if key not in self.hits:
            self.hits[key] = ((frame - key[2]) % pace.period).equals(0)
        return self.hits[key]

    def _keep(
        self,
        state: Mapping[str, Integers],
        line: Line,
        frame: Integers,
        rows: dict[str, Integers],
    ) -> None:
        """Put a new row into its line, where one comes with this frame."""
        name = line.tensor.name
        key, builder = f"line {name}", self.builder
        later = rows[name]
        if line.keep:
            rest = state[key].take(np.arange(1, line.keep + 1), line.axis)
            later = builder.concat([rest, later], line.axis)
        hits = self._hits(line.pace, frame)
        self.next[key] = (
            later if hits is None else builder.where(hits, later, state[key])
        )

    def _window(self, stage: WindowStage, frame: Integers) -> list[Integers]:
        """Rows under a window, border before the signal."""
        (line,) = stage.inputs
        window = stage.window
        taps = np.arange(0, window.reach, window.dilation)
        places = line.keep + 1 - window.reach + taps
        rows = self.next[f"line {line.tensor.name}"].take(places, line.axis)
        if window.top:
            number = (frame - stage.pace.delay) // stage.pace.period
            known = (number * window.stride + (taps - window.top)) >= 0
            known = known.reshape([-1, *[1] * (len(line.shape) - line.axis - 1)])
            rows = self.builder.where(known, rows, window.border)
        return [rows]

    def _rows(self, stage: PoolStage, frame: Integers) -> list[Integers]:
        return _newest(stage.inputs, stage.pace, self.next)

    # -- pools and scores ----------------------------------------------------------

    def _settle(
        self, state: Mapping[str, Integers], frame: Integers
    ) -> dict[str, Integers]:
        """Add the rows that came with a frame to the pools; return their results."""
        found = {}
        for stage in self.plan.pools:
            operator = stage.operator
            assert isinstance(operator, SoftmaxPool)
            name = operator.output
            before = {part: state[f"{part} {name}"] for part in pool.PARTS}
            rows = _newest(stage.inputs, stage.pace, state)
            decay = operator.decay
            if self.forget_seconds is not None:
                rate = self.graph.sampling_rate
                decay = decay_of(self.forget_seconds, stage.row_samples, rate)
            after = pool.added(self.builder, operator, before, rows, decay)
            there = frame >= stage.pace.delay
            hits = self._hits(stage.pace, frame)
            if hits is not None:
                there = there.both(hits)
            for part in pool.PARTS:
                value = self.builder.where(there, after[part], before[part])
                self.next[f"{part} {name}"] = value
            found[name] = pool.result(
                self.next[f"numerator {name}"], self.next[f"denominator {name}"]
            )
        return found

    def _scores(self, values: dict[str, Integers], frame: Integers) -> Integers:
        """Scores as float, NaN where there are none."""
        shapes = {
            stage.operator.output: np.zeros(stage.shape, np.int64)
            for stage in self.plan.pools
        }
        for operator in self.plan.head:
            # what it makes of zeros has the shape
            shapes[operator.output] = self.reference.apply(operator, shapes)
            shape = shapes[operator.output].shape
            inputs = [values[name] for name in operator.inputs]
            scales = self.reference.scales(operator)
            values[operator.output] = apply(operator, scales, inputs, shape)
        output = self.graph.tensors[self.graph.output]
        centred = values[self.graph.output] - int(output.zero_point)
        scores = centred.cast(TensorProto.DOUBLE) * np.float64(output.scale)
        scores = scores.cast(TensorProto.FLOAT).reshape([1, -1])
        delay = max(stage.pace.delay for stage in self.plan.pools)
        return self.builder.where(frame >= delay, scores, np.float32(np.nan))


def _newest(
    lines: Sequence[Line], pace: Pace, rows: Mapping[str, Integers]
) -> list[Integers]:
    """Rows of the same place of several lines."""
    return [
        rows[f"line {line.tensor.name}"].take(
            [line.keep - (pace.delay - line.pace.delay) // pace.period], line.axis
        )
        for line in lines
    ]
