"""ONNX in; memory plan, cost, budget verdict and report out.

Imports no torch, so that a firmware job need not install it.
"""
