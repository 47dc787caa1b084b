"""Which way of quantising suits which model, by measurement.

    python examples/studies/quantisation_study.py DATA MODEL... [--test]
    python examples/studies/quantisation_study.py DATA MODEL... --sensitivity
    python examples/studies/quantisation_study.py DATA MODEL... --layouts 0 2
        [--picture FILE]

DATA holds ``emodb`` and ``librispeech_subset``,
each with ``metadata.csv`` (16 kHz audio, paths in the column ``file``).
MODEL is a run, a checkpoint or the name of a bundled model.
Ranges are measured on clips of LibriSpeech and of EMO-DB's training speakers.
The int8 model is compared with the float one
on other clips of EMO-DB's training speakers, by which to choose,
or with ``--test`` on its test speakers, by which to report.
The layouts are rows for numbers of 4-bit layers,
rounded after training and tuned.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from bias import correct_bias
from equalize import equalize
from onnx import ModelProto
from ranges import Method, activation_ranges

from wav2small import audio
from wav2small.audio import SAMPLING_RATE
from wav2small.export.checks import parity
from wav2small.export.model.constants import expand_constants
from wav2small.export.model.to_onnx import to_onnx
from wav2small.export.model.topology import Topology
from wav2small.export.quantise.config import QuantConfig
from wav2small.export.quantise.padding import pad_channels
from wav2small.export.quantise.plan import Plan, plan
from wav2small.export.quantise.scales import Scale, activation_scale
from wav2small.export.quantise.steps import prepare_to_quantise
from wav2small.export.quantise.tune import tune
from wav2small.export.quantise.write import write_quantised
from wav2small.models import load_student

SECONDS = 4.0
CALIBRATION = 32


def clips(
    data: Path, count: int, test: bool
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Clips to calibrate with, to tune on and, of EMO-DB, to compare on.

    None that is compared on is among the others.
    """
    files: dict[str, list[Path]] = {}
    for folder in ("emodb", "librispeech_subset"):
        with (data / folder / "metadata.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                kind = "test" if row.get("split") == "test" else folder
                files.setdefault(kind, []).append(data / folder / row["file"])
    own = evenly(files["emodb"], CALIBRATION // 2)
    calibration = own + evenly(files["librispeech_subset"], CALIBRATION // 2)
    rest = [file for file in files["emodb"] if file not in own]
    compared = evenly(files["test"] if test else rest, count)
    tuning = [file for file in rest if file not in compared]
    tuning += evenly(files["librispeech_subset"], len(tuning))
    return load(calibration), load(tuning), load(compared)


def evenly(files: Sequence[Path], count: int) -> list[Path]:
    """Files from all over a list: neighbours tend to be one speaker."""
    places = np.linspace(0, len(files) - 1, min(count, len(files)))
    return [files[int(place)] for place in places]


def load(files: Iterable[Path]) -> list[np.ndarray]:
    return [audio.load(file)[: round(SECONDS * SAMPLING_RATE)] for file in files]


def padded(model: ModelProto, config: QuantConfig) -> ModelProto:
    """Float model with the channels that it is quantised with."""
    learned = [layer.node for layer in plan(model).layers]
    return pad_channels(model, learned, config.channel_multiple)


def scales(
    model: ModelProto, parts: Plan, signals: list[np.ndarray], method: Method
) -> dict[str, Scale]:
    ranges = activation_ranges(model, parts.measured, signals, method)
    return {name: activation_scale(*ends) for name, ends in ranges.items()}


def row(
    cells: Sequence[str], truth: np.ndarray, model: ModelProto, test: list[np.ndarray]
) -> float:
    """Print a table's row of CCC and largest error; give the least CCC."""
    prediction = parity.scores(model, test)
    coefficients = [
        parity.concordance_cc(*pair) for pair in zip(truth.T, prediction.T, strict=True)
    ]
    error = np.abs(prediction - truth).max()
    figures = " | ".join(f"{value:.4f}" for value in (*coefficients, error))
    print(f"| {' | '.join(cells)} | {figures} |", flush=True)
    return min(coefficients)


def header(*cells: str) -> None:
    names = [*cells, "arousal", "dominance", "valence", "max error"]
    print(f"\n| {' | '.join(names)} |")
    print("|---" * len(names) + "|", flush=True)


def methods(
    model: ModelProto, calibration: list[np.ndarray], test: list[np.ndarray]
) -> None:
    """Print a table of the methods, the bias corrected for the better half."""
    config = QuantConfig()
    truth = parity.scores(model, test)
    header("ranges", "equalised", "bias corrected")
    least: dict[tuple[Method, bool], float] = {}
    for equalized in (False, True):
        float_model = padded(equalize(model) if equalized else model, config)
        parts = plan(float_model)
        for method in get_args(Method):
            found = scales(float_model, parts, calibration, method)
            result = write_quantised(float_model, parts, found, config)
            cells = [method, "yes" if equalized else "no", "no"]
            least[method, equalized] = row(cells, truth, result, test)
    for method, equalized in sorted(least, key=lambda key: -least[key])[:4]:
        float_model = padded(equalize(model) if equalized else model, config)
        parts = plan(float_model)
        corrected = correct_bias(float_model, parts, calibration, config)
        found = scales(corrected, parts, calibration, method)
        result = write_quantised(corrected, parts, found, config)
        row([method, "yes" if equalized else "no", "yes"], truth, result, test)


def only(model: ModelProto, parts: Plan, layer: int) -> Plan:
    """Keep one layer: its weights, its input and its output."""
    chosen = parts.layers[layer]
    source = Topology(model).nodes[chosen.node].input[0]
    return Plan(
        (chosen,),
        {
            name: parts.activations[name]
            for name in (source, chosen.output)
            if name in parts.activations
        },
    )


def without(model: ModelProto, parts: Plan, layer: int) -> Plan:
    """Leave one layer float: its weights, its input and its output."""
    nodes = Topology(model).nodes
    chosen = parts.layers[layer]
    ends = {nodes[chosen.node].input[0], chosen.output}
    # a tensor that only picks values is float where its source is
    ends |= {parts.activations[name] for name in ends if name in parts.activations}
    activations = {
        name: source for name, source in parts.activations.items() if source not in ends
    }
    return Plan(
        tuple(
            entry._replace(integer_input=nodes[entry.node].input[0] in activations)
            for entry in parts.layers
            if entry != chosen
        ),
        activations,
    )


def sensitivity(
    model: ModelProto,
    calibration: list[np.ndarray],
    test: list[np.ndarray],
    method: Method,
    equalized: bool,
) -> None:
    """Print what each layer costs alone, and what leaving it float brings."""
    truth = parity.scores(model, test)
    model = equalize(model) if equalized else model
    parts = plan(model)
    found = scales(model, parts, calibration, method)
    nodes = Topology(model).nodes
    for title, reduce in (("only this one int8", only), ("this one float", without)):
        header(title, "layer", "weights")
        row(["-", "all int8", ""], truth, write_quantised(model, parts, found), test)
        for index, layer in enumerate(parts.layers):
            node = nodes[layer.node]
            size = Topology(model).size(layer.weight)
            groups = next((a.i for a in node.attribute if a.name == "group"), 1)
            kind = "depthwise" if groups > 1 else node.op_type
            cells = [str(index), kind, str(size)]
            result = write_quantised(model, reduce(model, parts, index), found)
            row(cells, truth, result, test)


class Layout(NamedTuple):
    name: str
    bytes: int
    loss: float
    tuned: bool


def layouts(
    model: ModelProto,
    calibration: list[np.ndarray],
    tuning: list[np.ndarray],
    test: list[np.ndarray],
    counts: Sequence[int],
) -> list[Layout]:
    """Print bytes and fidelity for numbers of 4-bit layers."""
    truth = parity.scores(model, test)
    header("4-bit layers", "tuned", "bytes")
    found: list[Layout] = []
    for count in counts:
        config = QuantConfig(four_bit_layers=count)
        prepared, parts = prepare_to_quantise(model, config)
        measured = scales(prepared, parts, calibration, "minmax")
        for tuned in (False, True):
            form = (prepared, parts, measured)
            if tuned:
                trained, learned = tune(prepared, parts, measured, tuning, None, config)
                form = (trained, parts, learned)
            result = write_quantised(*form, config)
            size = result.ByteSize()
            cells = [str(count), "yes" if tuned else "no", f"{size:,}"]
            loss = 1 - row(cells, truth, result, test)
            found.append(Layout(f"{count}", size, loss, tuned))
    return found


def draw(found: Sequence[Layout], path: Path) -> None:
    """Draw bytes against what is lost, the best of each size joined."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panel = figure.subplots()
    for tuned, colour in ((False, "#c2577a"), (True, "#1f5f8b")):
        chosen = [entry for entry in found if entry.tuned == tuned]
        panel.scatter(
            [entry.bytes for entry in chosen],
            [entry.loss for entry in chosen],
            color=colour,
            label="tuned" if tuned else "rounded after training",
        )
        for entry in chosen:
            panel.annotate(
                entry.name,
                (entry.bytes, entry.loss),
                (6, 4),
                textcoords="offset points",
                fontsize=9,
            )
    front: list[Layout] = []
    for entry in sorted(found, key=lambda entry: (entry.bytes, entry.loss)):
        if not front or entry.loss < front[-1].loss:
            front.append(entry)
    panel.step(
        [entry.bytes for entry in front],
        [entry.loss for entry in front],
        where="post",
        color="#9a9a9a",
        linewidth=1,
        zorder=0,
        label="best of each size",
    )
    panel.axvline(61_440, color="#b3261e", linestyle="--", linewidth=1)
    panel.annotate(
        "61,440", (61_440, 1), (4, -12), ("data", "axes fraction"),
        textcoords="offset points", color="#b3261e", fontsize=9,
    )  # fmt: skip
    panel.axhline(0.01, color="#b3261e", linestyle="--", linewidth=1)
    panel.set_yscale("log")
    panel.set_xlabel("bytes of the complete file, metadata apart")
    panel.set_ylabel("1 - least CCC to the float model")
    panel.set_title("numbers: layers with 4 bits")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)
    with path.open("wb") as file:
        canvas.print_png(file, metadata={"Software": ""})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--clips", type=int, default=80)
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--sensitivity", action="store_true")
    parser.add_argument("--ranges", choices=get_args(Method), default="minmax")
    parser.add_argument("--equalize", action="store_true")
    parser.add_argument("--layouts", type=int, nargs="+", metavar="COUNT")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    calibration, tuning, test = clips(arguments.data, arguments.clips, arguments.test)
    for name in arguments.models:
        module, config = load_student(name)
        model = expand_constants(
            to_onnx(module, window=None, example_samples=2 * SAMPLING_RATE)
        )
        print(f"\n## {config['student']}, {len(test)} clips")
        if arguments.layouts:
            found = layouts(model, calibration, tuning, test, arguments.layouts)
            if arguments.picture:
                draw(found, arguments.picture)
        elif arguments.sensitivity:
            sensitivity(model, calibration, test, arguments.ranges, arguments.equalize)
        else:
            methods(model, calibration, test)


if __name__ == "__main__":
    main()
