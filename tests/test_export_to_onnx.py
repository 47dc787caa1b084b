import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from wav2small.export.base.errors import ExportError
from wav2small.export.model import topology
from wav2small.export.model.constants import expand_constants
from wav2small.export.model.to_onnx import to_onnx
from wav2small.students import STUDENTS

NAMES = ["wav2small", "wav2small-17k", "mobilenetv3-small", "mobilenetv4-small"]


def noise(samples, seed=0):
    return np.random.default_rng(seed).standard_normal((1, samples)).astype(np.float32)


@pytest.fixture(scope="module", params=NAMES)
def student(request):
    """Random weights with the batch statistics of noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = STUDENTS[request.param].build().train()
        with torch.no_grad():
            for _ in range(3):
                module(torch.randn(4, 4000))
    module.eval()
    return module, to_onnx(module, window=None, example_samples=4000)


@pytest.mark.parametrize("samples", [64, 65, 1000, 16000])
def test_parity_to_torch(student, samples):
    module, model = student
    signal = noise(samples, samples)
    (result,) = topology.session(model).run(["logits"], {"signal": signal})
    with torch.no_grad():
        expected = module(torch.from_numpy(signal)).numpy()
    assert result.shape == (1, 3)
    assert np.abs(result - expected).max() <= 1e-5 * np.abs(expected).max()


def test_contract(student):
    _, model = student
    (signal,), (logits,) = model.graph.input, model.graph.output
    assert signal.name == "signal" and logits.name == "logits"
    shape = signal.type.tensor_type.shape.dim
    assert shape[0].dim_value == 1 and shape[1].dim_param == "time"
    assert [dim.dim_value for dim in logits.type.tensor_type.shape.dim] == [1, 3]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    onnx.checker.check_model(model, full_check=True)
    assert not any(t.external_data for t in model.graph.initializer)


def test_nothing_but_the_graph_is_stored(student):
    _, model = student
    (entry,) = model.metadata_props
    assert entry.key == "log_mel" and not model.graph.value_info
    for node in model.graph.node:
        assert not (node.name or node.doc_string or node.metadata_props)
    stored = [t.SerializeToString() for t in model.graph.initializer]
    names = {t.name for t in model.graph.initializer}
    assert max(len(name) for name in names) <= 2
    assert len(stored) == len(names)
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"BatchNormalization", "Constant", "Identity"}


def test_same_bytes_twice(student):
    module, model = student
    again = to_onnx(module, window=None, example_samples=4000)
    assert again.SerializeToString() == model.SerializeToString()


def test_front_end_is_exact_and_not_stored():
    student = STUDENTS["wav2small"].build()
    model = to_onnx(student, window=None, example_samples=4000)
    learned = sum(p.numel() for p in student.parameters() if p.requires_grad)
    # batch normalisation is folded, the kernels are formulas
    assert model.ByteSize() < 4 * learned + 4096
    expanded = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in expand_constants(model).graph.initializer
    }
    front_end = student.vgg7
    for part in ("conv_real", "conv_imag"):
        kernel = getattr(front_end.spectrogram_extractor, part).weight.detach().numpy()
        same_shape = [v for v in expanded.values() if v.shape == kernel.shape]
        assert min(np.abs(v - kernel).max() for v in same_shape) <= 1e-7
    mel = front_end.logmel_extractor.melW.detach().numpy().T[:, :, None]
    assert any(v.shape == mel.shape and (v == mel).all() for v in expanded.values())


def test_window_is_fixed():
    module = STUDENTS["wav2small-17k"].build().eval()
    model = to_onnx(module, window=800, example_samples=1)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [1, 800]
    signal = noise(800)
    (result,) = topology.session(model).run(None, {"signal": signal})
    expected = module(torch.from_numpy(signal)).detach().numpy()
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)


def test_mode_is_left_as_it_was():
    module = STUDENTS["wav2small-17k"].build().train()
    module.vgg7.l1.eval()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    to_onnx(module, window=None, example_samples=1000)
    assert module.training and module.vgg7.l2.training and not module.vgg7.l1.training
    assert all(
        (state[key] == value).all() for key, value in module.state_dict().items()
    )


class Toy(nn.Module):
    def __init__(self, outputs=3, branch=False):
        super().__init__()
        self.linear = nn.Linear(1, outputs)
        self.branch = branch

    def forward(self, signal):
        x = signal.mean(dim=1, keepdim=True)
        if self.branch and int(signal.shape[1]) > 500:
            x = x * 2
        return self.linear(x)


def test_branch_on_the_length_is_refused():
    with pytest.raises(ExportError, match="module must be exportable for 1000 samples"):
        to_onnx(Toy(branch=True), window=None, example_samples=1000)
    # of one length there is nothing to get wrong
    to_onnx(Toy(branch=True), window=1000, example_samples=1)


def test_wrong_output_is_refused():
    with pytest.raises(ExportError, match=r"shape \(1, 3\), got \(1, 2\)"):
        to_onnx(Toy(outputs=2), window=None, example_samples=100)


def test_too_short_example_is_refused():
    module = STUDENTS["wav2small-17k"].build().train()
    with pytest.raises(ExportError, match="module must be exportable for 10 samples"):
        to_onnx(module, window=10, example_samples=1)
    assert module.training


@pytest.mark.parametrize("name", ["window", "example_samples"])
def test_no_samples_are_refused(name):
    window = 0 if name == "window" else None
    with pytest.raises(ExportError, match=f"{name} must be at least 1 sample, got 0"):
        to_onnx(Toy(), window=window, example_samples=0)


def test_import_is_light():
    code = (
        "import sys\n"
        "from wav2small.export import package\n"
        "from wav2small.export.checks import parity\n"
        "from wav2small.export.model import to_onnx\n"
        "from wav2small.export.quantise import steps\n"
        "print({'torch', 'onnxsim', 'onnxscript'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.stdout == "set()\n", result.stderr
