"""Files of the names and shapes of the published 17K weights, filled at random."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from wav2small.errors import InputError
from wav2small.teachers.loading import load_teacher

SHAPES: dict[str, tuple[int, ...]] = {
    "vgg7.spectrogram_extractor.conv_real.weight": (33, 1, 64),
    "vgg7.spectrogram_extractor.conv_imag.weight": (33, 1, 64),
    "vgg7.logmel_extractor.melW": (33, 26),
    "vgg7.lin.weight": (13, 13, 1, 1),
    "vgg7.lin.bias": (13,),
    "vgg7.sof.weight": (13, 13, 1, 1),
    "vgg7.sof.bias": (13,),
    "adv.weight": (3, 338),
    "adv.bias": (3,),
    **{
        f"vgg7.l{layer}.conv.weight": (13, 1 if layer == 1 else 13, 3, 3)
        for layer in range(1, 8)
    },
    **{
        f"vgg7.l{layer}.norm.{name}": (13,)
        for layer in range(1, 8)
        for name in ("weight", "bias", "running_mean", "running_var")
    },
}
"""Names and shapes, as the state dict has them."""


def draw() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    weights = {
        name: torch.randn(shape, generator=generator) / (np.prod(shape[1:]) or 1) ** 0.5
        for name, shape in SHAPES.items()
    }
    for name in weights:
        if name.endswith(("melW", "running_var")):
            weights[name] = weights[name].abs() + 0.5
    return weights


def write(folder: Path, weights: dict[str, torch.Tensor], licence: str) -> str:
    folder.mkdir()
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architectures": ["Wav2Small"]}))
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n\n# Model\n")
    return str(folder)


def by_formula(w: dict[str, torch.Tensor], signal: np.ndarray) -> np.ndarray:
    """Score a signal in float64, as the paper's first author describes it."""
    w = {name: value.double() for name, value in w.items()}
    x = torch.from_numpy(signal.astype(np.float64))
    x = x - x.mean()
    x = x / torch.sqrt((x * x).mean() + 1e-7)
    place = "vgg7.spectrogram_extractor.conv_"
    power = sum(
        functional.conv1d(x[None, None], w[f"{place}{part}.weight"], stride=32) ** 2
        for part in ("real", "imag")
    )[0]
    mel = w["vgg7.logmel_extractor.melW"].T @ power
    x = (10 * torch.log10(mel.clamp(min=1e-10))).T[None, None]
    for layer in range(1, 8):
        x = functional.conv2d(x, w[f"vgg7.l{layer}.conv.weight"], padding=1)
        scale, shift, mean, variance = (
            w[f"vgg7.l{layer}.norm.{name}"][:, None, None]
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        x = (scale * (x - mean) / torch.sqrt(variance + 1e-5) + shift).clamp(min=0)
        if layer == 3:
            x = functional.max_pool2d(x, 3, 2, 1)
    linear, soft = (
        torch.einsum("oc,ctm->otm", w[f"vgg7.{name}.weight"][:, :, 0, 0], x[0])
        + w[f"vgg7.{name}.bias"][:, None, None]
        for name in ("lin", "sof")
    )
    pooled = (linear * torch.softmax(soft, 1)).sum(1)
    features = torch.cat([pooled, pooled @ pooled.T], 1).flatten()
    return (w["adv.weight"] @ features + w["adv.bias"]).numpy()


def test_the_count_is_the_published_one():
    counted = {k: v for k, v in SHAPES.items() if ".running_" not in k}
    assert sum(int(np.prod(shape)) for shape in counted.values()) == 15_888


def test_scores_are_those_of_the_formula(tmp_path):
    weights = draw()
    teacher = load_teacher(
        write(tmp_path / "x", weights, "cc-by-nc-sa-4.0"), policy="research"
    )
    rng = np.random.default_rng(0)
    signals = [
        (rng.normal(size=n) * 0.1 + 0.01).astype(np.float32) for n in (64, 4000, 9001)
    ]
    wanted = [by_formula(weights, signal) for signal in signals]
    np.testing.assert_allclose(teacher.predict(signals), wanted, rtol=2e-4, atol=2e-4)
    assert teacher.info.licence == "CC-BY-NC-SA-4.0"


def test_it_is_refused_unless_it_is_asked_for(tmp_path):
    place = write(tmp_path / "x", draw(), "cc-by-nc-sa-4.0")
    with pytest.raises(InputError, match=r"CC-BY-NC-SA-4.0.*licence-policy research"):
        load_teacher(place)
    (tmp_path / "x" / "README.md").unlink()
    with pytest.raises(InputError, match="licence"):
        load_teacher(place)
    load_teacher(place, policy="research")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("vgg7.l3.norm.bias", None, r"vgg7\.l3\.norm\.bias"),
        ("vgg7.l8.conv.weight", (13, 13, 3, 3), r"vgg7\.l8\.conv\.weight"),
        ("adv.weight", (3, 169), r"adv\.weight \(3, 169\) for \(3, 338\)"),
    ],
)
def test_each_tensor_has_its_place(tmp_path, name, shape, message):
    weights = draw()
    if shape is None:
        del weights[name]
    else:
        weights[name] = torch.zeros(shape)
    place = write(tmp_path / "x", weights, "cc-by-nc-sa-4.0")
    with pytest.raises(InputError, match=f"names and shapes of Wav2Small.*{message}"):
        load_teacher(place, policy="research")
