"""Give a model's ONNX the outputs ``categories`` and ``doubt``.

    python examples/train_categories.py DATA MODEL OUT.onnx
    python examples/train_categories.py LABELS MODEL OUT.onnx

DATA holds ``crema_d`` and ``emodb``; LABELS is a folder that ``wav2small annotate``
wrote, of audio with an ``emotion`` in its manifest; MODEL is a bundled name or an int8
ONNX that streams, of a student of your own for one. Nothing of the model changes: two
small layers on its pooled numbers are added, whose loss is

* of ``categories`` the cross-entropy to what share of the listeners of CREMA-D heard
  which emotion, and to the category of EMO-DB as far as its listeners recognised it;
* of ``doubt`` the likelihood of the error of each score under a Laplace distribution,
  whose scale is then the mean absolute error; what is right is derived as in
  ``studies/calibration_study.py``.

They learn from every second training actor of CREMA-D
and the training speakers of EMO-DB, and are judged by the others;
the test actors of CREMA-D are not looked at.
Of LABELS they learn from all splits but ``test``, which judges: a category is what the
column ``emotion`` says, right are the human scores, or the teacher's where there
are none, so that doubt is then how far the model may be from its teacher.
Printed is, for each corpus,

* how often the likeliest category is the one that most listeners heard
  (of all clips, and the mean over categories), beside what needs no training:
  the most frequent category, and the category whose norm is nearest to the scores;
* the expected calibration error: how far, in ten bins of the likeliest category's
  share, that is from the share of listeners who heard it;
* for each score the error that is expected and the one that is there,
  of the fifth that is doubted least and of the one that is doubted most,
  and the expected calibration error in five bins.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from rich.progress import track

from wav2small import audio
from wav2small.adv import DIMENSIONS
from wav2small.annotation.store import LabelStore
from wav2small.export.base.files import replace_file
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.model.further import with_further
from wav2small.finetune.norms import CATEGORIES, NORMS, norm_score
from wav2small.models import find_onnx

sys.path.append(str(Path(__file__).parent))

import vote_targets

STEPS = 300
EMODB_WEIGHT = 4.0
"""How much a clip of EMO-DB counts, of which there are fewer."""


@dataclass(frozen=True)
class Clips:
    """Clips of all corpora."""

    files: list[Path]
    votes: np.ndarray
    """Share of each category, ``(clips, categories)``."""
    truth: np.ndarray
    """Arousal, dominance, valence, ``(clips, 3)``."""
    held_out: np.ndarray
    """Which clips judge."""
    corpus: np.ndarray
    """``CREMA-D``, ``EMO-DB`` or ``labels``."""
    spans: list[tuple[float, float | None]]
    """Start and end of each in seconds, None where it ends with the file."""


def read_clips(data: Path) -> Clips:
    """Read what listeners said of both corpora."""
    votes = vote_targets.read_votes(data / "crema_d")
    felt = vote_targets.DERIVATIONS["felt by word"](votes)
    judges = set(sorted(set(votes.speakers[votes.training]))[1::2])
    rows = []
    for i in np.flatnonzero(votes.training):
        shares = dict(zip(vote_targets.EMOTIONS, votes.shares[i], strict=True))
        heard = [shares.get(name, 0.0) for name in CATEGORIES]
        path = data / "crema_d" / votes.files[i]
        rows.append((path, heard, felt[i], votes.speakers[i] in judges, "CREMA-D"))
    with (data / "emodb" / "metadata.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            share = float(row["recognised_pct"]) / 100
            rest = (1 - share) / (len(CATEGORIES) - 1)
            heard = [share if n == row["emotion"] else rest for n in CATEGORIES]
            truth = norm_score(row["emotion"], share)
            path = data / "emodb" / row["file"]
            rows.append((path, heard, truth, row["split"] == "test", "EMO-DB"))
    files, *columns = zip(*rows, strict=True)
    arrays = (np.array(column) for column in columns)
    return Clips(list(files), *arrays, spans=[(0.0, None)] * len(files))


def read_labels(folder: Path) -> Clips:
    """Read the clips of a label store whose emotion is one of the categories."""
    store = LabelStore.open(folder)
    labels = store.read()
    emotions, splits = labels.metadata["emotion"], labels.metadata["split"]
    rows = [i for i, name in enumerate(emotions) if name in CATEGORIES]
    held_out = np.array([splits[i] == "test" for i in rows], bool)
    if not held_out.any() or held_out.all():
        sys.exit(
            "labels must have an emotion of training and of test clips, got "
            f"{len(rows)}, {held_out.sum()} of them test: state 'emotion' (one of "
            f"{', '.join(CATEGORIES)}) and 'split' in the manifest"
        )
    human = labels.human[rows]
    return Clips(
        [store.root / labels.names[i] for i in rows],
        np.eye(len(CATEGORIES))[[CATEGORIES.index(str(emotions[i])) for i in rows]],
        np.where(np.isfinite(human), human, labels.scores[rows]).astype(np.float64),
        held_out,
        np.full(len(rows), "labels"),
        [(float(labels.starts[i]), float(labels.ends[i])) for i in rows],
    )


def hear(model: Path, clips: Clips) -> tuple[np.ndarray, np.ndarray]:
    """Scores and pooled numbers of clips, by the integer reference."""
    graph = read(model)
    reference = ReferenceModel(graph)
    (last,) = (o for o in graph.operators if o.output == graph.output)
    scores, pooled = [], []
    for path, (start, end) in track([*zip(clips.files, clips.spans, strict=True)]):
        tensors = reference.run(audio.load(path, start=start, end=end))
        for name, rows in ((graph.output, scores), (last.inputs[0], pooled)):
            rows.append(tensors[name].ravel() * graph.tensors[name].scale)
    return np.array(scores), np.array(pooled)


def fit(
    pooled: np.ndarray, clips: Clips, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit both layers to the clips that do not judge; return weight and bias."""
    taken = ~clips.held_out
    middle, spread = pooled[taken].mean(0), pooled[taken].std(0) + 1e-6
    inputs = torch.from_numpy((pooled[taken] - middle) / spread)
    votes, error = torch.from_numpy(clips.votes[taken]), torch.from_numpy(errors[taken])
    count = torch.from_numpy(
        np.where(clips.corpus[taken] == "EMO-DB", EMODB_WEIGHT, 1.0)
    )[:, None]
    layer = torch.nn.Linear(pooled.shape[1], len(CATEGORIES) + 3).double()
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.bias[len(CATEGORIES) :] = error.mean(0).log()
    optimiser = torch.optim.LBFGS(
        layer.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        odds, doubt = layer(inputs).split([len(CATEGORIES), 3], dim=1)
        entropy = -(votes * odds.log_softmax(1)).sum(1, keepdim=True)
        likelihood = doubt + error * (-doubt).exp()
        total = (count * entropy).sum() + (count * likelihood).sum()
        weights = layer.weight.split([len(CATEGORIES), 3])
        decay = 1e-3 * weights[0].square().sum() + 1e-2 * weights[1].square().sum()
        found: torch.Tensor = total / count.sum() + decay
        found.backward()
        return found

    optimiser.step(loss)
    weight = layer.weight.detach().numpy() / spread
    return weight, layer.bias.detach().numpy() - weight @ middle


def calibration_error(said: np.ndarray, there: np.ndarray, bins: int) -> float:
    """Mean distance of what is said and what is there, in bins of as many clips."""
    parts = np.array_split(np.argsort(said, kind="stable"), min(bins, len(said)))
    apart = [len(p) * abs(said[p].mean() - there[p].mean()) for p in parts]
    return float(sum(apart) / len(said))


def judge_categories(name: str, shares: np.ndarray, votes: np.ndarray) -> None:
    """Print how good the likeliest category is."""
    wanted, found = votes.argmax(1), shares.argmax(1)
    recalls = [(found[wanted == c] == c).mean() for c in np.unique(wanted)]
    heard = votes[np.arange(len(votes)), found]
    error = calibration_error(shares.max(1), heard, 10)
    print(
        f"  {name:<14} right {(found == wanted).mean():.3f}, mean over categories "
        f"{np.mean(recalls):.3f}, share of listeners {heard.mean():.3f}, "
        f"calibration error {error:.3f}"
    )


def judge(
    clips: Clips,
    scores: np.ndarray,
    errors: np.ndarray,
    odds: np.ndarray,
    doubt: np.ndarray,
) -> None:
    """Print how good both outputs are on the clips that judge."""
    shares = np.exp(odds - odds.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    norms = 0.5 + 0.5 * np.array([NORMS[name] for name in CATEGORIES])
    for corpus in np.unique(clips.corpus[clips.held_out]):
        taken = clips.held_out & (clips.corpus == corpus)
        votes = clips.votes[taken]
        print(f"{corpus}, {taken.sum()} clips")
        usual = clips.votes[~clips.held_out & (clips.corpus == corpus)].mean(0)
        judge_categories("most frequent", np.tile(usual, (len(votes), 1)), votes)
        far = ((scores[taken][:, None] - norms) ** 2).sum(2)
        near = np.exp(-far / 0.03)
        near /= near.sum(1, keepdims=True)
        judge_categories("nearest norm", near, votes)
        judge_categories("this", shares[taken], votes)
        for i, dimension in enumerate(DIMENSIONS):
            said, there = np.exp(doubt[taken][:, i]), errors[taken][:, i]
            fifths = np.array_split(np.argsort(said), min(5, len(said)))
            ends = [f"{said[p].mean():.3f} is {there[p].mean():.3f}" for p in fifths]
            print(
                f"  doubt of {dimension:<9} least {ends[0]}, most {ends[-1]}, "
                f"calibration error {calibration_error(said, there, 5):.3f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="corpora, or labels")
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    path = find_onnx(arguments.model)
    is_labels = (arguments.data / "manifest.json").is_file()
    clips = (read_labels if is_labels else read_clips)(arguments.data)
    scores, pooled = hear(path, clips)
    errors = np.abs(scores - clips.truth)
    weight, bias = fit(pooled, clips, errors)
    model = with_further(
        onnx.load(path), categories=CATEGORIES, weight=weight, bias=bias
    )
    # judged is what the file says, whose weights have 8 bits
    graph = read(model)
    rows = []
    for name in ("categories", "doubt"):
        (layer,) = (o for o in graph.operators if o.output == graph.further[name])
        scale = graph.tensors[layer.inputs[0]].scale
        integers = np.rint(pooled / scale).astype(np.int64)
        made = ReferenceModel(graph).apply(layer, {layer.inputs[0]: integers})
        rows.append(made * graph.tensors[layer.output].scale)
    judge(clips, scores, errors, *rows)
    replace_file(arguments.out, model.SerializeToString(deterministic=True))
    print(f"wrote {arguments.out}, {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
