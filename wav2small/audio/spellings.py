"""Turn what tables write into the words that this package uses.

A word that is not understood is an error.
If it were ignored, held-out speech would be used for training
and genders would go missing without notice.
"""

from __future__ import annotations

import functools
import re

from ..errors import InputError

SPLITS = {
    "train": "train training trn tr",
    "dev": "dev devel develop development val valid validation",
    "test": "test testing tst eval evaluation heldout",
}
"""The parts of a corpus, and how each is written."""

GENDERS = {
    "female": "f fem female w woman weiblich",
    "male": "m male man männlich",
    "other": "o other x d divers diverse nonbinary child",
    "": "unknown unk u none null nan na n/a ? -",
}
"""Genders, and how each is written; the last one stands for unknown."""

_SPLIT_OF = {word: name for name, words in SPLITS.items() for word in words.split()}
_GENDER_OF = {word: name for name, words in GENDERS.items() for word in words.split()}


class SpellingError(InputError):
    """A word that is not understood; whoever reads the table says where it is."""


def canonical(column: str, text: str) -> str:
    """Return the value of a metadata column in the spelling of this package.

    Args:
        column: one of :data:`wav2small.audio.METADATA`
        text: the cell

    Raises:
        SpellingError: if a split or a gender is not understood

    Examples:
        >>> canonical("split", "Test1"), canonical("gender", "F")
        ('test', 'female')
        >>> canonical("speaker", "3.0")
        '3'

    """
    text = text.strip()
    if not text or column == "text":
        return text
    if column == "split":
        return split_name(text)
    if column == "gender":
        return gender_name(text)
    if column == "speaker":
        # many tools turn a column of integers with a gap into floating point
        number = re.fullmatch(r"(\d+)\.0+", text) if text.endswith("0") else None
        return number[1] if number else text
    return text.lower()


@functools.lru_cache(4096)
def split_name(text: str) -> str:
    """Return ``train``, ``dev`` or ``test``.

    The first word counts, in whatever case;
    numbers and further words are a corpus's own, as in ``test-clean`` or ``Test1``.

    Args:
        text: as a table or a user writes it

    Raises:
        SpellingError: if it is none of them, or more than one

    """
    words = re.findall(r"[^\W\d_]+", text.lower().replace("held-out", "heldout"))
    named = [_SPLIT_OF[word] for word in words if word in _SPLIT_OF]
    if not named or words[0] not in _SPLIT_OF or len(set(named)) > 1:
        spellings = "; ".join(
            f"{name} ({', '.join(words.split()[1:])})" for name, words in SPLITS.items()
        )
        raise SpellingError(
            f"split must be one of {spellings}, got {text!r}: rename it"
        )
    return named[0]


@functools.lru_cache(4096)
def gender_name(text: str) -> str:
    """Return ``female``, ``male``, ``other``, or nothing where it is unknown.

    Args:
        text: as a table writes it

    Raises:
        SpellingError: if it is none of them

    """
    try:
        return _GENDER_OF[text.lower()]
    except KeyError:
        raise SpellingError(
            "gender must be female (f, w), male (m), other or unknown, got "
            f"{text!r}: rename it"
        ) from None
