#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Check this bundle, then run compile.py. Exit codes: those of compile.py; 1 a file is damaged, or not an x86_64 machine.
#   PYTHON=/path/to/the/compiler's/python sh compile.sh
set -eu
cd "$(dirname "$0")"

sha256sum -c sha256sum.txt
machine=$(uname -m)
if [ "$machine" != x86_64 ]; then
    echo "error: Hailo's Dataflow Compiler needs an x86_64 machine; this one is $machine" >&2
    exit 1
fi

# No input: if the parser prompts to move the cut, it must fail.
exec "${PYTHON:-python3}" compile.py </dev/null

# The same steps by hand, without the checks of compile.py. Take NET, ARCH, INPUT and SHAPE from bundle.json (network,
# hw_arch, input.name, input.shape). Do not accept other end nodes: head.onnx starts where encoder.onnx ends.
#
#   hailo parser onnx encoder.onnx --net-name NET --hw-arch ARCH --tensor-shapes INPUT=SHAPE --har-path NET.har
#   hailo optimize NET.har --hw-arch ARCH --calib-set-path calibration.npy --model-script model_script.alls \
#       --output-har-path NET_optimized.har
#   hailo compiler NET_optimized.har --hw-arch ARCH --output-dir .
