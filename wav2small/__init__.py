"""Tiny speech-emotion models for hearing aids."""

__version__ = "0.1.0"
