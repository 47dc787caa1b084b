"""C99 of a model that streams: one folder that an embedded build takes in."""

from .arrangement import Memory
from .generate import count_memory, generate

__all__ = ["Memory", "count_memory", "generate"]
