"""ONNX in; arena plan, costs, host speed, budgets and reports out.

Needs neither torch nor the training package,
so a firmware build can check a model without them.
"""
