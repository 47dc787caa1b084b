"""What training hears: clips that are decoded once, and recordings of noise."""

from .clips import Clips, decode_labels, read_noises

__all__ = ["Clips", "decode_labels", "read_noises"]
