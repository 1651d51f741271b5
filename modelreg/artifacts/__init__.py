"""Readers of binary files that need neither torch nor onnx: safetensors, npz, ONNX, HEF, bundle archives."""
