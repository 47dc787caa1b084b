"""The errors that a user can mend, and how another library's are said in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from .escape import line


class InputError(ValueError):
    """Something the caller handed over cannot be used.

    The message is one line: what, where, what to do.
    The command line prints it without a traceback;
    any other exception is a bug and shows one.
    """

    exit_code = 2
    """Exit code with which the command line ends."""


class ToolError(InputError):
    """A package, a compiler or an emulator is missing or fails.

    Nothing is wrong with what the caller handed over.
    """

    exit_code = 3


class ExportError(InputError):
    """A model cannot be exported, quantised, compared or packed."""


class BenchError(InputError):
    """A model, a target or a budget cannot be used.

    A model that does not fit is no error but a result.
    """


class BenchToolError(BenchError, ToolError):
    """The compiler or the emulator of the bench is missing or fails."""

    exit_code = 3


EXTRAS = {
    "train": ("torch", "onnxsim", "pyarrow"),
    "teachers": ("transformers", "peft"),
    "report": ("matplotlib",),
    "hub": ("huggingface_hub",),
    "scale": ("distributed", "dask"),
    "vad": ("silero_vad",),
    "microphone": ("sounddevice",),
    "tflite": ("ai_edge_litert", "flatbuffers"),
    "logs": ("tensorboard",),
    "firmware": ("unicorn", "capstone", "ziglang"),
}
"""What each extra of ``pyproject.toml`` installs, by the names that are imported."""


def missing(error: ImportError) -> ToolError | None:
    """Say which extra brings a package that is not there; None for any other module."""
    name = (error.name or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if name in packages:
            return ToolError(
                f"package {name} is missing: pip install 'wav2small[{extra}]'"
            )
    return None


@contextmanager
def from_extra() -> Iterator[None]:
    """Import what an extra installs.

    Raises:
        ToolError: if it is not installed; it names the extra

    """
    try:
        yield
    except ImportError as error:
        told = missing(error)
        if told is None:
            raise
        raise told from error


class LeftOutWarning(UserWarning):
    """Something that may have been meant to be read is not. One line."""


def one_line(error: BaseException) -> str:
    """Say an error of another library in one short line without control characters."""
    text = line(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
