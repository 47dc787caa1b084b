import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from operator_rows import ROWS

from wav2small.export.model import topology
from wav2small.export.quantise import plan, torch_operators

GENERATOR = np.random.default_rng(0)


def floats(*shape):
    return GENERATOR.standard_normal(shape).astype(np.float32)


def integers(*values):
    return np.array(values, np.int64)


# operator: attributes and inputs, the first of which is fed, the others stored
CASES = {
    "Abs": [({}, [floats(2, 3)])],
    "Add": [({}, [floats(2, 3), floats(3)])],
    "AveragePool": [
        ({"kernel_shape": [2, 3], "strides": [2, 1]}, [floats(1, 2, 6, 7)]),
        ({"kernel_shape": [4], "pads": [3, 0]}, [floats(1, 2, 9)]),
        (
            {"kernel_shape": [4], "pads": [3, 0], "count_include_pad": 1},
            [floats(1, 2, 9)],
        ),
    ],
    "BatchNormalization": [
        (
            {"epsilon": 1e-3},
            [floats(1, 3, 4, 4), floats(3), floats(3), floats(3), floats(3) ** 2],
        )
    ],
    "Cast": [({"to": TensorProto.INT64}, [3 * floats(4)])],
    "Clip": [
        ({}, [floats(9), np.float32(-0.5), np.float32(0.5)]),
        ({}, [floats(9), np.float32(0)]),
    ],
    "Concat": [({"axis": 1}, [floats(2, 3), floats(2, 1)])],
    "ConstantOfShape": [
        ({"value": numpy_helper.from_array(np.ones(1, "f4"))}, [integers(2, 3)]),
    ],
    "Conv": [
        (
            {"pads": [1, 2, 0, 1], "strides": [2, 1], "group": 2},
            [floats(1, 4, 6, 7), floats(6, 2, 3, 3), floats(6)],
        ),
        ({"dilations": [2]}, [floats(1, 2, 20), floats(3, 2, 4)]),
    ],
    "CumSum": [({}, [floats(2, 5), np.int64(1)])],
    "Div": [({}, [floats(2, 3), floats(3)])],
    "Exp": [({}, [floats(4)])],
    "Flatten": [({"axis": 2}, [floats(1, 2, 3, 4)]), ({}, [floats(2, 3, 4)])],
    "Gemm": [
        ({"transB": 1, "alpha": 0.5}, [floats(2, 3), floats(4, 3), floats(4)]),
        ({"transA": 1, "beta": 2.0}, [floats(3, 2), floats(3, 4), floats(4)]),
    ],
    "GlobalAveragePool": [({}, [floats(1, 3, 4, 5)])],
    "HardSigmoid": [({"alpha": 0.3, "beta": 0.4}, [3 * floats(9)])],
    "HardSwish": [({}, [4 * floats(9)])],
    "Identity": [({}, [floats(4)])],
    "LeakyRelu": [({"alpha": 0.2}, [floats(9)])],
    "Log": [({}, [floats(4) ** 2])],
    "MatMul": [({}, [floats(1, 2, 3), floats(3, 4)])],
    "Max": [({}, [floats(9), floats(9)])],
    "MaxPool": [
        (
            {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
            [floats(1, 2, 7, 6) - 5],
        )
    ],
    "Min": [({}, [floats(9), floats(9)])],
    "Mul": [({}, [floats(2, 3), floats(3)])],
    "Neg": [({}, [floats(4)])],
    "Pad": [({}, [floats(2, 3), integers(0, 1, 2, 0), np.float32(0.5)])],
    "Pow": [({}, [floats(4) ** 2, np.float32(0.5)])],
    "ReduceMax": [({"axes": [1]}, [floats(2, 3)])],
    "ReduceMean": [({"axes": [2, 3], "keepdims": 0}, [floats(1, 2, 3, 4)])],
    "ReduceSum": [({"keepdims": 0}, [floats(2, 3), integers(1)])],
    "Relu": [({}, [floats(9)])],
    "Reshape": [({}, [floats(2, 3, 4), integers(0, -1)])],
    "Shape": [({}, [floats(2, 3)])],
    "Sigmoid": [({}, [floats(9)])],
    "Slice": [
        ({}, [floats(5, 6), integers(1), integers(-1), integers(1), integers(2)]),
        ({}, [floats(5, 6), integers(0, 2), integers(2, 4)]),
    ],
    "Softmax": [({"axis": 1}, [floats(2, 3, 4)])],
    "Sqrt": [({}, [floats(4) ** 2])],
    "Squeeze": [({}, [floats(2, 1, 3), integers(1)]), ({}, [floats(2, 1, 3)])],
    "Sub": [({}, [floats(2, 3), floats(3)])],
    "Tanh": [({}, [floats(9)])],
    "Transpose": [({"perm": [2, 0, 1]}, [floats(2, 3, 4)]), ({}, [floats(2, 3)])],
    "Unsqueeze": [({}, [floats(2, 3), integers(0, -1)])],
}
CASES |= {name: cases for row in ROWS.values() for name, cases in row.cases.items()}


def test_every_operator_that_can_be_quantised_has_a_case():
    assert set(CASES) == set(plan.SUPPORTED) == set(torch_operators.OPERATORS)


@pytest.mark.parametrize(
    ("operator", "attributes", "inputs"),
    [(name, *case) for name, cases in CASES.items() for case in cases],
)
def test_same_as_onnxruntime(operator, attributes, inputs):
    inputs = [np.asarray(value) for value in inputs]
    names = [f"x{index}" for index in range(len(inputs))]
    node = helper.make_node(operator, names, ["y"], **attributes)
    model = helper.make_model(
        helper.make_graph(
            [node],
            "g",
            [
                helper.make_tensor_value_info(
                    "x0",
                    helper.np_dtype_to_tensor_dtype(inputs[0].dtype),
                    inputs[0].shape,
                )
            ],
            [onnx.ValueInfoProto(name="y")],
            [
                numpy_helper.from_array(value, name)
                for name, value in zip(names[1:], inputs[1:], strict=True)
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    (expected,) = topology.session(model, "exact").run(None, {"x0": inputs[0]})
    tensors = [torch.from_numpy(value) for value in inputs]
    result = torch_operators.run(node, tensors)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_shape_for_one_signal_serves_a_batch():
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    result = torch_operators.run(node, [torch.zeros(4, 6), torch.tensor([1, 2, 3])])
    assert result.shape == (4, 2, 3)


def test_gradients_pass_through_a_layer():
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    weight = torch.ones(1, 1, 3, 3, requires_grad=True)
    torch_operators.run(node, [torch.ones(1, 1, 3, 3), weight]).sum().backward()
    np.testing.assert_array_equal(
        weight.grad.reshape(3, 3), [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    )
