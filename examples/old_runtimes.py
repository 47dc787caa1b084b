"""One model, every runtime: do old, new and browser onnxruntime give the same scores?

    python examples/old_runtimes.py [MODEL.onnx ...] [--versions 1.17.0 ...] [--web X]

Each version is installed into an environment of its own under ``runs/interop``,
which may be deleted at any time.
There, models run on the same signals with onnxruntime's default optimisations
and with none,
and every score is compared with the one of this environment without optimisations.
The browser's WebAssembly runs in node, if node and npm are there.
Exit code 1 if a model does not load or differs by more than 0.005 anywhere.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / "runs" / "interop"
VERSIONS = ("1.17.0", "1.19.2", "1.23.2")
WEB = "1.30.0"
EXECUTIONS = ("default", "exact")
LIMIT = 0.005

# Only what each onnxruntime brings along may be imported here;
# reads a job and prints the scores, or why there are none.
RUNNER = """
import json, sys
import numpy as np
import onnxruntime

levels = onnxruntime.GraphOptimizationLevel
answers = []
for model, files in json.load(sys.stdin):
    for execution in ("default", "exact"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if execution == "exact":
            options.graph_optimization_level = levels.ORT_DISABLE_ALL
        answer = {"model": model, "execution": execution, "scores": [], "error": ""}
        try:
            session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
            name = session.get_inputs()[0].name
            for file in files:
                signal = np.fromfile(file, np.float32)[None]
                answer["scores"].append(session.run(None, {name: signal})[0].tolist())
        except Exception as error:
            answer["error"] = str(error)
        answers.append(answer)
json.dump(answers, sys.stdout)
"""

WEB_RUNNER = """
import * as ort from "onnxruntime-web/wasm";
import fs from "node:fs";

ort.env.wasm.numThreads = 1;
const answers = [];
for (const [model, files] of JSON.parse(fs.readFileSync(0, "utf8"))) {
  for (const execution of ["default", "exact"]) {
    const answer = { model, execution, scores: [], error: "" };
    try {
      const session = await ort.InferenceSession.create(fs.readFileSync(model), {
        executionProviders: ["wasm"],
        graphOptimizationLevel: execution === "exact" ? "disabled" : "all",
      });
      for (const file of files) {
        const signal = new Float32Array(new Uint8Array(fs.readFileSync(file)).buffer);
        const tensor = new ort.Tensor("float32", signal, [1, signal.length]);
        const outputs = await session.run({ [session.inputNames[0]]: tensor });
        answer.scores.push(Array.from(outputs[session.outputNames[0]].data));
      }
    } catch (error) {
      answer.error = String(error);
    }
    answers.push(answer);
  }
}
console.log(JSON.stringify(answers));
"""

Command = Sequence[str | Path]
"""What runs a job in a runtime, given on standard input."""


@dataclass(frozen=True)
class Row:
    """How one runtime does with one model."""

    model: Path
    runtime: str
    execution: str
    difference: float
    """Largest absolute difference of a score to the reference;
    NaN if there is none, Inf if it does not run."""

    error: str = ""

    @property
    def passed(self) -> bool:
        return self.difference <= LIMIT


def bundled() -> list[Path]:
    return sorted((ROOT / "wav2small" / "assets").rglob("*.onnx"))


def synthetic_signals(length: int | None, seed: int = 0) -> Iterator[np.ndarray]:
    """Voice-like sounds: harmonics that glide and swell, in noise.

    Args:
        length: samples of each, None for 0.5 to 4 s
        seed: seed of everything

    """
    rng = np.random.default_rng(seed)
    for samples in (8000, 16000, 23456, 32000, 48000, 64000):
        time = np.arange(length or samples) / 16000
        glide = 1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.3, 2) * time)
        phase = 2 * np.pi * np.cumsum(rng.uniform(90, 260) * glide) / 16000
        voice = sum(rng.normal() / k * np.sin(k * phase) for k in range(1, 20))
        swell = np.sin(np.pi * rng.uniform(1, 4) * time) ** 2
        loudness = 10 ** rng.uniform(-2.5, -0.5)
        signal = loudness * (voice * swell + 0.1 * rng.normal(size=len(time)))
        yield np.clip(signal, -1, 1).astype(np.float32)


def write_job(models: Sequence[Path], folder: Path) -> str:
    """Write signals for each model; the job as JSON."""
    job = []
    for number, model in enumerate(models):
        (source, *_) = onnx.load(model, load_external_data=False).graph.input
        length = source.type.tensor_type.shape.dim[-1].dim_value or None
        files = []
        for index, signal in enumerate(synthetic_signals(length)):
            file = folder / f"{number}-{index}.f32"
            signal.tofile(file)
            files.append(str(file))
        job.append((str(model.resolve()), files))
    return json.dumps(job)


def compare(models: Sequence[Path], runtimes: Mapping[str, Command]) -> list[Row]:
    """Run models in runtimes and in this environment.

    Args:
        models: ONNX files with one input ``(1, time)``
        runtimes: names and commands

    Returns:
        rows of this environment, then of each runtime

    """
    here = f"{onnxruntime.__version__} (here)"
    rows = []
    truth: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        job = write_job(models, Path(folder))
        for runtime, command in {here: python(sys.executable), **runtimes}.items():
            done = subprocess.run(
                [*command], input=job, capture_output=True, text=True, check=False
            )
            if done.returncode:
                lines = done.stderr.strip().splitlines() or ["no message"]
                why = f"exit code {done.returncode}: {lines[-1]}"
                rows += [
                    Row(model, runtime, execution, np.inf, why)
                    for model in models
                    for execution in EXECUTIONS
                ]
                continue
            answers = json.loads(done.stdout.splitlines()[-1])
            if runtime == here:
                truth = {
                    answer["model"]: flat(answer["scores"])
                    for answer in answers
                    if answer["execution"] == "exact"
                }
            for answer in answers:
                difference = np.inf
                scores, wanted = flat(answer["scores"]), truth[answer["model"]]
                if not answer["error"] and scores.shape == wanted.shape:
                    difference = float(np.abs(scores - wanted).max(initial=0))
                rows.append(
                    Row(
                        Path(answer["model"]),
                        runtime,
                        answer["execution"],
                        difference,
                        " ".join(answer["error"].split()),
                    )
                )
    return rows


def flat(scores: list[Any]) -> np.ndarray:
    return np.array([np.ravel(row) for row in scores], np.float64)


def python(executable: str | Path) -> Command:
    return [executable, "-I", "-c", RUNNER]


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        line = " ".join(map(str, command))
        raise SystemExit(f"error: '{line}' failed: see above")


def install(version: str) -> Command:
    """Make the environment of a version, unless it is there."""
    folder = ENVIRONMENTS / version
    stamp = folder / "installed"  # the last thing written
    executable = folder / "bin" / "python"
    if not stamp.exists():
        print(f"installing onnxruntime {version} ...", file=sys.stderr)
        run(sys.executable, "-m", "venv", "--clear", folder)
        wanted = [f"onnxruntime=={version}", "numpy<2"]
        run(executable, "-m", "pip", "install", "--quiet", *wanted)
        stamp.touch()
    return python(executable)


def install_web(version: str) -> Command:
    """Install onnxruntime-web for node, unless it is there."""
    folder = ENVIRONMENTS / f"web-{version}"
    stamp = folder / "installed"
    if not stamp.exists():
        print(f"installing onnxruntime-web {version} ...", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        # nothing in it needs a script to run on installation
        flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        package = f"onnxruntime-web@{version}"
        (folder / "package.json").write_text('{"private": true}')
        run("npm", "install", "--prefix", folder, *flags, package)
        stamp.touch()
    runner = folder / "run.mjs"
    runner.write_text(WEB_RUNNER)
    return ["node", runner]


def table(rows: Sequence[Row]) -> str:
    lines = [f"{'model':<24} {'onnxruntime':<16} {'execution':<10} difference"]
    for row in rows:
        name = f"{row.model.parent.name}/{row.model.name}"
        mark = "" if row.passed else f"  FAILED {row.error}"
        lines.append(
            f"{name:<24} {row.runtime:<16} {row.execution:<10} "
            f"{row.difference:.6f}{mark}".rstrip()
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, help="default: all bundled")
    parser.add_argument("--versions", nargs="*", default=VERSIONS)
    parser.add_argument("--web", default=WEB, help="version of onnxruntime-web")
    options = parser.parse_args(arguments)
    runtimes = {version: install(version) for version in options.versions}
    if options.web and shutil.which("node") and shutil.which("npm"):
        runtimes[f"web {options.web}"] = install_web(options.web)
    elif options.web:
        print("onnxruntime-web is left out: node and npm are missing", file=sys.stderr)
    rows = compare(options.models or bundled(), runtimes)
    print(table(rows))
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
