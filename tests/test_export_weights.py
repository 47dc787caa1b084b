"""Weights in a blob: the same bits, another training, and nothing that is damaged."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from test_export_c99 import NO_POINTER, OK, WARNINGS, Library, compiled, run, whole
from test_export_streaming import pieces, signal, student

from wav2small.export.c99 import generate
from wav2small.export.c99.weights import member_types
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.streaming.run import Stream
from wav2small.models import bundled, find_onnx

NO_MODEL, OTHER_MODEL = 7, 8
MINI = "wav2small-rt-mini"
# the other training of it knows no speech
FIRST = dataclasses.replace(read(find_onnx(MINI)), detector=None)


class Blob:
    """A blob in memory, at a multiple of 8."""

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self.memory = (ctypes.c_uint64 * (len(data) // 8 + 2))()
        self.address = ctypes.addressof(self.memory) + offset
        ctypes.memmove(self.address, data, len(data))
        self.bytes = ctypes.c_size_t(len(data))


def begin(library: Library, blob: Blob) -> int:
    address = ctypes.c_void_p(blob.address)
    return int(library.c.wav2small_init(library.state, address, blob.bytes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("blob")


@pytest.fixture(scope="module")
def library(folder) -> Library:
    return Library(FIRST, folder, "-DWAV2SMALL_BLOB")


@pytest.fixture(scope="module")
def data(folder, library) -> bytes:
    return (folder / "wav2small_model.bin").read_bytes()


def hears_as(library: Library, model: IntegerGraph) -> None:
    samples = signal(3, 20000)
    for piece in pieces(3, samples, 500):
        assert library.push(piece) == OK
    assert library.so_far() == whole(model, samples)


@compiled
@pytest.mark.parametrize("name", [*bundled(), "wav2small-17k"])
def test_golden_vectors_of_a_blob(name, tmp_path):
    generate(find_onnx(name) if name in bundled() else student(name), tmp_path)
    names = ("wav2small.c", "wav2small_decide.c", "wav2small_selftest.c")
    sources = [tmp_path / name for name in names]
    blob = ["-DWAV2SMALL_BLOB", "-o", tmp_path / "test"]
    run("cc", *WARNINGS, "-O1", *sources, *blob)
    with (tmp_path / "wav2small_model.bin").open("rb") as file:
        done = subprocess.run([tmp_path / "test"], stdin=file, capture_output=True)
    assert done.returncode == 0
    assert b"5 golden vectors agree" in done.stdout


@compiled
def test_another_training_is_taken(library, data, tmp_path):
    first, second = FIRST, student(MINI)
    generate(second, tmp_path)
    other = (tmp_path / "wav2small_model.bin").read_bytes()
    assert len(other) == len(data)
    assert other != data
    for _ in range(2):  # and back again
        for model, blob in ((first, Blob(data)), (second, Blob(other))):
            assert begin(library, blob) == OK
            hears_as(library, model)
            scores = (ctypes.c_float * 3)()
            assert library.c.wav2small_result(library.state, scores) == OK
            output = model.tensors[model.output]
            integers = ReferenceModel(model).run(signal(3, 20000))[model.output]
            wanted = (integers.ravel() - output.zero_point) * output.scale
            np.testing.assert_allclose(scores, wanted, rtol=1e-6)


@compiled
def test_a_blob_knows_speech(tmp_path):
    model = read(find_onnx(MINI))
    library = Library(model, tmp_path, "-DWAV2SMALL_BLOB")
    blob = Blob((tmp_path / "wav2small_model.bin").read_bytes())
    assert begin(library, blob) == OK
    assert library.c.wav2small_listen(library.state, 1) == OK
    stream = Stream(model)
    stream.listen(speech_alone=True)
    odds = ctypes.c_int32()
    for piece in pieces(5, signal(5, 20000), 700):
        assert library.push(piece) == OK
        stream.push(piece)
        if stream.speech is not None:
            library.c.wav2small_speech(library.state, ctypes.byref(odds))
            scale = model.detector.tensors[model.detector.output].scale
            assert odds.value * scale == stream.speech


@compiled
@pytest.mark.parametrize("name", ["wav2small-rt", "wav2small-17k"])
def test_another_network_is_refused(name, library, data, tmp_path):
    generate(student(name), tmp_path)
    kept = Blob(data)  # a state reads it as long as it is used
    other = Blob((tmp_path / "wav2small_model.bin").read_bytes())
    assert begin(library, kept) == OK
    assert begin(library, other) == OTHER_MODEL
    # the state goes on with what it had
    hears_as(library, FIRST)


@compiled
def test_each_flipped_bit_is_refused(library, data):
    generator = np.random.default_rng(0)
    bits = [*range(8 * 104), *generator.choice(8 * len(data), 300, replace=False)]
    for bit in bits:
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        assert begin(library, Blob(bytes(wrong))) == NO_MODEL, bit


@compiled
def test_what_is_no_blob_is_refused(library, data):
    assert library.c.wav2small_init(library.state, None, 99) == NO_POINTER
    assert begin(library, Blob(data, offset=4)) == NO_MODEL
    for length in (0, 1, 12, 103, 104, len(data) - 1):
        assert begin(library, Blob(data[:length])) == NO_MODEL
    # what lies behind it does not matter
    assert begin(library, Blob(data + b"more")) == OK
    # another layout, whole in itself
    start = data[:4] + struct.pack("<I", 2) + data[8:12]
    crc = struct.pack("<I", zlib.crc32(start + data[16:]))
    assert begin(library, Blob(start + crc + data[16:])) == OTHER_MODEL
    # a length of less than the header
    start = data[:8] + struct.pack("<I", 16)
    crc = struct.pack("<I", zlib.crc32(start))
    assert begin(library, Blob(start + crc + data[16:])) == NO_MODEL


def test_the_header_of_a_blob(data):
    assert data[:4] == b"w2sm"
    layout, length, crc = struct.unpack("<3I", data[4:16])
    assert (layout, length) == (1, len(data))
    assert crc == zlib.crc32(data[:12] + data[16:])
    assert data[48:80] == hashlib.sha256(find_onnx(MINI).read_bytes()).digest()


def test_types_of_members():
    assert member_types("linear")["zero_out"] == "int16"
    assert member_types("sum")["multiplier"] == "int32"
    assert member_types("dense")["end.round"] == "int32"
