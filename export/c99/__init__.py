"""C99 of a model that streams: one folder that an embedded build takes in."""

from .generate import generate

__all__ = ["generate"]
