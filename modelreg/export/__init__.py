"""Export a trained network as ONNX graphs, measure parity, estimate the 8-bit loss, and make Hailo bundles."""
