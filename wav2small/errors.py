"""The error that a user can mend."""


class InputError(ValueError):
    """Something the caller handed over cannot be used.

    The message is one line: what, where, what to do.
    The command line prints it without a traceback;
    any other exception is a bug and shows one.
    """
