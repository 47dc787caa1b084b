"""Pictures are drawn, and say the figure that they show."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from wav2small.metrics import concordance_cc
from wav2small.pictures import draw_agreement


def test_agreement_is_drawn_with_its_figures(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=(20, 3))
    prediction = truth + 0.1 * rng.normal(size=(20, 3))
    titles = []
    save = Figure.savefig

    def spy(figure, *args, **kwargs):
        titles.extend(panel.get_title() for panel in figure.axes)
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    path = tmp_path / "deep" / "picture.png"
    draw_agreement(truth, prediction, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    value = concordance_cc(truth[:, 1], prediction[:, 1])
    assert titles[1] == f"dominance: CCC {value:.3f}"
