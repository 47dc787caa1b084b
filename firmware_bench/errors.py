"""The error that every part of the bench raises."""


class BenchError(ValueError):
    """A model, target or budget cannot be used.

    The message is one line: what, where, what to do.
    That a model does not fit is a result and no error.
    """
