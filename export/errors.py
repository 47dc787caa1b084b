"""The error that every part of the export raises."""


class ExportError(ValueError):
    """A model cannot be exported, quantised, compared or packed.

    The message is one line: what, where, what to do.
    """
