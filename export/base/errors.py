"""The errors that a user can mend, and how another library's are said in one line."""

from .escape import line


class InputError(ValueError):
    """Something the caller handed over cannot be used.

    The message is one line: what, where, what to do.
    The command line prints it without a traceback;
    any other exception is a bug and shows one.
    """

    exit_code = 2
    """With which the command line ends."""


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


class LeftOutWarning(UserWarning):
    """Something that may have been meant to be read is not. One line."""


def one_line(error: BaseException) -> str:
    """Say an error of another library in one short line without control characters."""
    text = line(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
