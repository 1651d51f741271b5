"""From a trained network to ONNX graphs, parity, an 8-bit estimate and a Hailo bundle, with torch and onnx."""
