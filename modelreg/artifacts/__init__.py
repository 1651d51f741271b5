"""Readers of binary files, without torch or onnx: safetensors, npz, ONNX, HEF, bundle archives."""
