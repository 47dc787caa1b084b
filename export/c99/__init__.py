"""C99 of a model that streams: one folder that an embedded build takes in."""

from .generate import Memory, generate, memory

__all__ = ["Memory", "generate", "memory"]
