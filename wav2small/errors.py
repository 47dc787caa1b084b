"""The errors that a user can mend."""

from wav2small.export.base.errors import (
    BenchError,
    ExportError,
    InputError,
    LeftOutWarning,
    ToolError,
)

__all__ = ["BenchError", "ExportError", "InputError", "LeftOutWarning", "ToolError"]
