"""The command that writes C: of exactly the file that it is given."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from wav2small.export.c99 import generate
from wav2small.export.model.speech import DetectorLayer, scores_alone, with_speech
from wav2small.models import find_onnx

MINI = "wav2small-rt-mini"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("prefix", ["wav2small", "left_ear"])
def test_c_of_the_given_file_without_torch(prefix, tmp_path):
    model = tmp_path / "mine.onnx"
    shutil.copy(find_onnx(MINI), model)
    words = ["c99", str(model), str(tmp_path / "c"), "--prefix", prefix]
    code = (
        f"import sys; sys.argv = ['wav2small', *{words}]\n"
        "from wav2small.cli import main\n"
        "main_ended = 0\n"
        "try: main()\n"
        "except SystemExit as end: main_ended = end.code or 0\n"
        "print(main_ended, {'torch', 'soundfile', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    written = str(tmp_path / "c" / f"{prefix}.h")
    assert done.stdout.splitlines() == [written, "0 set()"]
    assert "bytes of state" in done.stderr
    generate(find_onnx(MINI), tmp_path / "same", prefix)
    found = contents(tmp_path / "c")
    assert found == contents(tmp_path / "same")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    header = found[f"{prefix}.h"].decode()
    assert f'#define {prefix.upper()}_MODEL_SHA256 "{digest}"\n' in header


def test_c_without_speech_has_nothing_of_it(run, tmp_path):
    model = tmp_path / "mine.onnx"
    layers = [
        DetectorLayer(np.ones((4, 1, 1, 40)), np.zeros(4), 2, 1, 4.0),
        DetectorLayer(np.ones((1, 4, 1, 1)), np.zeros(1), 1, 1, None),
    ]
    plain = scores_alone(onnx.load(find_onnx(MINI)))
    whole = with_speech(plain, layers)
    onnx.save(plain, tmp_path / "plain.onnx")
    onnx.save(whole, model)
    assert run("c99", model, tmp_path / "with")[0] == 0
    assert run("c99", model, tmp_path / "without", "--no-speech")[0] == 0
    assert run("c99", tmp_path / "plain.onnx", tmp_path / "plain")[0] == 0
    for name in ("wav2small.c", "wav2small_config.h", "wav2small_golden.h"):
        codes = [
            (tmp_path / folder / name).read_text() for folder in ("without", "plain")
        ]
        assert codes[0] == codes[1]
    assert "wav2small_listen" in (tmp_path / "with" / "wav2small.h").read_text()
    assert "wav2small_listen" not in (tmp_path / "without" / "wav2small.h").read_text()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: nothing linked")
def test_both_models_of_one_program_have_their_bits(run, tmp_path):
    names = {"left": "wav2small-rt", "right": MINI}
    sources, calls = [tmp_path / "main.c"], []
    for prefix, name in names.items():
        assert run("c99", name, tmp_path, "--prefix", prefix)[0] == 0
        sources += [tmp_path / f"{prefix}.c", tmp_path / f"{prefix}_selftest.c"]
        calls.append(f"{prefix}_selftest()")
    sources[0].write_text(
        "".join(f"int {call[:-1]}void);\n" for call in calls)
        + f"int main(void) {{ return {' | '.join(calls)}; }}\n"
    )
    defines = [f"-D{prefix.upper()}_NO_MAIN" for prefix in names]
    program = [*map(str, sources), *defines, "-o", str(tmp_path / "both")]
    subprocess.run(["cc", "-std=c99", "-O1", *program], check=True)
    subprocess.run([tmp_path / "both"], check=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing.onnx", "c"), "model must be an ONNX file"),
        ((MINI, "file"), "output must be a folder"),
        ((MINI, "c", "--prefix", "9"), "prefix must be lower-case letters"),
    ],
)
def test_wrong_use_is_one_line(words, said, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    code, out, error = run("c99", *words)
    assert (code, out) == (2, "")
    assert error.startswith(f"error: {said}")
    assert error.count("\n") == 1
