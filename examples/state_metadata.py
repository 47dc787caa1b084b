"""Write anew what the bundled models say of themselves, and nothing else of them.

    python examples/state_metadata.py DATA/librispeech_subset

States the settings of the log-mel, the lowest and highest scores on the audio
(the clips that an export of these models is calibrated on) and the licence's mark.
Graph and weights stay the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx

from wav2small.adv import DIMENSIONS
from wav2small.api.exporting import read_calibration
from wav2small.export import package
from wav2small.export.base import checksums, log_mel
from wav2small.export.base.files import replace_file
from wav2small.export.checks import parity
from wav2small.export.pipeline import describe_range
from wav2small.models import bundled, find_checkpoint, find_onnx, load_student
from wav2small.teachers.licence import mark


def state(path: Path, entries: dict[str, str]) -> None:
    """Write entries of the metadata into a model folder."""
    model = onnx.load(path)
    before = model.graph.SerializeToString(deterministic=True)
    said = {entry.key: entry.value for entry in model.metadata_props} | entries
    onnx.helper.set_model_props(model, dict(sorted(said.items())))
    if model.graph.SerializeToString(deterministic=True) != before:
        sys.exit(f"{path}: the graph is another one")
    data = model.SerializeToString(deterministic=True)
    replace_file(path, data)
    replace_file(
        path.with_name(package.AUDONNX_FILE), package.describe(data, DIMENSIONS)
    )
    checksums.write(path.parent)


def main(sources: list[str]) -> None:
    """Measure and write each of them."""
    if not sources:
        sys.exit("usage: python examples/state_metadata.py AUDIO ...")
    signals: list[np.ndarray] = read_calibration(sources)
    for name in bundled():
        module, config = load_student(find_checkpoint(name))
        path = Path(find_onnx(name))
        settings = module.log_mel_settings
        assert isinstance(settings, log_mel.LogMelSettings)
        measured = describe_range(DIMENSIONS, parity.scores(path, signals))
        state(
            path,
            {
                log_mel.ENTRY: settings.to_text(),
                "range": measured,
                "use": mark(config),
            },
        )
        print(f"{name}: {path.stat().st_size:,} bytes, {measured}")


if __name__ == "__main__":
    main(sys.argv[1:])
