"""Binary files without torch or onnx: safetensors, npz, ONNX, HEF, bundle archives."""
