"""What runs on the device: numpy, and ONNX Runtime or HailoRT. Never torch, never numba."""
