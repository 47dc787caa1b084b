"""Does anything that can be called break the generated C?

    python examples/fuzz_c99.py [--calls 1000000] [--runs 5000] [--models NAME ...]

Bytes are read as calls of the functions that ``wav2small.h``,
``wav2small_decide.h`` and ``wav2small_resample.h`` declare:
pushes of any number of samples, none and far too many included, at the model's rate
and at another one, results, the latest scores, forgetting, listening to speech alone,
the wearer's own voice, decisions with their rules and tables, beginnings and ends of
signals in any order, calls before the first beginning, missing pointers;
with weights as constants, and as a blob that is replaced by whole and damaged ones.
Every status is compared with the one that the header promises, and everything that is
said with what a second state says that hears the same, cut in another way;
samples and weights lie in memory of their own of just their size,
and the code is built with ``-fsanitize=address,undefined``.

Two drivers make the bytes, both the same for the same seed:

* **random** ones until there were so many calls;
* a **guided** one that changes inputs and keeps those that reach new branches.
  It is libFuzzer where clang has it, else one of our own of few lines.

What breaks it is kept in ``runs/fuzz``;
the program there runs such a file again when it is given its name.
Exit code 1 if something was found.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wav2small import audio
from wav2small.bundled import DEMO
from wav2small.export.c99 import generate
from wav2small.models import bundled, find_onnx

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "runs" / "fuzz"
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
INPUT_RATE = 44100
"""What the resampler is given."""

UNITS = ("wav2small", "wav2small_decide", "wav2small_resample", "harness", "driver")


class Fuzzer:
    """Drivers of the functions of a model.

    Args:
        folder: C code of the model, with a resampler; programs are written to it
        compiler: GCC or clang
        blob: whether weights are handed over, and replaced

    """

    def __init__(self, folder: Path, compiler: str, *, blob: bool) -> None:
        self.folder = folder
        for name in ("harness", "driver"):
            shutil.copy(HERE / f"fuzz_{name}.c", folder / f"{name}.c")
        weights = np.fromfile(folder / "wav2small_model.bin", np.uint8)
        (folder / "fuzz_data.h").write_text(
            _array("uint8_t", "blob", weights) + _array("int16_t", "speech", _speech())
        )
        defined = ("-DWAV2SMALL_BLOB",) if blob else ()
        self.libfuzzer = False
        if "clang" in Path(compiler).name:
            sources = [folder / f"{name}.c" for name in UNITS[:-1]]
            program = (compiler, *SANITIZE, *defined, "-fsanitize=fuzzer", *sources)
            done = _done(*program, "-o", folder / "guided")
            self.libfuzzer = done.returncode == 0
        coverage = "-fsanitize-coverage=trace-pc"
        objects = []
        for name in UNITS:
            # what the driver itself does is no news
            flags = (*SANITIZE, *defined, coverage) if name != "driver" else ("-O2",)
            made = folder / f"{name}.o"
            self._build(compiler, *flags, "-c", folder / f"{name}.c", "-o", made)
            objects.append(made)
        self._build(compiler, *SANITIZE, *objects, "-o", folder / "fuzz")

    @staticmethod
    def _build(*command: str | Path) -> None:
        done = _done(*command)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            line = " ".join(map(str, command))
            raise SystemExit(f"error: '{line}' failed: see above")

    def random(self, calls: int) -> tuple[bool, str]:
        """So many random calls; whether all went well, and what it says."""
        found = self.folder / "found-random"
        return self._outcome(self.folder / "fuzz", "random", str(calls), found)

    def guided(self, runs: int) -> tuple[bool, str]:
        """So many inputs of which each is made of one that reached new branches."""
        found = self.folder / "found-guided"
        if self.libfuzzer:
            flags = ("-seed=1", "-max_len=4096", f"-artifact_prefix={found}-")
            return self._outcome(self.folder / "guided", f"-runs={runs}", *flags)
        return self._outcome(self.folder / "fuzz", "guided", str(runs), found)

    @staticmethod
    def _outcome(*command: str | Path) -> tuple[bool, str]:
        done = _done(*command)
        if done.returncode == 0:
            said = (done.stdout or done.stderr).strip().splitlines()
            return True, said[-1] if said else ""
        return False, done.stderr.strip() or f"exit code {done.returncode}"


def _speech() -> np.ndarray:
    """Clips of the bundled speech, one after the other, int16."""
    _, sources = audio.find([DEMO])
    signal = np.concatenate([audio.load(source.path) for source in sources[:4]])
    return np.clip(np.rint(signal * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def _array(kind: str, name: str, values: np.ndarray) -> str:
    listed = ",".join(map(str, values.tolist()))
    return f"static const {kind} {name}[{len(values)}] = {{{listed}}};\n"


def _done(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def find_compiler() -> str:
    """A compiler whose sanitizers can be linked: clang if it has libFuzzer, or GCC."""
    for name in ("clang", "gcc"):
        if (found := shutil.which(name)) and _links(found):
            return found
    raise SystemExit(
        "error: gcc or clang must be installed with their sanitizers to fuzz, got none"
    )


def _links(compiler: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "empty.c"
        code.write_text("int main(void) { return 0; }\n")
        made = Path(folder) / "empty"
        return _done(compiler, *SANITIZE, code, "-o", made).returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000, help="random ones")
    parser.add_argument("--runs", type=int, default=5_000, help="guided inputs")
    parser.add_argument("--models", nargs="+", default=list(bundled()))
    options = parser.parse_args(arguments)
    compiler = find_compiler()
    failed = False
    for name in options.models:
        for weights in ("constants", "blob"):
            folder = FOLDER / name / weights
            generate(find_onnx(name), folder, input_rate=INPUT_RATE)
            fuzzer = Fuzzer(folder, compiler, blob=weights == "blob")
            for driver, run, count in (
                ("random", fuzzer.random, options.calls),
                ("guided", fuzzer.guided, options.runs),
            ):
                passed, said = run(count)
                failed |= not passed
                verdict = "nothing found" if passed else f"FOUND, kept in {folder}"
                print(f"{name}, {weights}, {driver}: {verdict}: {said}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
