"""Agreement between two series of scores."""

from wav2small.export.base.metrics import (
    bootstrap_interval,
    concordance_cc,
    mean_absolute_error,
    pearson_cc,
)

__all__ = [
    "bootstrap_interval",
    "concordance_cc",
    "mean_absolute_error",
    "pearson_cc",
]
