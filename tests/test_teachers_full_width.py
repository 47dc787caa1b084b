"""The two published teachers at their full width, with random weights.

Files are laid out as the published ones are: keys, settings, shards of 16-bit floats
with an index. It takes 0.7 and 1.3 GB for each copy of the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import teacher_checkpoints as made
import torch

from wav2small.teachers.loading import load_teacher
from wav2small.teachers.source import INDEX

SIGNALS = [made.sound(length) for length in (8000, 12001)]

MILLIONS = {"dawn": 165, "odyssey": 319}
"""Of parameters: 12 layers of wav2vec2-large, 24 of WavLM-large, and the heads."""


def write_halves(
    folder: Path,
    config: Mapping[str, object],
    weights: Mapping[str, torch.Tensor],
    preprocessor: Mapping[str, object],
) -> None:
    """Write two shards of 16-bit floats and their index."""
    folder.mkdir()
    names = sorted(weights)
    where: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        halves = {
            name.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ): weights[name].half().contiguous()
            for name in part
        }
        safetensors.torch.save_file(halves, folder / file)
        where |= dict.fromkeys(halves, file)
    contents = {
        INDEX: {"metadata": {}, "weight_map": where},
        "config.json": config,
        "preprocessor_config.json": preprocessor,
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# A model\n")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dawn", "odyssey"])
def test_scores_are_those_of_the_formula(kind: str, tmp_path: Path) -> None:
    # 12 of the 24 layers of wav2vec2-large-robust, all 24 of WavLM-large
    if kind == "dawn":
        form = {**made.FULL_WIDTH, **made.DAWN_FORM, "num_hidden_layers": 12}
        config, weights, model = made.dawn(form=form)
        preprocessor, score = made.DAWN_PREPROCESSOR, made.dawn_scores
        config["conv_bias"] = True
    else:
        form = {**made.FULL_WIDTH, **made.LARGE_FORM, "num_hidden_layers": 24}
        config, weights, model = made.odyssey(form=form)
        preprocessor, score = made.ODYSSEY_PREPROCESSOR, made.odyssey_scores
    # in place: a second copy of this size is not needed
    for value in weights.values():
        value.copy_(value.half())
    write_halves(tmp_path / kind, config, weights, preprocessor)
    wanted = [score(weights, model, signal) for signal in SIGNALS]
    del model, weights
    teacher = load_teacher(str(tmp_path / kind))
    count = sum(p.numel() for p in teacher.network.parameters())
    assert round(count / 1e6) == MILLIONS[kind]
    np.testing.assert_allclose(teacher.predict(SIGNALS), wanted, rtol=0, atol=1e-3)
    assert np.std(wanted, axis=0).min() > 0.01
