"""Integer graph to a TFLite file, for runtimes that take nothing else."""

from .write import count_frames, write_tflite

__all__ = ["count_frames", "write_tflite"]
