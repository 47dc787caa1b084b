"""The command that makes a few clips of many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..adv import DIMENSIONS
from ..progress import ProgressBar
from .options import AudioRoot, Seed
from .terminal import (
    check_outputs,
    say,
    say_averaged,
    say_unreadable,
    scores_line,
    show,
)

if TYPE_CHECKING:
    import numpy as np

    from ..finetune.condensed import TinyNetwork


def condense(
    labels: Annotated[
        Path, typer.Argument(help="Table (csv, parquet) of what people say, or labels.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the set to write.")],
    count: Annotated[int, typer.Option(help="Maps of the set.", min=2)] = 20,
    rounds: Annotated[int, typer.Option(help="Updates of the maps.", min=1)] = 160,
    seed: Seed = 0,
    audio_root: AudioRoot = None,
) -> None:
    """Make a few log-mel maps that train a tiny network as all clips would.

    Rows whose split is dev or test are kept apart, and say how good it is.
    """
    check_outputs(folders=[out])
    if out.exists():
        raise typer.BadParameter(f"{out} is there: name another")
    import numpy as np

    from wav2small.export.base.files import claim

    from ..finetune.condense import CondenseConfig
    from ..finetune.condense import condense as make
    from ..finetune.condensed import log_mel_maps, train_tiny
    from ..finetune.table import read_clips, read_table

    config = CondenseConfig(count=count, rounds=rounds, seed=seed)
    with claim(out), ProgressBar() as progress:
        table = read_table(labels, audio_root)
        say_averaged(table.averaged)
        signals, rows = read_clips(table, progress)
        say_unreadable(int(table.rated.sum()) - len(rows))
        maps, truth = log_mel_maps(signals), table.truth[rows]
        split = np.array(table.labels.metadata["split"], object)[rows]
        held = np.isin(split, ("dev", "test"))
        made, _ = make(maps[~held], truth[~held], config, progress=progress)
        made.save(out)
    if held.sum() >= 2:
        own, apart = (maps[~held], truth[~held]), (maps[held], truth[held])
        some = np.random.default_rng(seed).choice(len(own[0]), count, replace=False)
        drawn = own[0][some], own[1][some]
        _say_scores(f"the {count} that were made", made.train(), *apart)
        for what, pair in ((f"{count} real ones", drawn), (f"all {len(own[0])}", own)):
            _say_scores(what, train_tiny(*pair, steps=200, seed=seed), *apart)
    show(out)


def _say_scores(
    what: str, network: TinyNetwork, maps: np.ndarray, truth: np.ndarray
) -> None:
    """Say how well a network scores clips that it has not heard."""
    import torch

    from ..metrics import concordance_cc

    with torch.inference_mode():
        scores = network(torch.from_numpy(maps)).numpy()
    found = {
        name: float(concordance_cc(truth[:, axis], scores[:, axis]))
        for axis, name in enumerate(DIMENSIONS)
    }
    say(f"trained on {what}: CCC {scores_line(found)}")
