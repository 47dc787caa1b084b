"""Run a model in onnxruntime in a process of its own.

A fresh process has no memory of its caller to be mistaken for the session's,
and a file that crashes the runtime, fills the memory or never ends
costs that process alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import InputError, ToolError, one_line
from .escape import line

_SECONDS = 120
"""A model that takes more processor time than this is given up."""

_PATIENCE = 10
"""How many times as long, by the clock, its answer is waited for."""

_TOO_LONG = "too much processor time"
"""What stands for the answer of a process whose processor time was up."""

_TRIAL_SECONDS = 6
"""Processor time in which a model has to be opened and hear one second of audio."""

_BYTES_PER_SECOND = 20_000_000
"""Size of a file for which it gets a further second."""

_ADDRESS_SPACE = 8 * 2**30
"""A model that needs more bytes than this and four times its file is refused."""

_TRIAL_ADDRESS_SPACE = 3 * 2**30
"""The same for one second of audio."""

_TONE_SAMPLES = 16_000

_CODE = "from wav2small.export.base.isolated import _main; _main()"


def run(
    model: bytes,
    shape: Sequence[int] | None = None,
    *,
    outputs: Sequence[str] = (),
    runs: int = 0,
    where: str = "model",
    error: type[InputError] = InputError,
) -> dict[str, Any]:
    """Open a model in a new process and run it on a test tone.

    Args:
        model: serialised ONNX model
        shape: shape of its one input;
            None for a trial with one second of audio at 16 kHz, whatever its inputs,
            in much less time and memory
        outputs: tensors whose shapes and types are asked for
        runs: number of timed runs after two that are not timed;
            fewer, but at least five, if they would take over ten seconds
        where: what errors call the model
        error: type of the error

    Returns:
        ``types`` (name to shape and type), ``seconds`` (one entry per timed run),
        ``memory_bytes`` (growth of the peak resident memory, None if unknown)
        and ``onnxruntime`` (its version)

    Raises:
        InputError: of the type given,
            if onnxruntime refuses the model, crashes or takes too long
        ToolError: if the process had no chance to, on a machine that is too busy:
            that says nothing of the model

    """
    trial = shape is None
    seconds = _TRIAL_SECONDS + len(model) // _BYTES_PER_SECOND if trial else _SECONDS
    space = _TRIAL_ADDRESS_SPACE if trial else _ADDRESS_SPACE
    job = {
        "shape": None if shape is None else list(shape),
        "outputs": list(outputs),
        "runs": runs,
        "seconds": seconds,
        "space": space + 4 * len(model),
    }
    # a busy machine gives a process less than its time
    patience = _PATIENCE * seconds
    try:
        result = _ask(job, model, patience)
    except subprocess.TimeoutExpired as cause:
        raise ToolError(
            f"the run of {where} must end within {patience:g} s, got no answer: "
            "the machine is too busy, or the file never ends; try again"
        ) from cause
    if result.get("error") == _TOO_LONG:
        raise error(
            f"{where} must run within {seconds} s, got no answer: "
            + ("it is no model of speech" if trial else "take a shorter window")
        )
    if "error" in result:
        raise error(
            f"{where} must run in onnxruntime, got {line(result['error'])}: "
            "check its operators and opset"
        )
    return dict(result)


def _ask(job: dict[str, Any], model: bytes, timeout: float) -> dict[str, Any]:
    """Do a job in another process, and return its answer or its ``error``.

    Raises:
        subprocess.TimeoutExpired: if there is no answer in time

    """
    done = subprocess.run(
        # -P: a file of the working folder must not shadow a library
        [sys.executable, "-P", "-c", _CODE, json.dumps(job)],
        input=model,
        capture_output=True,
        timeout=timeout,
    )
    if done.returncode == -_CPU_TIME_IS_UP:
        return {"error": _TOO_LONG}
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        message = line(lines[-1])[:120] if lines else "no message"
        return {"error": f"exit code {done.returncode}: {message}"}


_CPU_TIME_IS_UP = 24
"""Number of the signal SIGXCPU, which Windows does not have."""


def _main() -> None:
    job = json.loads(sys.argv[1])
    try:
        result = _work(job)
    except Exception as error:  # onnxruntime's have no common base class
        result = {"error": one_line(error)}
    json.dump(result, sys.stdout)


def _work(job: dict[str, Any]) -> dict[str, Any]:
    import time

    import numpy as np
    import onnxruntime

    model = sys.stdin.buffer.read()
    _limit(job["seconds"], job["space"])
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    before = _peak_memory()
    session = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )
    feed = {
        source.name: _tone(np, source.type, job["shape"] or _shape(source.shape))
        for source in session.get_inputs()
    }
    if job["shape"] and len(feed) != 1:
        raise ValueError(f"{len(feed)} inputs")
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


def _limit(seconds: int, space: int) -> None:
    """Limit processor time and memory of this process from now on."""
    import time

    try:
        import resource
    except ImportError:  # Windows, where the timeout alone ends it
        return

    limits = {resource.RLIMIT_CPU: int(time.process_time()) + 1 + seconds}
    if sys.platform == "linux":
        limits[resource.RLIMIT_AS] = space
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if hard < 0 else min(limit, hard), hard))


def _shape(shape: Sequence[Any]) -> list[int]:
    """Fix what a shape leaves open: the last axis to the tone, others to 1."""
    free = [1] * (len(shape) - 1) + [_TONE_SAMPLES]
    return [
        dim if isinstance(dim, int) and dim > 0 else other
        for dim, other in zip(shape, free if shape else [], strict=True)
    ]


def _tone(np: Any, kind: str, shape: Sequence[int]) -> Any:
    types = {"float": "float32", "double": "float64"}
    kind = kind.removeprefix("tensor(").rstrip(")")
    dtype = np.dtype(types.get(kind, kind))
    # Not silence: processors multiply numbers near zero at another speed.
    tone = 0.1 * np.sin(0.2 * np.arange(np.prod(shape)))
    if dtype.kind in "iu":
        tone = 100 * (tone + 0.1)
    return tone.reshape(shape).astype(dtype)


def _peak_memory() -> int | None:
    """Peak resident memory of this process in bytes, None where unknown."""
    # getrusage would also count the process that started this one
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (s for s in status.read_text().splitlines() if s.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
