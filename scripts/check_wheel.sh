#!/usr/bin/env bash
# Build the wheel, install it into an empty virtual environment, and train with it from outside the checkout.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$root/.venv/bin/python" -m build --wheel --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"${PYTHON:-python3}" -m venv "$work/light"
wheel=$(echo "$work"/dist/*.whl)
"$work/light/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$root/constraints.txt" "$wheel"
mkdir "$work/outside"
cd "$work/outside"
echo "light install, without torch:"
"$work/light/bin/modelreg" init .
status=0
"$work/light/bin/modelreg" verify 2>"$work/refusal" || status=$?
[ "$status" -eq 5 ] && grep -F "[registry.empty]" "$work/refusal" || { echo "an empty registry ended with $status"; exit 1; }
(cd "$root" && "$work/light/bin/modelreg" verify)
"$work/light/bin/python" - "$root" <<'CODE'
import sys
from importlib.resources import files
import modelreg
assert (files("modelreg") / "py.typed").is_file() and (files("modelreg") / "__init__.pyi").is_file(), "not typed"
assert len(modelreg.versions(root=sys.argv[1])) >= 2
try:
    modelreg.load("v0.2.0", root=sys.argv[1])
except modelreg.InputError as error:
    [problem] = error.problems
    assert (problem.where, problem.rule) == ("onnxruntime", "install.extra-missing"), error
    assert "[predict]" in problem.next, error
else:
    sys.exit("a model was loaded without ONNX Runtime")
CODE
if "$work/light/bin/modelreg" train 2>"$work/refusal"; then
  echo "train ran without torch" && exit 1
fi
grep -F "pip install '$wheel[train]'" "$work/refusal"
echo "with [predict], no torch:"
"$work/light/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$root/constraints.txt" "$wheel[predict]"
"$work/light/bin/python" - "$root" <<'CODE'
import sys
from importlib.util import find_spec
import modelreg
import numpy as np
model = modelreg.load("v0.2.0", root=sys.argv[1])
print(model, model.predict(np.zeros((1, *model.shape))).names)
assert find_spec("torch") is None
CODE
echo "with [serve], no torch:"
"$work/light/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$root/constraints.txt" "$wheel[serve]"
"$work/light/bin/modelreg" bench "$root/registry/conv2d_fsq/v0.2.0" --windows 100
echo "with [train]:"
"$work/light/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$root/constraints.txt" "$wheel[train]"
"$work/light/bin/modelreg" train --set training.epochs=3
"$work/light/bin/modelreg" evaluate
echo "with [export]:"
"$work/light/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$root/constraints.txt" "$wheel[export]"
"$work/light/bin/modelreg" export --target hailo8
echo "the wheel works outside the checkout"
