"""C99 of a model that streams: one folder that an embedded build takes in."""

from .arrangement import Memory
from .generate import Outline, generate, outline

__all__ = ["Memory", "Outline", "generate", "outline"]
