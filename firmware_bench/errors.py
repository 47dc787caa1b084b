"""The error that every part of the bench raises."""


class BenchError(ValueError):
    """A model, a target or a budget cannot be used.

    The message is one line: what, where, what to do.
    A model that does not fit is no error but a result.
    """


def one_line(error: BaseException) -> str:
    """Say an error of another library in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
