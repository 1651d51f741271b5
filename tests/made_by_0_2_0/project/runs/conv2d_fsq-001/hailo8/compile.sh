#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Check this bundle, then compile it with compile.py, whose exit codes it keeps; 1: a file or the machine is wrong.
#   PYTHON=/path/to/the/compiler's/python sh compile.sh
set -eu
cd "$(dirname "$0")"

sha256sum -c sha256sum.txt
machine=$(uname -m)
if [ "$machine" != x86_64 ]; then
    echo "error: Hailo's Dataflow Compiler runs on x86_64 only; this is $machine" >&2
    exit 1
fi

# No question can be answered: a parser that asks whether to move the cut must fail.
exec "${PYTHON:-python3}" compile.py </dev/null

# The same by hand, without the comparisons that compile.py makes. NET, ARCH, INPUT and SHAPE stand in bundle.json
# (network, hw_arch, input.name, input.shape). Never accept other end nodes: head.onnx goes on where encoder.onnx ends.
#
#   hailo parser onnx encoder.onnx --net-name NET --hw-arch ARCH --tensor-shapes INPUT=SHAPE --har-path NET.har
#   hailo optimize NET.har --hw-arch ARCH --calib-set-path calibration.npy --model-script model_script.alls \
#       --output-har-path NET_optimized.har
#   hailo compiler NET_optimized.har --hw-arch ARCH --output-dir .
