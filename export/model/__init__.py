"""ONNX models: made from a module, made small, looked at."""
