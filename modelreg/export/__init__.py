"""From weights to graphs and bundles: the other home of torch, and the only one of onnx."""
