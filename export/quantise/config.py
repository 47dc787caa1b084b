"""How a model is quantised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..base.errors import ExportError


@dataclass(frozen=True)
class QuantConfig:
    """Configuration of :func:`quantize`."""

    weight_bits: Literal[7, 8] = 7
    """Bits of a weight, sign included.
    With 8 the processors without 8-bit dot products (AVX2 without VNNI)
    saturate in onnxruntime and give wrong scores without a word;
    with 7 two products of a weight and an activation always fit 16 bits."""

    channel_multiple: int = 16
    """Channels between plain convolutions are rounded up to a multiple of this
    if that makes them at most a quarter more.
    onnxruntime runs multiples of 16 twice as fast;
    1 leaves them and needs the least activation memory."""

    four_bit_layers: int = 0
    """How many layers, those with the most weights, get 4 bits.
    Two of their weights share a byte in the file."""

    opset: Literal[17, 21] = 17
    """Version of the ONNX operators.
    17 runs everywhere; 21 has a 4-bit type of its own (onnxruntime 1.18)."""

    def __post_init__(self) -> None:
        if self.four_bit_layers < 0:
            raise ExportError(
                f"four_bit_layers must be at least 0, got {self.four_bit_layers}: "
                "0 gives every layer weight_bits"
            )
        if self.channel_multiple < 1:
            raise ExportError(
                f"channel_multiple must be at least 1, got {self.channel_multiple}: "
                "1 leaves the channels as they are"
            )
        if self.opset not in (17, 21):
            raise ExportError(
                f"opset must be 17 or 21, got {self.opset}: 17 runs everywhere"
            )
        if self.weight_bits not in (7, 8):
            raise ExportError(
                f"weight_bits must be 7 or 8, got {self.weight_bits}: "
                "7 is right on every processor"
            )

    @property
    def weight_limit(self) -> int:
        """Largest absolute value of a quantised weight, but for 4-bit layers."""
        return 2 ** (self.weight_bits - 1) - 1
