"""Labels, to read and to write in Python.

    labels = LabelStore.open(folder).read()

gives the rows of a folder that ``wav2small annotate`` wrote, as arrays.
"""

from .annotation.labels import Labels
from .annotation.store import LabelStore

__all__ = ["LabelStore", "Labels"]
