"""Few weights that are trained in a backbone whose own stay as they are."""

from __future__ import annotations

from torch import Tensor, nn

from ..backbones.base import Backbone

LORA_TARGETS = ("intermediate_dense", "output_dense")
"""Linear layers that low-rank updates go to: the dense layers of a block.
WavLM reads the weights of its attention past the layers that hold them,
so an update there would have no effect."""


class Adapter(nn.Module):
    """A bottleneck beside the identity, which it is before training.

    References:
        after Suresh et al. 2024, arXiv 2406.14747,
        and Houlsby et al. 2019, arXiv 1902.00751.

    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Add what the bottleneck makes of hidden states."""
        inner = nn.functional.gelu(self.down(self.norm(hidden)))
        return hidden + self.up(inner)


def add_adapters(backbone: Backbone, bottleneck: int) -> None:
    """Put an adapter behind each layer."""
    backbone.adapters = nn.ModuleList(
        Adapter(backbone.width, bottleneck) for _ in range(backbone.depth)
    )


def add_lora(backbone: Backbone, rank: int) -> None:
    """Put low-rank updates on the dense layers of each block, by peft.

    All other parameters of the backbone are frozen.

    References:
        Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models",
        arXiv 2106.09685.

    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(LORA_TARGETS))
    inject_adapter_in_model(config, backbone)


def merge_lora(backbone: nn.Module) -> None:
    """Add the updates to the weights, in place; nothing of peft remains."""
    from peft.tuners.lora import LoraLayer

    found = [
        (name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, LoraLayer)
    ]
    for name, module in found:
        parent, _, child = name.rpartition(".")
        module.merge()
        setattr(backbone.get_submodule(parent), child, module.get_base_layer())
