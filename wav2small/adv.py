"""The three dimensions of emotion, their order and their range.

Everything that holds scores
(labels, checkpoints, ONNX files, tables)
holds them in this order and on this scale.
"""

SAMPLING_RATE = 16000
"""Sampling rate of every signal inside the toolkit, in Hz."""

DIMENSIONS = ("arousal", "dominance", "valence")
"""Names of the scores, in the order of every array's last axis.

A score of 0 is the low end of the scale
(calm, submissive, negative),
1 the high end and 0.5 neutral.
A model's score may leave the range by a little:
nothing is clipped unless it says so.
"""

NEUTRAL = 0.5
"""The middle of the scale: what silence and noise shall read as."""
