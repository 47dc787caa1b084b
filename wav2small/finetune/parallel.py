"""Several processes that train as one would.

The loss looks at a whole batch, and so does each process:
it hears its share of the signals, gathers what the others made of theirs,
and follows the loss of all back into its own share.
The sum of the gradients is then that of one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ..errors import InputError


@dataclass(frozen=True)
class Group:
    """The processes that train together."""

    rank: int = 0
    """Number of this process."""

    size: int = 1
    """How many there are."""

    @classmethod
    def join(cls, device: str) -> Group:
        """Join the group that ``torchrun`` has started, if it has.

        Args:
            device: torch device of this process

        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            store, rank, size = next(distributed.rendezvous("env://"))
            # torchrun keeps the store when it starts anew,
            # and in it the addresses of the processes that are gone
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            distributed.init_process_group(
                "nccl" if device.startswith("cuda") else "gloo",
                store=distributed.PrefixStore(f"attempt {attempt}", store),
                rank=rank,
                world_size=size,
            )
        return cls(distributed.get_rank(), distributed.get_world_size())

    def leave(self) -> None:
        """Leave the group."""
        if self.size > 1:
            distributed.destroy_process_group()

    def share(self, count: int) -> slice:
        """Return the rows of a batch that this process hears.

        Raises:
            InputError: if the batch cannot be shared evenly

        """
        if count % self.size:
            raise InputError(
                f"batch size must be a multiple of the {self.size} processes, "
                f"got {count}"
            )
        part = count // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def gather(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Join outputs along the batch; only one's own have a gradient."""
        if self.size == 1:
            return dict(outputs)
        joined = {}
        for name in sorted(outputs):
            own = outputs[name]
            parts = [torch.empty_like(own) for _ in range(self.size)]
            distributed.all_gather(parts, own.detach().contiguous())
            parts[self.rank] = own
            joined[name] = torch.cat(parts)
        return joined

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add up the gradients of all processes, in place."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        for gradient, total in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(total.view_as(gradient))

    def collect(self, rows: Mapping[int, object]) -> dict[int, object]:
        """Join what each process found out about some rows."""
        if self.size == 1:
            return dict(rows)
        found: list[dict[int, object] | None] = [None] * self.size
        distributed.all_gather_object(found, dict(rows))
        return {row: value for part in found for row, value in (part or {}).items()}

    def mine(self, items: Sequence[int]) -> list[int]:
        """Return the items that this process looks at."""
        return list(items)[self.rank :: self.size]

    def wait(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            distributed.barrier()


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the mean and variance of the batches of all processes."""

    def forward(self, signal: Tensor) -> Tensor:
        """Normalise ``(batch, channels, height, width)``."""
        if not self.training:
            return super().forward(signal)
        axes, size = (0, 2, 3), distributed.get_world_size()
        signal = signal.float()
        mean = _Sum.apply(signal.mean(axes)) / size
        centred = signal - mean[:, None, None]
        variance = _Sum.apply(centred.square().mean(axes)) / size
        count = size * signal.numel() / signal.shape[1]
        with torch.no_grad():
            assert self.num_batches_tracked is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            self.num_batches_tracked += 1
            share = self.momentum or 0.0
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * count / (count - 1), share)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]


def share_statistics(module: nn.Module) -> None:
    """Let a module's batch normalisation look at the batches of all processes."""
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = SharedBatchNorm2d


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; so are its gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total
