"""What int8 costs a MobileNetV3, and whether squeeze and excitation is to blame.

    python examples/studies/squeeze_study.py DATA [--steps 150] [--student NAME]

trains the student for a few steps on EMO-DB's training speakers, exports it with some
of its parts left as floats: those of squeeze and excitation ("islands"), or one of the
other kinds of tensors. Concordance with the float model and the largest difference of a
score, on clips of the test speakers that measured no range.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto

from wav2small.export.model.to_onnx import to_onnx
from wav2small.export.model.topology import Topology, session
from wav2small.export.quantise.plan import Plan
from wav2small.export.quantise.scales import measure_scales
from wav2small.export.quantise.steps import prepare_to_quantise
from wav2small.export.quantise.write import write_quantised
from wav2small.finetune.table import read_clips, read_table
from wav2small.losses import concordance_loss
from wav2small.metrics import concordance_cc
from wav2small.students import STUDENTS

SECONDS, BATCH = 1.5, 16


def main() -> None:
    """Train, export in several ways, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--student", default="mobilenetv3-small")
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = read_table(args.data / "emodb" / "metadata.csv")
    signals, rows = read_clips(table)
    held = np.array(table.labels.metadata["split"])[rows] == "test"
    own = [signals[i] for i in np.flatnonzero(~held)]
    test = [signals[i][:32000] for i in np.flatnonzero(held)[::4]]
    module = train(args.student, own, table.truth[rows][~held], args.steps)
    model = to_onnx(module, window=None, example_samples=32000)
    prepared, plan = prepare_to_quantise(model)
    calibration = [signal[:32000] for signal in own[::8]]
    scales = measure_scales(prepared, plan, calibration)
    truth = scores(prepared, test)
    print(f"scores of {len(test)} clips from {truth.min():.2f} to {truth.max():.2f}")
    print("| left float | tensors | CCC A / D / V | largest difference |")
    print("|---|--:|---|--:|")
    for name, left in groups(prepared, plan).items():
        written = write_quantised(prepared, without(prepared, plan, left), scales)
        found = scores(written, test)
        ccc = " ".join(
            f"{concordance_cc(*pair):.4f}"
            for pair in zip(truth.T, found.T, strict=True)
        )
        print(
            f"| {name} | {len(left)} | {ccc} | {np.abs(found - truth).max():.3f} |",
            flush=True,
        )


def train(
    name: str, signals: list[np.ndarray], truth: np.ndarray, steps: int
) -> torch.nn.Module:
    """Train a student on what is known of clips."""
    torch.manual_seed(0)
    module = STUDENTS[name].build().train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    rng = np.random.default_rng(0)
    samples = round(SECONDS * 16000)
    for step in range(steps):
        items = rng.choice(len(signals), BATCH, replace=False)
        crops = []
        for item in items:
            signal = signals[item]
            begin = int(rng.integers(max(1, len(signal) - samples)))
            crops.append(np.resize(signal[begin : begin + samples], samples))
        told = module(torch.from_numpy(np.stack(crops).astype(np.float32)))
        wanted = torch.from_numpy(truth[items].astype(np.float32))
        loss = concordance_loss(told, wanted).mean() + (told - wanted).abs().mean() / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 25 == 24:
            print(f"# step {step + 1}: loss {loss.item():.3f}", flush=True)
    return module.eval()


def groups(model: ModelProto, plan: Plan) -> dict[str, set[str]]:
    """Name int8 tensors by what makes them."""
    graph = Topology(model)
    every = set(plan.activations)
    squeezed: set[str] = set()
    for node in graph.nodes:
        if node.op_type in ("ReduceMean", "GlobalAveragePool"):
            squeezed.add(node.output[0])
    grown = True
    while grown:
        more = {
            name
            for node in graph.nodes
            if node.op_type != "Mul" and set(node.input) & squeezed
            for name in node.output
        }
        grown = not more <= squeezed
        squeezed |= more
    found: dict[str, set[str]] = {"nothing": set()}
    found["squeeze and excitation"] = squeezed & every
    kinds: dict[str, set[str]] = {}
    for name in every - squeezed:
        index = graph.producer.get(name)
        if index is None:
            continue
        node = graph.nodes[index]
        # a rectifier belongs to the convolution before it
        while node.op_type in ("Relu", "Clip"):
            node = graph.nodes[graph.producer[node.input[0]]]
        kind = node.op_type
        if kind == "Conv":
            weight = graph.array(node.input[1])
            assert weight is not None
            depthwise = weight.shape[1] == 1 and weight.shape[0] > 1
            kind = "depthwise convolutions" if depthwise else "other convolutions"
        kinds.setdefault(kind, set()).add(name)
    names = {"Mul": "products of the excitation", "Add": "sums", "HardSwish": "swishes"}
    for kind, tensors in sorted(kinds.items()):
        found[names.get(kind, kind)] = tensors
    found["all of it, weights int8"] = every
    return found


def without(model: ModelProto, plan: Plan, left: set[str]) -> Plan:
    """Leave tensors float; the weights of the layers that read them stay int8."""
    graph = Topology(model)
    # what only picks values of another tensor has its scale
    left = {name for name, source in plan.activations.items() if source in left} | left
    kept = {
        name: source for name, source in plan.activations.items() if name not in left
    }
    kept = {name: source for name, source in kept.items() if source in kept}
    layers = tuple(
        layer._replace(
            integer_input=layer.integer_input
            and graph.nodes[layer.node].input[0] in kept
        )
        for layer in plan.layers
    )
    return replace(plan, activations=kept, layers=layers)


def scores(model: ModelProto, signals: list[np.ndarray]) -> np.ndarray:
    """Scores of a model, ``(signals, 3)``."""
    opened = session(model)
    name = opened.get_inputs()[0].name
    return np.stack([opened.run(None, {name: s[None]})[0][0] for s in signals])


if __name__ == "__main__":
    main()
