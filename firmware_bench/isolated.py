"""Run a model in onnxruntime in a process of its own.

A fresh process has no memory of its caller to be mistaken for the session's,
and a file that crashes the runtime does not crash the bench.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wav2small.export.base.errors import BenchError, one_line

_SECONDS = 120
"""A model that takes longer than this is given up."""

_ADDRESS_SPACE = 8 * 2**30
"""A model that needs more bytes than this is refused, not swapped."""

_CODE = "from wav2small.firmware_bench.isolated import _main; _main()"


def run(
    model: bytes,
    shape: Sequence[int],
    *,
    outputs: Sequence[str] = (),
    runs: int = 0,
) -> dict[str, Any]:
    """Open a model in a new process and run it on a test tone.

    Args:
        model: serialised ONNX model with one input
        shape: shape of the input
        outputs: tensors whose shapes and types are asked for
        runs: number of timed runs after two that are not timed;
            fewer, but at least five, if they would take over ten seconds

    Returns:
        ``types`` (name to shape and type), ``seconds`` (one entry per timed run),
        ``memory_bytes`` (growth of the peak resident memory, None if unknown)
        and ``onnxruntime`` (its version)

    Raises:
        BenchError: if onnxruntime refuses the model, crashes or hangs

    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        job = {
            "path": str(path),
            "shape": list(shape),
            "outputs": list(outputs),
            "runs": runs,
        }
        try:
            done = subprocess.run(
                # -P: a file of the working folder must not shadow a library
                [sys.executable, "-P", "-c", _CODE],
                input=json.dumps(job),
                capture_output=True,
                text=True,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError(
                f"model must run within {_SECONDS} s, got no answer: "
                "take a shorter window"
            ) from error
    try:
        result = json.loads(done.stdout)
    except json.JSONDecodeError:
        lines = done.stderr.strip().splitlines() or ["no message"]
        result = {"error": f"exit code {done.returncode}: {lines[-1]}"}
    if "error" in result:
        raise BenchError(
            f"model must run in onnxruntime, got {result['error']}: "
            "check its operators and opset"
        )
    return dict(result)


def _main() -> None:
    job = json.load(sys.stdin)
    try:
        result = _work(job)
    except Exception as error:  # onnxruntime's have no common base class
        result = {"error": one_line(error)}
    json.dump(result, sys.stdout)


def _work(job: dict[str, Any]) -> dict[str, Any]:
    import time

    import numpy as np
    import onnxruntime

    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = _ADDRESS_SPACE if hard < 0 else min(_ADDRESS_SPACE, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    model = Path(job["path"]).read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    before = _peak_memory()
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    (source,) = session.get_inputs()
    types = {"tensor(float)": "float32", "tensor(double)": "float64"}
    kind = types.get(source.type, source.type.removeprefix("tensor(").rstrip(")"))
    # Not silence: numbers near zero take another time to multiply.
    tone = 0.1 * np.sin(0.2 * np.arange(np.prod(job["shape"])))
    if np.dtype(kind).kind in "iu":
        tone = 100 * (tone + 0.1)
    feed = {source.name: tone.reshape(job["shape"]).astype(kind)}
    answers = session.run(job["outputs"] or None, feed)
    seconds: list[float] = []
    if job["runs"]:
        session.run(None, feed)
        while len(seconds) < job["runs"] and (len(seconds) < 5 or sum(seconds) < 10):
            start = time.perf_counter()
            session.run(None, feed)
            seconds.append(time.perf_counter() - start)
    after = _peak_memory()
    return {
        "types": {
            name: [np.shape(answer), str(np.asarray(answer).dtype)]
            for name, answer in zip(job["outputs"], answers, strict=False)
        },
        "seconds": seconds,
        "memory_bytes": None if before is None or after is None else after - before,
        "onnxruntime": onnxruntime.__version__,
    }


def _peak_memory() -> int | None:
    """Peak resident memory of this process in bytes, None where unknown."""
    # getrusage would also count the process that started this one
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (s for s in status.read_text().splitlines() if s.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
