"""Pictures are drawn, and say the figure that they show."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from recordings import tone, write

from wav2small.audio import Source
from wav2small.metrics import concordance_cc
from wav2small.pictures import draw_agreement, draw_predictions, extremes
from wav2small.prediction import Prediction


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


@pytest.mark.parametrize("seconds", [0.01, 1.0, 61.3])
def test_extremes_of_a_waveform_are_those_of_its_pieces(tmp_path, seconds):
    signal = tone(seconds, frequency=3.0)
    path = write(tmp_path / "a.wav", signal, subtype="FLOAT")
    low, high = extremes(Source(path, "a.wav"), seconds)
    assert len(low) == len(high) <= 1000
    length = max(1, -(-len(signal) // 1000))
    pieces = [signal[at : at + length] for at in range(0, len(signal), length)]
    np.testing.assert_array_equal(low, [piece.min() for piece in pieces])
    np.testing.assert_array_equal(high, [piece.max() for piece in pieces])


def test_predictions_are_drawn_where_they_are(tmp_path, monkeypatch):
    drawn = []
    save = Figure.savefig

    def spy(figure, *args, **kwargs):
        drawn.append(figure)
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    name = "$\\frac{$ \u202e.wav"
    path = write(tmp_path / "a.wav", tone(3.0))
    items = [
        Prediction(name, 0.0, 1.0, "speech", (0.1, 0.2, 0.3)),
        Prediction(name, 1.0, 2.0, "silence", None),
        Prediction(name, 2.0, 3.0, "speech", (0.7, 0.8, 0.9)),
    ]
    draw_predictions(Source(path, name), items, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    wave, scores = drawn[0].axes
    assert wave.get_title(loc="left") == name.replace("\u202e", "\\u202e")
    for axis, drawn_line in enumerate(scores.get_lines()):
        assert list(drawn_line.get_xdata()) == [0.5, 1.5, 2.5]
        values = [items[0].scores[axis], np.nan, items[2].scores[axis]]
        np.testing.assert_array_equal(drawn_line.get_ydata(), values)


def test_predict_draws_one_recording(run, tmp_path):
    path = write(tmp_path / "a.wav", tone(1.0))
    picture = tmp_path / "deep" / "p.png"
    assert run("predict", path, "--picture", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    other = write(tmp_path / "b.wav", tone(1.0))
    code, _, told = run("predict", path, other, "--picture", tmp_path / "q.png")
    assert code == 2 and "one recording, got 2" in " ".join(told.split())
    assert not (tmp_path / "q.png").exists()
