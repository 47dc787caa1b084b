from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from wav2small.export.base.errors import ExportError
from wav2small.export.model.compact import compact
from wav2small.export.model.size import (
    KINDS,
    Part,
    byte_budget,
    check,
    group_small,
    to_markdown,
)

BUNDLED = Path(__file__).parent.parent / "wav2small/assets/models/wav2small/model.onnx"


def model(text, *, opset=17, domains=(), **constants):
    """Graph from ONNX text, its larger constants from arrays."""
    graph = onnx.parser.parse_graph(text)
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(value, name))
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, 1) for domain in domains]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def by_tensor(parts):
    """Parts by the name that ends the detail of a tensor."""
    return {part.detail.split("'")[1]: part for part in parts if "'" in part.detail}


def varint(value):
    """The bytes of an integer as protobuf writes it."""
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127)
    return bytes([byte | 128 for byte in groups[:-1]] + groups[-1:])


NAMES = st.text("abcdé|\n'", min_size=1, max_size=200)
NUMBERS = st.sampled_from([np.float32, np.float64, np.int8, np.int64, np.uint16])


@settings(max_examples=60)
@given(st.data())
def test_every_byte_is_counted_once(data):
    names = data.draw(st.lists(NAMES, unique=True, max_size=6))
    count = data.draw(st.integers(0, 5))
    tensors = [
        numpy_helper.from_array(
            np.zeros(
                data.draw(st.lists(st.integers(0, 40), max_size=2)), data.draw(NUMBERS)
            ),
            f"t{name}",
        )
        for name in names
    ]
    nodes = [
        helper.make_node(
            "Identity", [f"n{i}" if i else "x"], [f"n{i + 1}"], data.draw(NAMES)
        )
        for i in range(count)
    ]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Exp", [f"n{count}" if count else "x"], ["y"])],
        data.draw(NAMES),
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        tensors,
        doc_string=data.draw(NAMES),
    )
    whole = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    entries = data.draw(st.dictionaries(NAMES, NAMES, max_size=4))
    helper.set_model_props(whole, entries)
    whole.producer_name = data.draw(NAMES)
    serialised = whole.SerializeToString()
    parts = byte_budget(serialised)
    assert sum(part.bytes for part in parts) == len(serialised)
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert {part.kind for part in parts} <= set(KINDS)
    # the size of a field is that of its tag, its length and its message
    found = sorted(part.bytes for part in parts if part.name.startswith("tensor"))
    wanted = [len(tensor.SerializeToString()) for tensor in tensors]
    assert found == sorted(1 + len(varint(size)) + size for size in wanted)
    metadata = [part for part in parts if part.kind == "metadata"]
    assert len(metadata) == len(entries)
    assert sum(part.bytes for part in group_small(parts)) == len(serialised)


def test_the_three_forms_of_a_model_agree():
    data = BUNDLED.read_bytes()
    parts = byte_budget(BUNDLED)
    assert parts == byte_budget(data) == byte_budget(str(BUNDLED))
    assert parts == byte_budget(onnx.load_from_string(data))


def test_bundled_model():
    parts = byte_budget(BUNDLED)
    assert sum(part.bytes for part in parts) == BUNDLED.stat().st_size
    sizes = [part.bytes for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert parts[0].name.startswith("weight of ") and parts[0].kind == "weights"
    groups = {part.name for part in parts if part.kind == "nodes"}
    assert groups == {
        "nodes: generated constants",
        "nodes: front end",
        "nodes: quantisation",
        "nodes: body",
        "nodes: tail",
    }
    stored = {
        tensor.name: tensor.ByteSize()
        for tensor in onnx.load(BUNDLED).graph.initializer
    }
    found = by_tensor(parts)
    assert set(found) == set(stored)
    for name, size in stored.items():  # and a tag of one byte, and the length
        assert found[name].bytes == 1 + len(varint(size)) + size
    # every constant is somebody's
    assert not [part.name for part in parts if part.name.startswith("tensor")]
    assert {part.kind for part in parts} == set(KINDS)


def test_a_weights_scale_is_its_own_though_a_bias_has_a_share_in_it():
    parts = byte_budget(BUNDLED.parent.parent / "wav2small-rt" / "model.onnx")
    scales = [part for part in parts if part.kind == "scales" and part.bytes > 200]
    assert len(scales) == 11
    assert all(part.name.startswith("scale of weight of ") for part in scales)
    assert not [part.name for part in scales if "(" in part.name]


def test_numbers_of_nodes():
    parts = byte_budget(BUNDLED)
    graph = onnx.load(BUNDLED).graph
    counts = [int(part.detail.split()[0]) for part in parts if part.kind == "nodes"]
    assert sum(counts) == len(graph.node)
    (quantisation,) = (p for p in parts if p.name == "nodes: quantisation")
    wanted = [node for node in graph.node if node.op_type.endswith("izeLinear")]
    assert quantisation.detail == f"{len(wanted)} nodes"


QUANTISED = model(
    "g (float[1, 4, 9] x) => (float[1, 6, 9] y) {"
    " xq = QuantizeLinear(x, xs, xz) xd = DequantizeLinear(xq, xs, xz)"
    " whole = Pad(w, pads) wd = DequantizeLinear<axis=0>(whole, ws, wz)"
    " bd = DequantizeLinear<axis=0>(b, bs)"
    " c = Conv<kernel_shape=[1]>(xd, wd, bd)"
    " cq = QuantizeLinear(c, cs, cz) cd = DequantizeLinear(cq, cs, cz)"
    " r = Clip(cd, low) y = Mul(r, factor) }",
    xs=np.array(0.1, np.float32),
    xz=np.array(3, np.int8),
    w=np.ones((5, 4, 1), np.int8),
    pads=np.array([0, 0, 0, 1, 0, 0]),
    ws=np.ones(6, np.float32),
    wz=np.zeros(6, np.int8),
    b=np.ones(6, np.int32),
    bs=np.ones(6, np.float32),
    cs=np.array(0.2, np.float32),
    cz=np.array(4, np.int8),
    low=np.array(0, np.float32),
    factor=np.array([2], np.float32),
)


@pytest.mark.parametrize(
    "tensor, name, kind, detail",
    [
        ("xs", "scale of 'x'", "scales", "float32 scalar, 'xs'"),
        ("xz", "zero point of 'x'", "scales", "int8 scalar, 'xz'"),
        ("w", "weight of Conv 1 (Pad data)", "weights", "int8 5x4x1, 'w'"),
        ("pads", "weight of Conv 1 (Pad pads)", "formulas", "int64 6, 'pads'"),
        ("ws", "scale of weight of Conv 1", "scales", "float32 6, 'ws'"),
        ("wz", "zero point of weight of Conv 1", "scales", "int8 6, 'wz'"),
        ("b", "bias of Conv 1", "biases", "int32 6, 'b'"),
        ("bs", "scale of bias of Conv 1", "scales", "float32 6, 'bs'"),
        ("cs", "scale of output of Conv 1", "scales", "float32 scalar, 'cs'"),
        ("cz", "zero point of output of Conv 1", "scales", "int8 scalar, 'cz'"),
        ("low", "min of Clip 1", "constants", "float32 scalar, 'low'"),
        ("factor", "B of Mul 1", "constants", "float32 1, 'factor'"),
    ],
)
def test_who_reads_a_constant(tensor, name, kind, detail):
    part = by_tensor(byte_budget(QUANTISED))[tensor]
    assert (part.name, part.kind, part.detail) == (name, kind, detail)


def test_four_bits_unpacked_from_bytes():
    whole = model(
        "g (float[1, 8] x) => (float[1, 8] y) {"
        " high = Div(packed, sixteen) both = Concat<axis=0>(high, packed)"
        " square = Reshape(both, shape) weight = DequantizeLinear(square, s)"
        " p = MatMul(x, weight) y = Add(bias, p) }",
        packed=np.zeros(32, np.uint8),
        sixteen=np.array(16, np.uint8),
        shape=np.array([8, 8]),
        s=np.array(0.1, np.float32),
        bias=np.ones(8, np.float32),
    )
    parts = by_tensor(byte_budget(whole))
    assert parts["packed"].name == "weight of MatMul 1 (Div A)"
    assert parts["packed"].kind == "weights"
    assert {parts[name].kind for name in ("sixteen", "shape")} == {"formulas"}
    assert parts["s"].name == "scale of weight of MatMul 1"
    assert (parts["bias"].name, parts["bias"].kind) == ("bias of MatMul 1", "biases")


def test_four_bits_as_they_are_packed():
    rng = np.random.default_rng(0)
    whole = model(
        "g (float[1, 41] x) => (float[1, 41] y) {"
        " d = DequantizeLinear(w, s) y = MatMul(x, d) }",
        w=rng.integers(-7, 8, (41, 41), np.int8),
        s=np.array(0.1, np.float32),
    )
    parts = byte_budget(compact(whole))
    (weight,) = (part for part in parts if part.kind == "weights")
    assert weight.name.startswith("weight of MatMul 1 (")
    assert 41 * 41 / 2 < weight.bytes < 41 * 41 / 2 + 30
    assert "nodes: generated constants" in {part.name for part in parts}


def test_scattered_weight_is_found_behind_a_cast():
    whole = model(
        "g (float[1, 4] x) => (float[1, 4] y) {"
        " zeros = ConstantOfShape(size) long = Cast<to=7>(places)"
        " filled = ScatterElements(zeros, long, values)"
        " weight = Reshape(filled, shape) y = Gemm(x, weight) }",
        size=np.array([16]),
        places=np.arange(3, dtype=np.uint16),
        values=np.ones(3, np.float32),
        shape=np.array([4, 4]),
    )
    parts = by_tensor(byte_budget(whole))
    assert parts["places"].name == "weight of Gemm 1 (ScatterElements indices)"
    assert parts["values"].name == "weight of Gemm 1 (ScatterElements updates)"
    assert parts["places"].kind == parts["values"].kind == "weights"
    assert parts["size"].kind == parts["shape"].kind == "formulas"


def test_shared_unused_and_output_constants():
    whole = model(
        "g (float[2, 2] x) => (float[2, 2] y, float[2, 2] w) {"
        " a = MatMul(x, w) b = MatMul(a, w) y = Exp(b) }",
        w=np.ones((2, 2), np.float32),
        idle=np.ones(3, np.float32),
    )
    parts = by_tensor(byte_budget(whole))
    assert parts["w"].name == "weight of MatMul 1 and 2 more"
    assert parts["idle"].name == "tensor 'idle'"


def test_constant_nodes_are_tensors():
    whole = model(
        "g (float[1, 2] x) => (float[1, 2] y) {"
        " w = Constant<value=float[2, 2] {1, 2, 3, 4}>()"
        " one = Constant<value_float=1.0>() a = MatMul(x, w) y = Add(a, one) }"
    )
    parts = byte_budget(whole)
    weight = by_tensor(parts)["w"]
    assert (weight.name, weight.kind) == ("weight of MatMul 1", "weights")
    (made,) = (part for part in parts if part.name == "nodes: generated constants")
    assert made.detail == "1 nodes"
    assert sum(part.bytes for part in parts) == len(whole.SerializeToString())


def test_operators_of_others_keep_their_names():
    # they may have any number of inputs, whatever they are called
    whole = model(
        "g (float[1] x) => (float[1] y) {"
        " d = com.acme.DequantizeLinear(k, k, k, k, k) a = com.acme.Add(k)"
        " y = com.acme.Conv(x, d, a, x, k) }",
        domains=["com.acme"],
        k=np.ones(9, np.float32),
    )
    part = by_tensor(byte_budget(whole))["k"]
    assert part.name.startswith("input 2 of com.acme.Conv 1 and 2 more")


def test_groups_of_nodes():
    whole = model(
        "g (float[1, 1, 9] x) => (float[1, 2] y) {"
        " s = Conv<kernel_shape=[1]>(x, dft) p = Mul(s, s) l = Log(p) t = Neg(l)"
        " h = Conv<kernel_shape=[1]>(t, w) r = Relu(h)"
        " c = Conv<kernel_shape=[1]>(r, v) m = ReduceMean<axes=[2], keepdims=0>(c)"
        " y = MatMul(m, k) }",
        dft=np.ones((3, 1, 1), np.float32),
        w=np.ones((2, 3, 1), np.float32),
        v=np.ones((2, 2, 1), np.float32),
        k=np.ones((2, 2), np.float32),
    )
    groups = {p.name: p.detail for p in byte_budget(whole) if p.kind == "nodes"}
    assert groups == {
        "nodes: front end": "4 nodes",
        "nodes: body": "3 nodes",
        "nodes: tail": "2 nodes",
    }


def test_other_ways_to_write_the_same_message():
    data = QUANTISED.SerializeToString()
    # a second part of the model is merged into the first
    more = onnx.ModelProto()
    more.metadata_props.add(key="note", value="text")
    more.graph.initializer.append(numpy_helper.from_array(np.ones(7, "f"), "late"))
    merged = data + more.SerializeToString()
    parts = byte_budget(merged)
    assert sum(part.bytes for part in parts) == len(merged)
    assert {"late", *by_tensor(byte_budget(data))} == set(by_tensor(parts))
    # lengths in more bytes than they need, and fields that nobody knows
    unknown = varint(2047 << 3 | 2) + b"\x83\x80\x00abc"
    unknown += varint(2046 << 3 | 5) + b"1234" + varint(2045 << 3 | 1) + b"12345678"
    (rest,) = (p for p in byte_budget(data + unknown) if p.name == "unknown fields")
    assert (rest.bytes, rest.kind) == (len(unknown), "framing")
    # the number of the graph with a value that is no graph
    (rest,) = (p for p in byte_budget(data + b"\x38\x05") if p.name == "unknown fields")
    assert rest.bytes == 2
    with pytest.raises(
        ExportError, match=f"without groups, got one at byte {len(data)}"
    ):
        byte_budget(data + varint(2047 << 3 | 3) + varint(2047 << 3 | 4))


def test_mutated_files_are_counted_or_refused():
    rng = np.random.default_rng(0)
    data = QUANTISED.SerializeToString()
    counted = 0
    for _ in range(500):
        mutated = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 4)):
            mutated[place] = rng.integers(256)
        try:
            parts = byte_budget(bytes(mutated))
        except ExportError as error:
            assert "\n" not in str(error)
        else:
            counted += 1
            assert sum(part.bytes for part in parts) == len(data)
            assert to_markdown(parts).count("\n") <= 3 + len(parts)
    assert 10 < counted < 490


def test_external_data_is_refused(tmp_path):
    whole = model("g (float[1] x) => (float[1] y) { y = Mul(x, w) }", w=np.ones(1, "f"))
    (tensor,) = whole.graph.initializer
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    with pytest.raises(ExportError, match="got external data for 'w'"):
        byte_budget(whole)
    with pytest.raises(ExportError, match="got external data for 'w'"):
        check(whole, 10**6)


def test_limit():
    size = BUNDLED.stat().st_size
    assert check(BUNDLED, size).fits
    short = check(BUNDLED, size - 1)
    assert (short.bytes, short.limit, short.fits) == (size, size - 1, False)
    assert check(QUANTISED, 10**6).bytes == len(QUANTISED.SerializeToString())


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_that_is_none(limit):
    with pytest.raises(ExportError, match=f"max_bytes must be at least 1, got {limit}"):
        check(BUNDLED, limit)


PARTS = [
    Part("weight of Conv 10", "weights", 700, 0.7, "int8 700, 'a'"),
    Part("weight of Conv 2", "weights", 100, 0.1),
    Part("a|b\nc\\", "metadata", 100, 0.1),
    Part("scale", "scales", 60, 0.06),
    Part("zero point", "scales", 40, 0.04),
]


def test_small_parts_of_a_kind_stand_together():
    grouped = group_small(PARTS, 200)
    assert [(part.name, part.bytes) for part in grouped] == [
        ("weight of Conv 10", 700),
        ("a|b\nc\\", 100),
        ("small scales", 100),
        ("weight of Conv 2", 100),
    ]
    assert grouped[2].detail == "2 parts"
    assert grouped[2].share == pytest.approx(0.1)
    assert {part.name for part in group_small(PARTS, 1)} == {p.name for p in PARTS}


def test_equal_parts_stand_in_the_order_of_the_graph():
    names = [f"weight of Conv {number}" for number in (10, 9, 101)]
    parts = [Part(name, "weights", 300, 0.3) for name in names]
    ordered = [part.name.split()[-1] for part in group_small(parts)]
    assert ordered == ["9", "10", "101"]


def test_table():
    lines = to_markdown(PARTS, 200).splitlines()
    assert len(lines) == 2 + 4 + 1
    assert lines[2] == (
        "| weight of Conv 10 | weights | int8 700, 'a' | 700 | 70.0 % |"
    )
    assert lines[3] == r"| a\|b c\\ | metadata |  | 100 | 10.0 % |"
    assert lines[-1] == "| **total** | | | **1,000** | 100.0 % |"


def test_table_stays_readable():
    long = to_markdown([Part("x" * 500, "metadata", 1, 1.0)])
    assert max(map(len, long.splitlines())) < 130
