"""Inference on the device: numpy with ONNX Runtime or HailoRT. Imports neither torch nor numba."""
