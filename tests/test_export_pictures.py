import struct

import pytest

from wav2small.export.base.errors import ExportError
from wav2small.export.model.size import KINDS, Part
from wav2small.export.pictures import draw_budget

pytest.importorskip("matplotlib")

# a dollar would start a formula
PARTS = [
    Part("weight of $Conv_1", "weights", 600, 0.6, "int8 24x25, 'a$'"),
    *(Part(f"{kind} {i}", kind, 5, 0.005) for kind in KINDS for i in range(10)),
]
LIMIT_COLOUR = (0xB3, 0x26, 0x1E)


def pixels(path):
    from matplotlib.image import imread

    return (255 * imread(path)[..., :3]).round().astype(int)


def test_png_of_the_promised_size(tmp_path):
    path = tmp_path / "size.png"
    draw_budget(PARTS, path)
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1200, 700)
    draw_budget(PARTS, path)
    assert path.read_bytes() == data
    assert [entry.name for entry in tmp_path.iterdir()] == ["size.png"]


@pytest.mark.parametrize("limit", [500, 1000, 5000])
def test_limit_is_a_line(tmp_path, limit):
    path = tmp_path / "size.png"

    def columns():
        """Columns that are red over more than the bar, legend left out."""
        red = (pixels(path)[:200] == LIMIT_COLOUR).all(axis=-1)
        return (red.sum(axis=0) > 50).nonzero()[0]

    draw_budget(PARTS, path)
    assert not len(columns())
    draw_budget(PARTS, path, limit)
    assert 1 <= len(columns()) <= 3


def test_bars_are_as_long_as_their_bytes(tmp_path):
    path = tmp_path / "size.png"
    parts = [Part("a", "weights", 600, 0.6), Part("b", "nodes", 400, 0.4)]
    draw_budget(parts, path)
    image = pixels(path)
    row = image[60]  # through the bar of the whole file
    first, second = (
        (row == colour).all(axis=-1).sum()
        for colour in ((0x1F, 0x5F, 0x8B), (0x8D, 0x6A, 0xB8))
    )
    assert first / (first + second) == pytest.approx(0.6, abs=0.01)


def test_many_parts_are_drawn_as_few(tmp_path):
    parts = [Part(f"weight {i}", "weights", 10, 0.02, "x" * 200) for i in range(50)]
    draw_budget(parts, tmp_path / "size.png")
    # the sum of the rest has a colour of its own
    rest = (pixels(tmp_path / "size.png") == 0xDD).all(axis=-1)
    assert rest.sum() > 5000


def test_no_parts(tmp_path):
    with pytest.raises(ExportError, match="parts must be those of a file, got none"):
        draw_budget([], tmp_path / "a.png")


def test_no_folder(tmp_path):
    with pytest.raises(ExportError, match=r"picture 'a\.png' must be in a folder"):
        draw_budget(PARTS, tmp_path / "none" / "a.png")
