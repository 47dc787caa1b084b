"""Optional outputs of a model beside its scores: their names, and what they are of.

``categories`` has the log-odds of one category for each number, up to a sum;
their names are the metadata entry of that name.
``doubt`` has the natural logarithm of how far each score may be off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .errors import ExportError, InputError

CATEGORIES, DOUBT = "categories", "doubt"
FURTHER = (CATEGORIES, DOUBT)
"""Names of the outputs."""

MOST_CATEGORIES = 64
"""Most categories that a model may have."""

_NAME = re.compile("[a-z][a-z ]{0,30}")


def parse_names(
    metadata: Mapping[str, str],
    shape: Sequence[object],
    error: type[InputError] = ExportError,
) -> tuple[str, ...]:
    """Read the names of the categories, which are shown and written as they are.

    Args:
        metadata: what the file says of itself
        shape: of the output
        error: type of the error

    Raises:
        InputError: of the type given, if they do not fit the output,
            or one is no plain word

    """
    names = tuple(metadata.get(CATEGORIES, "").split(","))
    if (
        list(shape) != [1, len(names)]
        or len(names) > MOST_CATEGORIES
        or len(set(names)) < len(names)
        or not all(_NAME.fullmatch(name) for name in names)
    ):
        raise error(
            f"metadata entry '{CATEGORIES}' must name each number of the output, got "
            f"{len(names)} names for a shape of {list(shape)}: train it again"
        )
    return names
