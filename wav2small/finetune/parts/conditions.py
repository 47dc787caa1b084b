"""What is known beside the signal: who speaks, and what is said.

Shape:
    pooled: ``(batch, views, width)``
    gender: ``(batch,)``, numbers of :data:`wav2small.finetune.table.GENDERS`
    text: ``(batch, text_width)``, NaN in rows without a text
    output: ``(batch, views, width of the result)``
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import Fusion
from ..table import GENDERS

GENDER_WIDTH = 16
TEXT_WIDTH = 64


class Conditions(nn.Module):
    """Gender and text beside the pooled audio; each may be unknown.

    ``joined`` puts them side by side,
    ``gated`` lets what is known take the place of what was heard,
    element by element, as far as a gate says.

    References:
        after Diatlova et al. 2024, arXiv 2405.04485 (gender),
        de Oliveira et al. 2023, arXiv 2305.19184 (text).

    """

    def __init__(
        self, pooled: int, *, gender: bool, text_width: int, fusion: Fusion
    ) -> None:
        super().__init__()
        width = 0
        if gender:
            self.gender = nn.Embedding(len(GENDERS), GENDER_WIDTH)
            width += GENDER_WIDTH
        if text_width:
            self.text = nn.Linear(text_width, TEXT_WIDTH)
            self.no_text = nn.Parameter(torch.zeros(TEXT_WIDTH))
            width += TEXT_WIDTH
        self.width = pooled + width
        if fusion == "gated":
            self.gate = nn.Linear(pooled + width, pooled)
            self.known = nn.Linear(width, pooled)
            self.width = pooled
        elif fusion != "joined":
            raise ValueError(f"fusion must be joined or gated, got '{fusion}'")
        self.text_width, self.fusion = text_width, fusion

    def forward(
        self, pooled: Tensor, gender: Tensor | None, text: Tensor | None
    ) -> Tensor:
        """Join what is known with the pooled audio; None is unknown in all rows."""
        batch, views, _ = pooled.shape
        parts = []
        if hasattr(self, "gender"):
            if gender is None:
                gender = torch.zeros(batch, dtype=torch.long, device=pooled.device)
            parts.append(self.gender(gender))
        if self.text_width:
            absent = torch.ones(batch, dtype=torch.bool, device=pooled.device)
            embedded = self.no_text.expand(batch, -1)
            if text is not None:
                absent = torch.isnan(text).any(1)
                embedded = self.text(torch.nan_to_num(text))
            parts.append(torch.where(absent[:, None], self.no_text, embedded))
        known = torch.cat(parts, dim=1)[:, None].expand(-1, views, -1)
        both = torch.cat([pooled, known], dim=2)
        if self.fusion == "joined":
            return both
        gate = torch.sigmoid(self.gate(both))
        return gate * pooled + (1 - gate) * torch.tanh(self.known(known))
