"""The command line, one file per command."""

from .annotation import annotate
from .benchmark import bench
from .comparison import compare
from .distillation import distill
from .evaluation import evaluate
from .exporting import export
from .main import app, main
from .prediction import predict

__all__ = [
    "annotate",
    "app",
    "bench",
    "compare",
    "distill",
    "evaluate",
    "export",
    "main",
    "predict",
]
