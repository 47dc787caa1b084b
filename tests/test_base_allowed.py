"""What a model may hold: each way round the list is tried."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wav2small.export.base import allowed, onnx_file
from wav2small.export.base.errors import ExportError, InputError

TEXT = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
g (float[1, n] signal) => (float[1, 3] logits) <float[1, 3] w = {1, 2, 3}> {
    m = ReduceMean <axes = [-1], keepdims = 1> (signal)
    logits = MatMul(m, w)
}"""


def model(text=TEXT):
    return onnx.parser.parse_model(text)


def external():
    tensor = numpy_helper.from_array(np.ones((1, 3), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def in_attribute(found):
    found.graph.node.append(helper.make_node("Constant", [], ["c"], value=external()))


def in_initializer(found):
    found.graph.initializer[0].CopyFrom(external())


def location_alone(found):
    found.graph.initializer[0].external_data.add(key="location", value="x")


def in_sparse_initializer(found):
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    found.graph.sparse_initializer.add(values=external(), indices=indices, dims=[3])


def in_sparse_value(found):
    sparse = onnx.SparseTensorProto(values=external(), dims=[3])
    found.graph.node.append(
        helper.make_node("Constant", [], ["c"], sparse_value=sparse)
    )


def in_function(found):
    node = helper.make_node("Constant", [], ["c"], value=external())
    found.functions.add(name="F", domain="mine", node=[node], output=["c"])


def in_branch(found):
    graph = onnx.GraphProto(name="b", initializer=[external()])
    node = helper.make_node("If", ["c"], ["d"], then_branch=graph, else_branch=graph)
    found.graph.node.append(node)


def in_training(found):
    found.training_info.add().algorithm.initializer.append(external())


def behind_another_type(found):
    node = helper.make_node("Constant", [], ["c"], value_int=1)
    node.attribute[0].t.CopyFrom(external())
    found.graph.node.append(node)


def in_a_default(found):
    attribute = helper.make_attribute("a", external())
    found.functions.add(name="F", domain="mine", attribute_proto=[attribute])


@pytest.mark.parametrize(
    "hide",
    [
        in_attribute,
        in_initializer,
        location_alone,
        in_sparse_initializer,
        in_sparse_value,
        in_function,
        in_branch,
        in_training,
        behind_another_type,
        in_a_default,
    ],
)
def test_no_data_of_other_files(hide):
    found = model()
    allowed.check(found, "model")
    hide(found)
    with pytest.raises(ExportError, match=r"^model must h") as caught:
        allowed.check(found, "model", ExportError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Loop", ["", "c"], ["d"], body=onnx.GraphProto(name="b")),
        helper.make_node("Scan", ["c"], ["d"], body=onnx.GraphProto(name="b")),
        helper.make_node("RandomNormal", [], ["d"], shape=[1]),
        helper.make_node("StringNormalizer", ["c"], ["d"]),
        helper.make_node("Anything", ["c"], ["d"], domain="mine"),
        helper.make_node("PythonOp", ["c"], ["d"], domain="com.microsoft"),
        helper.make_node("Relu\x1b[2J", ["c"], ["d"]),
    ],
)
def test_operators_that_are_not_listed(node):
    found = model()
    found.graph.node.append(node)
    with pytest.raises(InputError, match=r"must have operators") as caught:
        allowed.check(found, "model")
    assert str(caught.value).isprintable()


def bomb(levels, calls=2):
    """Functions of which each calls the one below some times."""
    found = model()
    inner = helper.make_node("Relu", ["x"], ["y"])
    for level in range(levels):
        body = [inner] * (calls if level else 1)
        found.functions.add(
            name=f"F{level}", domain="mine", input=["x"], output=["y"], node=body
        )
        inner = helper.make_node(f"F{level}", ["x"], ["y"], domain="mine")
    found.graph.node.append(inner)
    return found


def test_functions_are_counted_as_if_inlined():
    allowed.check(bomb(10), "model")
    with pytest.raises(InputError, match="at most 20,000 nodes, functions inlined"):
        allowed.check(bomb(40), "model")
    upside_down = bomb(400, calls=1)
    for index, function in enumerate(reversed(bomb(400, calls=1).functions)):
        upside_down.functions[index].CopyFrom(function)
    with pytest.raises(InputError, match="nested at most 50 deep"):
        allowed.check(upside_down, "model")


def test_a_function_that_calls_itself():
    found = model()
    call = helper.make_node("F", ["x"], ["y"], domain="mine")
    found.functions.add(name="F", domain="mine", node=[call])
    with pytest.raises(InputError, match="functions that do not call themselves"):
        allowed.check(found, "model")


def test_many_nodes():
    found = model()
    relu = helper.make_node("Relu", ["a"], ["b"])
    found.graph.node.extend([relu] * 300_000)
    with pytest.raises(InputError, match="must have at most 20,000 nodes"):
        allowed.check(found, "model")


def test_deep_branches():
    found = model()
    graph = onnx.GraphProto(name="b")
    for _ in range(10):
        node = helper.make_node("If", ["c"], ["d"], then_branch=graph)
        graph = onnx.GraphProto(name="b", node=[node])
    found.graph.node.append(graph.node[0])
    with pytest.raises(InputError, match="nested at most 8 deep"):
        allowed.check(found, "model")


@pytest.mark.parametrize(
    ("dims", "data"),
    [
        ([2**40], b""),
        ([2**31, 2**31], b"1234"),
        ([-1], b"1234"),
        ([3], b"1234"),
        ([0, 2**62], b""),
    ],
)
def test_tensors_have_the_bytes_of_their_shape(dims, data):
    found = model()
    tensor = TensorProto(name="v", data_type=1, dims=dims, raw_data=data)
    found.graph.initializer.append(tensor)
    with pytest.raises(InputError, match="the bytes of their shape"):
        allowed.check(found, "model")


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i1", "u1", "i4", "i8", "?"])
@pytest.mark.parametrize("raw", [True, False])
def test_dense_tensors_of_numbers_are_let_in(dtype, raw):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    value = np.ones((2, 3), dtype)
    tensor = helper.make_tensor(
        "v", kind, value.shape, value.tobytes() if raw else value.ravel(), raw
    )
    found = model()
    found.graph.initializer.append(tensor)
    allowed.check(found, "model")


def test_fields_of_another_version_are_refused():
    data = model().SerializeToString() + b"\xfa\x3e\x02hi"  # field 1007
    with pytest.raises(InputError, match="fields that this version of onnx knows"):
        onnx_file.parse(data)


def test_names_are_text():
    data = model().SerializeToString().replace(b"MatMul", b"MatM\xffl")
    with pytest.raises(InputError, match=r"names that are UTF-8|must be an ONNX file"):
        onnx_file.parse(data)


def test_one_value_for_each_entry():
    found = model()
    for value in ("MIT", "CC-BY-NC-4.0"):
        found.metadata_props.add(key="licence", value=value)
    with pytest.raises(InputError, match="metadata of different names"):
        allowed.check(found, "model")
