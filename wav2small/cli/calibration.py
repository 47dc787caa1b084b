"""The command that fits a model to one wearer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..adv import DIMENSIONS
from .options import Overwrite
from .terminal import show


def calibrate(
    model: Annotated[str, typer.Argument(help="Bundled name or ONNX.")],
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="CLIPS... OUT",
            help="One wearer's clips: of calm speech, or with scores in a manifest; "
            "last, the JSON file to write.",
        ),
    ],
    overwrite: Overwrite = False,
) -> None:
    """Fit a model's scores to one wearer, for 'predict --calibration' and the C."""
    from ..api.personal import TABLE_SUFFIX
    from ..api.personal import calibrate as run
    from .options import sources_and_output

    clips, out = sources_and_output(paths, "OUT")
    if out.exists() and not overwrite:
        raise typer.BadParameter(f"{out} is there: name another or --overwrite")
    content = run(clips, out, model=model)
    kind = "with labels" if content["labelled"] else "of calm speech"
    show(f"{content['clips']} clips {kind}, of {content['model']}")
    for name in DIMENSIONS:
        gain, offset = content["gains"][name], content["offsets"][name]
        show(f"{name:<9} {gain:6.3f} * score {offset:+.3f}")
    show(f"wrote {out} and, for the C, {out.with_suffix(TABLE_SUFFIX)}")
