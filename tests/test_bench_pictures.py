import struct

import onnx
import pytest

from wav2small.export.base.errors import BenchError
from wav2small.firmware_bench.bench import bench
from wav2small.firmware_bench.report.pictures import draw_fit, draw_layers, draw_memory
from wav2small.firmware_bench.target import DEFAULT_TARGETS

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


def pixels(path, colour):
    from matplotlib.image import imread

    image = (255 * imread(path)[..., :3]).round().astype(int)
    return (image == colour).all(axis=-1).sum()


def test_what_does_not_fit_is_red(report, tmp_path):
    path = tmp_path / "fit.png"
    draw_fit(report, path)
    red, green, grey = (0xB3, 0x26, 0x1E), (0x2E, 0x7D, 0x32), (0x9A, 0x9A, 0x9A)
    # 128 kB are too much for the first two targets
    assert pixels(path, red) > 10000
    assert pixels(path, green) > 1000
    assert struct.unpack(">I", path.read_bytes()[16:20]) == (1200,)
    for budget in report["budgets"]:
        for check in budget["checks"]:
            check["passed"], check["limit"] = True, 10**7
    draw_fit(report, path)
    assert pixels(path, grey) < 200
    for budget in report["budgets"]:
        for check in budget["checks"]:
            check["passed"] = None
    draw_fit(report, path)
    assert pixels(path, grey) > 500 and pixels(path, green) < 200
    for budget in report["budgets"]:
        for check in budget["checks"]:
            check["passed"] = True
    draw_fit(report, path)
    # what is left are edges of letters
    assert pixels(path, red) + pixels(path, grey) < 200


def test_layers_of_cores(report, tmp_path):
    path = tmp_path / "layers.png"
    with pytest.raises(BenchError, match="report must have emulated cores to draw"):
        draw_layers(report, path)
    layers = [
        {"name": name, "instructions_per_second": count}
        for name, count in (("LogMel 1", 4e6), ("Convolution $1", 2e6))
    ]
    core = {
        "core": "cortex-m4",
        "compiler": "a compiler",
        "figures": {"instructions": 6e6},
        "layers": layers,
    }
    report["firmware"] = {"cores": [core]}
    draw_layers(report, path)
    data, blue = path.read_bytes(), (0x5B, 0x8F, 0xC7)
    draw_layers(report, path)
    assert path.read_bytes() == data
    alone = pixels(path, blue)
    layers[1]["instructions_per_second"] = 4e6
    draw_layers(report, path)
    assert pixels(path, blue) > 1.2 * alone


def test_layers_of_more_cores_than_colours(report, tmp_path):
    layers = [{"name": "LogMel 1", "instructions_per_second": 4e6}]
    figures = {"instructions": 4e6}
    report["firmware"] = {
        "cores": [
            {"core": name, "compiler": "a", "figures": figures, "layers": layers}
            for name in ("one", "two", "three", "four", "five")
        ]
    }
    draw_layers(report, tmp_path / "layers.png")
    assert pixels(tmp_path / "layers.png", (0x5B, 0x8F, 0xC7)) > 1000
