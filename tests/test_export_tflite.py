import math
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper

import wav2small
from wav2small import audio
from wav2small.export.base.errors import ExportError, ToolError
from wav2small.export.integer.front_end.constants import FrontEnd
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators.concat import Concat
from wav2small.export.integer.operators.convolution import Convolution
from wav2small.export.integer.operators.linear import Linear
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.integer.operators.max_pool import MaxPool
from wav2small.export.integer.operators.reshape import Reshape
from wav2small.export.integer.operators.softmax_pool import SoftmaxPool
from wav2small.export.integer.operators.sum import Sum
from wav2small.export.integer.operators.table import Table
from wav2small.export.integer.operators.transpose import Transpose
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.rescale import Rescale
from wav2small.export.integer.tensor import Tensor
from wav2small.export.model.to_onnx import to_onnx
from wav2small.export.quantise.steps import quantize
from wav2small.export.tflite import count_frames, write_tflite
from wav2small.students import STUDENTS

tflite = pytest.importorskip("ai_edge_litert.schema_py_generated")
interpreter = pytest.importorskip("ai_edge_litert.interpreter")

ASSETS = Path(wav2small.__file__).parent / "assets"
DEFAULT = interpreter.OpResolverType.AUTO
"""Kernels of XNNPACK, which rescale in float32."""
PLAIN = interpreter.OpResolverType.BUILTIN_REF
"""Kernels that those of TFLite Micro were made from, which round twice."""


# -- models ------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundled():
    return read(ASSETS / "models" / "wav2small" / "model.onnx")


@pytest.fixture(scope="module")
def demo():
    """One second of some of the bundled clips."""
    paths = sorted((ASSETS / "demo").glob("*.opus"))[::9]
    return [np.resize(audio.load(path), 16000) for path in paths]


@pytest.fixture(scope="module")
def covariance(demo):
    """The student with the other head, untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = STUDENTS["wav2small-17k"].build().train()
        with torch.no_grad():
            for part in module.modules():
                if isinstance(part, torch.nn.BatchNorm2d):
                    part.momentum = None  # plain average over the batches
            module(torch.stack([torch.from_numpy(clip[:4000]) for clip in demo]))
    model = to_onnx(module, window=None, example_samples=4000)
    return read(quantize(model, [clip[:4000] for clip in demo]))


class Sketch:
    """Integer graph made by hand, for maps that no model has."""

    def __init__(self, mels=5, channels=None, seed=0):
        self.generator = np.random.default_rng(seed)
        window = np.zeros(1, np.int32)
        front_end = FrontEnd(
            hop_length=1,
            padding=(0, 0),
            power_floor=None,
            window=window,
            length=8,
            mel=np.zeros((mels, 5), np.int64),
            log_offset=np.zeros(mels, np.int64),
            log_floor=0,
            multiplier=0,
            offset=0,
            shift=1,
        )
        self.tensors = {}
        self.operators = []
        self.channels = {}
        self.name = "x"
        self.tensor("x", 7, 1)
        self.operators.append(LogMel(("signal",), "x", (), front_end))

    def tensor(self, name, zero_point, channels, dtype="int8", scale=None):
        scale = scale or float(np.float32(self.generator.uniform(0.01, 0.1)))
        bound = scale * (255 if dtype == "int8" else 2**30)
        self.tensors[name] = Tensor(name, dtype, scale, zero_point, (), bound)
        self.channels[name] = channels
        return name

    def add(self, kind, *parameters, source=None, channels=None, like=None, **target):
        """Append an operator; without a target its output has the input's scale."""
        sources = source or (self.name,)
        old = self.tensors[like or sources[0]]
        name = f"t{len(self.operators)}"
        if channels is None:
            channels = self.channels[sources[0]]
        target = {
            "zero_point": old.zero_point,
            "dtype": old.dtype,
            "scale": old.scale,
            **target,
        }
        self.tensor(name, target.pop("zero_point"), channels, **target)
        self.operators.append(kind(tuple(sources), name, (), *parameters))
        self.name = name
        return self

    def weights(self, *shape):
        """Weights, a bias and a rescaling that fill the range of int8."""
        weight = self.generator.integers(-127, 128, shape).astype(np.int8)
        spread = 74 * 74 * math.sqrt(weight[0].size)
        bias = self.generator.integers(-int(spread), int(spread), shape[0])
        factor = self.generator.uniform(20, 80, shape[0]) / spread
        return weight, bias, Rescale.of(factor, 2.0**31)

    def convolution(
        self,
        outputs,
        kernel,
        strides,
        pads,
        *,
        depthwise=False,
        dilations=(1, 1),
        **target,
    ):
        groups = self.channels[self.name] if depthwise else 1
        inputs = 1 if depthwise else self.channels[self.name]
        outputs *= groups
        weights = self.weights(outputs, inputs, *kernel)
        return self.add(
            Convolution,
            *weights,
            strides,
            pads,
            groups,
            dilations,
            channels=outputs,
            **{"zero_point": -128, "scale": 0.037, **target},
        )

    def linear(self, inputs, outputs, **target):
        return self.add(
            Linear,
            *self.weights(outputs, inputs),
            **{"zero_point": 3, "scale": 0.02, **target},
        )

    def graph(self, model=None):
        return IntegerGraph(
            self.tensors, tuple(self.operators), self.name, model or ModelProto()
        )


# -- what comes out ------------------------------------------------------------


class Runner:
    def __init__(self, integer_graph, data, kernels=DEFAULT):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that all tensors are kept
            self.interpreter = interpreter.Interpreter(
                model_content=data,
                experimental_op_resolver_type=kernels,
                experimental_preserve_all_tensors=True,
                num_threads=1,
            )
        self.interpreter.allocate_tensors()
        self.graph = integer_graph
        (self.input,) = self.interpreter.get_input_details()
        (self.output,) = self.interpreter.get_output_details()

    def run(self, log_mel):
        """Output for a map ``(1, 1, frames, mels)``."""
        nhwc = np.ascontiguousarray(log_mel.transpose(0, 2, 3, 1))
        self.interpreter.set_tensor(self.input["index"], nhwc)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output["index"])

    def differences(self, log_mel):
        """Steps between each int8 tensor and that of the norm on equal inputs."""
        self.run(log_mel)
        places = {t["name"]: t for t in self.interpreter.get_tensor_details()}
        reference = ReferenceModel(self.graph)
        values = {self.graph.operators[0].output: log_mel}
        result = {}
        for operator in self.graph.operators[1:]:
            expected = reference.apply(operator, values)
            place = places.get(operator.output)
            if place is None and expected.dtype == np.int8:
                values[operator.output] = expected  # only another view
                continue
            if place is None or place["dtype"] != np.int8:
                return result
            found = self.interpreter.get_tensor(place["index"])
            if isinstance(operator, Linear):
                found = found.reshape(expected.shape)
            else:
                found = found.transpose(0, 3, 1, 2)
            values[operator.output] = found
            label = self.graph.label(operator)
            result[label] = np.abs(found.astype(int) - expected)
        return result


def parsed(data):
    return tflite.Model.GetRootAs(data)


def operators(data):
    """Names of the operators of a file."""
    names = {
        number: name
        for name, number in vars(tflite.BuiltinOperator).items()
        if isinstance(number, int)
    }
    model = parsed(data)
    main = model.Subgraphs(0)
    return [
        names[model.OperatorCodes(main.Operators(i).OpcodeIndex()).BuiltinCode()]
        for i in range(main.OperatorsLength())
    ]


@pytest.mark.parametrize(
    "kernels, most",
    [
        pytest.param(DEFAULT, 1e-4, id="xnnpack"),
        pytest.param(PLAIN, 1e-2, id="reference"),
    ],
)
@pytest.mark.parametrize("student, layers", [("bundled", 9), ("covariance", 8)])
def test_layers_on_equal_inputs(student, layers, kernels, most, demo, request):
    integer_graph = request.getfixturevalue(student)
    runner = Runner(
        integer_graph,
        write_tflite(integer_graph, count_frames(integer_graph, 16000)),
        kernels,
    )
    for signal in demo[:3]:
        log_mel = ReferenceModel(integer_graph).run(signal)[
            integer_graph.operators[0].output
        ]
        found = runner.differences(log_mel)
        assert len(found) == layers
        for label, steps in found.items():
            assert steps.max() <= 1, label
            assert np.mean(steps > 0) <= most, label
            if "MaxPool" in label:
                assert not steps.any()


@pytest.mark.parametrize(
    "kernels, tolerance",
    [
        pytest.param(DEFAULT, 0.001, id="xnnpack"),
        pytest.param(PLAIN, 0.004, id="reference"),
    ],
)
@pytest.mark.parametrize("student", ["bundled", "covariance"])
def test_scores(student, kernels, tolerance, demo, request):
    integer_graph = request.getfixturevalue(student)
    data = write_tflite(integer_graph, count_frames(integer_graph, 16000))
    runner = Runner(integer_graph, data, kernels)
    reference = ReferenceModel(integer_graph)
    scores = []
    for signal in demo[::2]:
        values = reference.run(signal)
        found = runner.run(values[integer_graph.operators[0].output])
        truth = values[integer_graph.output] * integer_graph.tensors["logits"].scale
        assert found.shape == (1, 3) and found.dtype == np.float32
        np.testing.assert_allclose(found, truth, rtol=0, atol=tolerance)
        scores.append(found)
    # or the bias alone would pass, for the untrained head gives much the same
    assert np.ptp(scores, axis=0).min() > 10 * tolerance


def test_head_stays_exact_for_long_signals(bundled, demo):
    signal = np.concatenate(demo * 2)[:160000]
    runner = Runner(bundled, write_tflite(bundled, count_frames(bundled, len(signal))))
    values = ReferenceModel(bundled).run(signal)
    truth = values[bundled.output] * bundled.tensors["logits"].scale
    found = runner.run(values[bundled.operators[0].output])
    np.testing.assert_allclose(found, truth, rtol=0, atol=0.002)


sides = st.integers(1, 4)


@st.composite
def sketches(draw):
    """Small networks of every operator of the body."""
    mels, frames = draw(st.integers(4, 9)), draw(st.integers(4, 12))
    sketch = Sketch(mels=mels, seed=draw(st.integers(0, 2**16)))
    size = [frames, mels]
    for _ in range(draw(st.integers(1, 4))):
        kernel = draw(sides), draw(sides)
        strides = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        pads = tuple(draw(st.integers(0, kernel[i % 2] - 1)) for i in range(4))
        convolves = draw(st.booleans())
        dilations = (1, 1)
        if convolves and strides == (1, 1):
            dilations = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        reach = [dilations[i] * (kernel[i] - 1) + 1 for i in range(2)]
        for axis in range(2):
            if size[axis] + pads[axis] + pads[2 + axis] < reach[axis]:
                break
        else:
            size = [
                (size[i] + pads[i] + pads[2 + i] - reach[i]) // strides[i] + 1
                for i in range(2)
            ]
            if convolves:
                sketch.convolution(
                    draw(sides),
                    kernel,
                    strides,
                    pads,
                    depthwise=draw(st.booleans()),
                    dilations=dilations,
                    zero_point=draw(st.sampled_from([-128, 0, 41])),
                )
            else:
                sketch.add(MaxPool, kernel, strides, pads)
    if len(sketch.operators) == 1 or draw(st.booleans()):
        before = sketch.name
        sketch.convolution(
            sketch.channels[before], (3, 3), (1, 1), (1, 1, 1, 1), zero_point=-9
        )
        factors = [sketch.tensors[name].scale / 0.05 for name in (before, sketch.name)]
        shift = 30 - math.frexp(max(factors))[1]
        multipliers = tuple(round(math.ldexp(factor, shift)) for factor in factors)
        sketch.add(
            Sum,
            multipliers,
            shift,
            source=(before, sketch.name),
            scale=0.05,
            zero_point=12,
        )
    channels = sketch.channels[sketch.name]
    tail = draw(st.sampled_from(["map", "flat", "rows"]))
    if tail == "flat":
        sketch.add(Reshape, (0, -1))
        sketch.linear(channels * size[0] * size[1], 3)
    elif tail == "rows":
        sketch.add(Transpose, (0, 2, 1, 3))
        sketch.add(Reshape, (0, 0, -1))
        sketch.linear(channels * size[1], 4)
        sketch.add(Transpose, (0, 2, 1))
    log_mel = sketch.generator.integers(-128, 128, (1, 1, frames, mels))
    return sketch.graph(), log_mel.astype(np.int8)


@settings(max_examples=60)
@given(sketches(), st.sampled_from([DEFAULT, PLAIN]))
def test_small_networks(case, kernels):
    integer_graph, log_mel = case
    runner = Runner(
        integer_graph, write_tflite(integer_graph, log_mel.shape[2]), kernels
    )
    found = runner.differences(log_mel)
    assert found
    for label, steps in found.items():
        assert steps.max() <= 1, label
    # the output is that of the last layer, in the shape of the ONNX
    values = {integer_graph.operators[0].output: log_mel}
    reference = ReferenceModel(integer_graph)
    for operator in integer_graph.operators[1:]:
        values[operator.output] = reference.apply(operator, values)
    assert tuple(runner.output["shape"]) == values[integer_graph.output].shape


def test_differences_are_seen():
    """The comparison fails where a file computes something else."""
    sketch = Sketch().convolution(2, (3, 3), (1, 1), (1, 1, 1, 1))
    integer_graph = sketch.graph()
    data = write_tflite(integer_graph, 8)
    (_, convolution) = integer_graph.operators
    convolution.weight[...] = -convolution.weight
    log_mel = sketch.generator.integers(-128, 128, (1, 1, 8, 5)).astype(np.int8)
    (steps,) = Runner(integer_graph, data).differences(log_mel).values()
    assert steps.max() > 1


# -- what is in the file -------------------------------------------------------


def test_operators_of_the_bundled_model(bundled):
    data = write_tflite(bundled, 499)
    assert operators(data) == [
        *["CONV_2D"] * 3,
        "PAD",  # SAME would not look at the first row of an even number
        "MAX_POOL_2D",
        *["CONV_2D"] * 5,
        "TRANSPOSE",
        "RESHAPE",
        "QUANTIZE",
        *["CONV_2D"] * 2,
        *["TRANSPOSE"] * 2,
        "SOFTMAX",
        "BATCH_MATMUL",
        "DEQUANTIZE",
        "RESHAPE",
        "FULLY_CONNECTED",
    ]


@pytest.mark.parametrize(
    "mels, kernel, stride, pad, expected",
    [
        (8, 3, 1, 1, ["MAX_POOL_2D"]),
        (8, 3, 2, 1, ["PADV2", "MAX_POOL_2D"]),
        (7, 3, 2, 1, ["MAX_POOL_2D"]),
        (8, 2, 2, 0, ["MAX_POOL_2D"]),
        (8, 4, 1, 1, ["PADV2", "MAX_POOL_2D"]),
    ],
)
def test_border_only_where_it_is_needed(mels, kernel, stride, pad, expected):
    sketch = Sketch(mels=mels)
    sketch.add(MaxPool, (kernel, kernel), (stride, stride), (pad,) * 4)
    found = operators(write_tflite(sketch.graph(), mels))
    assert found == [*expected, "DEQUANTIZE", "TRANSPOSE"]  # scores in ONNX's order


def test_scales_and_weights_are_those_of_the_graph(bundled):
    main = parsed(data := write_tflite(bundled, 100)).Subgraphs(0)
    tensors = {main.Tensors(i).Name().decode(): i for i in range(main.TensorsLength())}
    convolutions = [
        operator for operator in bundled.operators if isinstance(operator, Convolution)
    ]
    for operator in convolutions:
        target = bundled.tensors[operator.output]
        quantization = main.Tensors(tensors[operator.output]).Quantization()
        assert quantization.Scale(0) == np.float32(target.scale)
        assert quantization.ZeroPoint(0) == target.zero_point
        for part, dtype, truth in (
            ("weight", np.int8, operator.weight.transpose(0, 2, 3, 1)),
            ("bias", np.int32, operator.bias),
        ):
            tensor = main.Tensors(tensors[f"{operator.output}/{part}"])
            content = parsed(data).Buffers(tensor.Buffer()).DataAsNumpy()
            np.testing.assert_array_equal(content.view(dtype), truth.ravel())
            assert tensor.ShapeAsNumpy().tolist() == list(truth.shape)
        source = bundled.tensors[operator.inputs[0]]
        weight = main.Tensors(tensors[f"{operator.output}/weight"]).Quantization()
        factor = source.scale * weight.ScaleAsNumpy().astype(float) / target.scale
        np.testing.assert_allclose(factor, operator.rescale.factor, rtol=2e-7)


def test_constants_are_aligned(bundled):
    data = write_tflite(bundled, 100, {"labels": "a"})
    model = parsed(data)
    start = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    for index in range(1, model.BuffersLength()):
        content = model.Buffers(index).DataAsNumpy()
        assert (content.__array_interface__["data"][0] - start) % 16 == 0


def test_metadata(bundled):
    metadata = {"licence": "Apache-2.0", "labels": "arousal,dominance,valence", "x": ""}
    data = write_tflite(bundled, 100, metadata)
    model = parsed(data)
    found = {}
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        buffer = model.Buffers(entry.Buffer())
        content = b"" if buffer.DataIsNone() else buffer.DataAsNumpy().tobytes()
        found[entry.Name().decode()] = content.decode()
    assert found == metadata
    Runner(bundled, data)
    assert parsed(write_tflite(bundled, 100)).MetadataLength() == 0


def test_same_bytes_twice(bundled):
    first = write_tflite(bundled, 100, {"a": "1", "b": "2"})
    assert first == write_tflite(bundled, 100, {"b": "2", "a": "1"})


def test_size(bundled, covariance):
    assert len(write_tflite(bundled, 499)) < 96_000
    assert len(write_tflite(covariance, 499)) < 31_000


@pytest.mark.parametrize("samples", [64, 95, 96, 4000, 4001])
def test_frames(bundled, samples):
    generator = np.random.default_rng(samples)
    signal = generator.standard_normal(samples)
    log_mel = ReferenceModel(bundled).run(signal)[bundled.operators[0].output]
    assert count_frames(bundled, samples) == log_mel.shape[2]


def test_no_frames(bundled):
    front_end = bundled.operators[0].front_end
    short = front_end.window_length - sum(front_end.padding) - 1
    assert count_frames(bundled, short) == 0


@pytest.mark.skipif(shutil.which("vela") is None, reason="no vela: no NPU is planned")
@pytest.mark.parametrize("chip, more", [("u55-128", {"BATCH_MATMUL"}), ("u85-256", ())])
@pytest.mark.parametrize("name", ["wav2small", "wav2small-rt", "wav2small-rt-mini"])
def test_the_body_runs_on_an_npu(name, chip, more, tmp_path):
    model = tmp_path / "model.tflite"
    model.write_bytes(write_tflite(read(ASSETS / "models" / name / "model.onnx"), 100))
    options = ["--accelerator-config", f"ethos-{chip}", "--output-dir", tmp_path]
    words = ["vela", model, *options, "--show-cpu-operations"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    left = set(re.findall(r"\(supported operators\) operator: (\w+)", done.stdout))
    assert left == {"DEQUANTIZE", "RESHAPE", "FULLY_CONNECTED", *more}
    assert re.search(r"NPU: Conv2D", done.stdout)


# -- what is refused -----------------------------------------------------------


def deep(**target):
    """Layer whose output has more than 8 bits."""
    return Sketch().convolution(
        2, (1, 1), (1, 1), (0,) * 4, dtype="int32", zero_point=0, **target
    )


def unknown():
    sketch = Sketch().add(Table, np.arange(256))
    model = helper.make_model(
        helper.make_graph([helper.make_node("HardSwish", ["x"], ["y"])], "g", [], [])
    )
    operator = sketch.operators[-1]
    sketch.operators[-1] = Table(operator.inputs, "t1", (0,), operator.table)
    return sketch.graph(model)


def grouped():
    sketch = Sketch().convolution(4, (1, 1), (1, 1), (0,) * 4)
    weights = sketch.weights(4, 2, 1, 1)
    sketch.add(Convolution, *weights, (1, 1), (0,) * 4, 2)
    return sketch.graph()


def sum_of_two_shapes():
    sketch = Sketch()
    sketch.add(MaxPool, (2, 2), (2, 2), (0,) * 4)
    return sketch.add(Sum, (1, 1), 1, source=("x", sketch.name)).graph()


@pytest.mark.parametrize(
    "make, message",
    [
        (unknown, r"TFLite Micro can express, got Table 1 \(HardSwish\): take the"),
        (grouped, "operator must be a convolution of one group or a depthwise one"),
        (sum_of_two_shapes, "operator must be a sum of two int8 maps of one shape"),
        (
            lambda: Sketch().linear(5, 2).graph(),
            "operator must be a product of a matrix with one or many rows",
        ),
        (
            lambda: deep().add(Reshape, (0, -1)).linear(80, 2).graph(),
            "operator must be a layer of an int8 map, got Linear 1",
        ),
        (
            lambda: Sketch().add(SoftmaxPool, 2, None, source=("x", "x")).graph(),
            "operator must be a pooling of what a layer of int8 makes",
        ),
        (
            lambda: deep().add(Concat, 1, (0,)).graph(),
            "operator must be one that stands after the pooling, got Concat 1",
        ),
        (
            lambda: Sketch().convolution(1, (9, 1), (1, 1), (0,) * 4).graph(),
            r"map must be at least \(9, 1\), got \(8, 5\) at Convolution 1: take more",
        ),
    ],
)
def test_graph_is_refused(make, message):
    with pytest.raises(ExportError, match=message):
        write_tflite(make(), 8)


@pytest.mark.parametrize("frames", [0, -3])
def test_frames_are_refused(bundled, frames):
    with pytest.raises(ExportError, match=f"frames must be at least 1, got {frames}"):
        write_tflite(bundled, frames)


@pytest.mark.parametrize("metadata", [{"": "x"}, {"a": 1}, {2: "x"}])
def test_metadata_is_refused(bundled, metadata):
    with pytest.raises(ExportError, match="metadata must map text to text, got"):
        write_tflite(bundled, 10, metadata)


def test_without_the_package(bundled, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ToolError, match=r"pip install 'wav2small\[tflite\]'"):
        write_tflite(bundled, 10)
