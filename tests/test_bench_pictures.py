import struct

import onnx
import pytest

from firmware_bench.bench import bench
from firmware_bench.errors import BenchError
from firmware_bench.pictures import draw_memory
from firmware_bench.target import DEFAULT_TARGETS

pytest.importorskip("matplotlib")

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, time] x) => (float[a, m] y) {
  s = Constant<value_float=0.5>() z = Constant<value=int8 {0}>()
  a = Concat<axis=0>(x, x) q = QuantizeLinear(a, s, z)
  d = DequantizeLinear(q, s, z) y = Exp(d)
}"""


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "$model_1.onnx"  # a dollar would start a formula
    path.write_bytes(onnx.parser.parse_model(TEXT).SerializeToString())
    return bench(path, targets=[*DEFAULT_TARGETS, "apollo4p"], host=False)


def test_png_of_the_promised_size(report, tmp_path):
    path = tmp_path / "memory.png"
    draw_memory(report, path)
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1200, 700)
    draw_memory(report, path)
    assert path.read_bytes() == data
    assert [entry.name for entry in tmp_path.glob("*memory*")] == ["memory.png"]


def test_blocks_in_their_colours(report, tmp_path):
    from matplotlib.image import imread

    draw_memory(report, tmp_path / "memory.png")
    pixels = (255 * imread(tmp_path / "memory.png")[..., :3]).round().astype(int)
    for colour in ((0xE8, 0xA3, 0x5C), (0x5B, 0x8F, 0xC7)):
        assert (pixels == colour).all(axis=-1).sum() > 10000


def test_no_folder(report, tmp_path):
    with pytest.raises(BenchError, match=r"picture 'a\.png' must be in a folder"):
        draw_memory(report, tmp_path / "none" / "a.png")
