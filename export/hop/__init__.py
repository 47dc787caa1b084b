"""One hop of a model that streams as an ONNX graph, whose state the caller carries."""

from .write import write_hop

__all__ = ["write_hop"]
