"""What every part of the project builds on: errors, files, metrics.

Imports nothing of the project's other packages, and no torch.
"""
