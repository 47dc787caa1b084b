"""Torch module or ONNX in, checked and quantised ONNX out.

Imports nothing of the other packages of this project.
"""
