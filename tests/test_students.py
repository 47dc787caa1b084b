from __future__ import annotations

import copy
import dataclasses
import functools

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from wav2small.cli.untrained import untrained
from wav2small.errors import InputError
from wav2small.export import package
from wav2small.students import SMALL, STUDENTS, student

LENGTHS = (64, 65, 500, 1601, 16000)

# name: parameters, trainable parameters; the rest is the frozen front end
COUNTS = {
    "wav2small": (72_659, 67_577),
    # front end: 2 * 65 * 64 + 65 * 26
    "wav2small-stream": (67_577 + 10_010, 67_577),
    "wav2small-17k": (15_888, 10_806),
    # front end: 2 * 257 * 512 + 257 * 40
    "wav2small-rt": (273_448 + 45_859, 45_859),
    "wav2small-rt-mini": (273_448 + 31_011, 31_011),
    # front end: 2 * 129 * 256 + 129 * 16
    "wav2small-rt-nano": (68_112 + 5_683, 5_683),
    "mobilenetv3-small": (1_520_643 + 279_616, 1_520_643),
    "mobilenetv3-large": (5_483_032 - 288 - 1_281_000 + 3_843 + 279_616, 4_205_587),
    "mobilenetv4-small": (3_774_024 - 1280 - 576 - 1_277_157 + 279_616, 2_495_011),
    "mobilenetv4-medium": (9_715_512 - 1280 - 576 - 1_277_157 + 279_616, 8_436_499),
}
MOBILENETS = [name for name in STUDENTS if name.startswith("mobilenet")]


def noise(batch: int, time: int, seed: int = 0) -> torch.Tensor:
    """Noise whose spectrum and envelope differ from element to element."""
    generator = np.random.default_rng(seed)
    signal = generator.standard_normal((batch, time))
    for element in signal:
        element[1:] -= generator.uniform(-0.9, 0.9) * element[:-1]
        element *= np.linspace(*generator.uniform(0.1, 1, 2), time)
    return torch.tensor(signal / 10, dtype=torch.float32)


@functools.cache
def calibrated(name: str) -> nn.Module:
    """A student whose batch normalisation has seen signals, so it is not flat."""
    torch.manual_seed(0)
    module = STUDENTS[name].build()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # running statistics are plain averages
    module.train()
    with torch.no_grad():
        signal = noise(6, 8000, seed=1)
        for element, time in zip(signal[3:], (3000, 800, 64), strict=True):
            element[time:] = 0
        module(signal)
    return module.eval()


@pytest.fixture(params=STUDENTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def module(name: str) -> nn.Module:
    return calibrated(name)


def test_every_student_is_counted() -> None:
    assert set(COUNTS) == set(STUDENTS)


def test_parameter_count(name: str, module: nn.Module) -> None:
    parameters = list(module.parameters())
    count = sum(p.numel() for p in parameters)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    assert (count, trainable) == COUNTS[name]
    assert STUDENTS[name].parameters == count


def test_configuration_is_frozen(name: str, module: nn.Module) -> None:
    config = STUDENTS[name].config
    assert module.config == config
    field = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, field, getattr(config, field))


@torch.no_grad()
@pytest.mark.parametrize("time", LENGTHS)
def test_any_length_and_batch(module: nn.Module, time: int) -> None:
    assert module.min_samples == 64
    for batch in (1, 3):
        scores = module(noise(batch, time))
        assert scores.shape == (batch, 3)
        assert scores.dtype == torch.float32
        assert scores.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize(
    # Double precision shows that padding is not read at all. In single precision
    # a random deep network already differs by 2e-5 between batch sizes.
    "dtype, tolerance",
    [(torch.float32, 5e-5), (torch.float64, 1e-10)],
)
def test_padding_changes_nothing(
    module: nn.Module, dtype: torch.dtype, tolerance: float
) -> None:
    module = copy.deepcopy(module).to(dtype)
    signal = noise(len(LENGTHS), 17000).to(dtype)
    padded = module(signal, torch.tensor(LENGTHS))
    alone = torch.cat(
        [module(signal[i : i + 1, :time]) for i, time in enumerate(LENGTHS)]
    )
    error = (padded - alone).abs().amax(dim=1) / alone.abs().amax(dim=1)
    assert error.max() <= tolerance
    # the same without lengths is far off, so the comparison can fail
    ignored = (module(signal) - alone).abs().amax(dim=1) / alone.abs().amax(dim=1)
    assert ignored.max() > 100 * tolerance


@torch.no_grad()
def test_batch_order_is_kept(module: nn.Module) -> None:
    signal = noise(4, 4000)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        module(signal[order]), module(signal)[order], rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize("gain", [0.1, 0.5, 3.0])
def test_gain_and_offset_change_nothing(
    name: str, module: nn.Module, gain: float
) -> None:
    # what streams can't know the mean
    offset = 0.0 if getattr(module.config, "past_frames", None) else 0.1
    # Double precision and a loud signal: rounding of the quietest cells
    # and the floor of 1e-7 on the power would otherwise be what is measured.
    module = copy.deepcopy(module).double()
    signal = 10 * noise(2, 8000).double()
    expected = module(signal)
    actual = module(gain * signal + offset)
    assert (actual - expected).abs().max() <= 2e-3 * expected.abs().max()


@torch.no_grad()
def test_silence_is_finite(module: nn.Module) -> None:
    assert module(torch.zeros(1, 8000)).isfinite().all()


def test_gradients_reach_all_but_the_front_end(name: str) -> None:
    torch.manual_seed(0)
    module = STUDENTS[name].build().train()
    before = {key: value.clone() for key, value in module.named_parameters()}
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    module(noise(4, 8000)).square().sum().backward()
    frozen = set()
    for key, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.abs().max() > 0, key
        else:
            assert parameter.grad is None, key
            frozen.add(key)
    optimizer.step()
    assert len(frozen) == 3
    for end in ("conv_real.weight", "conv_imag.weight", "logmel_extractor.melW"):
        assert any(key.endswith(end) for key in frozen)
    for key, parameter in module.named_parameters():
        assert torch.equal(parameter, before[key]) == (key in frozen), key


def test_same_seed_same_weights(name: str) -> None:
    def build(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return STUDENTS[name].build().state_dict()

    first, second, other = build(7), build(7), build(8)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@torch.no_grad()
@pytest.mark.parametrize("name", ["wav2small-rt", "wav2small-rt-mini"])
def test_what_streams_looks_ahead_a_fixed_time(name: str) -> None:
    """Maps up to the pooling must not change by what comes later than that."""
    module = copy.deepcopy(calibrated(name)).double()
    found: list[torch.Tensor] = []
    module.score.register_forward_hook(lambda *hook: found.append(hook[2]))
    config = module.config
    reach = sum(config.dilations) * (config.kernel // 2)  # at half the frame rate
    ahead = config.hop_length * (2 * reach + 3) + config.window_length
    signal = noise(1, 96_000).double()
    changed = signal.clone()
    start = 70_000
    changed[:, start:] *= -3
    module(signal)
    module(changed)
    same = (found[0] == found[1]).all(dim=1).flatten()
    assert same[: (start - ahead) // (2 * config.hop_length)].all()
    assert not same[start // (2 * config.hop_length) :].any()


@torch.no_grad()
@pytest.mark.parametrize("name", ["wav2small-stream", "wav2small-rt-mini"])
def test_what_was_forgotten_does_not_matter(name: str) -> None:
    module = copy.deepcopy(calibrated(name)).double()
    signal = noise(1, 48_000).double()
    other = signal.clone()
    other[:, :16_000] = noise(2, 16_000)[1:].double().cumsum(dim=1) / 20
    rates = torch.tensor([0.0, 20.0], dtype=torch.float64)
    scores, others = (
        module(both.expand(2, -1), forgetting=rates) for both in (signal, other)
    )
    assert torch.allclose(scores[0], module(signal)[0], rtol=0, atol=1e-12)
    apart = (scores - others).abs().amax(dim=1)
    assert apart[1] < 1e-6 < apart[0] / 10


def test_names_of_the_published_17k_weights() -> None:
    expected = {
        "adv.weight": (3, 338),
        "adv.bias": (3,),
        "vgg7.spectrogram_extractor.conv_real.weight": (33, 1, 64),
        "vgg7.spectrogram_extractor.conv_imag.weight": (33, 1, 64),
        "vgg7.logmel_extractor.melW": (33, 26),
    }
    for part in ("lin", "sof"):
        expected[f"vgg7.{part}.weight"] = (13, 13, 1, 1)
        expected[f"vgg7.{part}.bias"] = (13,)
    for index in range(1, 8):
        layer = f"vgg7.l{index}"
        expected[f"{layer}.conv.weight"] = (13, 1 if index == 1 else 13, 3, 3)
        for part in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{layer}.norm.{part}"] = (13,)
        expected[f"{layer}.norm.num_batches_tracked"] = ()
    state = calibrated("wav2small-17k").state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == expected


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("name", ["mobilenetv3-small", "mobilenetv4-small"])
def test_onnx_with_dynamic_time(name: str, tmp_path) -> None:
    module = calibrated(name)
    time = torch.export.Dim("time", min=64, max=160_000)
    program = torch.onnx.export(
        module,
        (noise(1, 4000),),
        dynamo=True,
        dynamic_shapes={"signal": {1: time}},
        verbose=False,
    )
    path = tmp_path / "model.onnx"
    program.save(path)
    session = onnxruntime.InferenceSession(path)
    for samples in LENGTHS:
        signal = noise(1, samples)
        (scores,) = session.run(None, {session.get_inputs()[0].name: signal.numpy()})
        expected = module(signal).numpy()
        assert np.abs(scores - expected).max() <= 1e-4 * np.abs(expected).max()


def test_dropout_acts_in_training_alone() -> None:
    name = MOBILENETS[0]
    module = copy.deepcopy(calibrated(name))
    signal = noise(2, 4000)
    with torch.no_grad():
        assert torch.equal(module(signal), module(signal))
        module.dropout.train()
        assert not torch.equal(module(signal), module(signal))


def test_student() -> None:
    assert student("wav2small") is STUDENTS["wav2small"]


def test_unknown_student() -> None:
    message = "student must be one of wav2small, .*, got 'resnet': see"
    with pytest.raises(InputError, match=message):
        student("resnet")


@pytest.mark.parametrize(
    "name", [name for name in STUDENTS if name.startswith("wav2small")]
)
def test_small_students_are_within_60_kib_by_default(name: str) -> None:
    assert STUDENTS[name].max_bytes == SMALL == 61_440
    model = untrained(name, {}, STUDENTS[name].max_bytes)
    metadata = {"provenance": "x" * 600}
    data = package.pack(model, metadata=metadata, labels=["a", "d", "v"])
    assert len(data) <= SMALL


def test_a_mobilenet_has_no_limit() -> None:
    assert {STUDENTS[name].max_bytes for name in MOBILENETS} == {None}
