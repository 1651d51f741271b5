#!/usr/bin/env bash
# Train, evaluate, export, release and verify on the embedded recordings, in a new registry in .demo/.
set -euo pipefail
rm -rf .demo
modelreg init --sample .demo
cd .demo
say() { printf '\n$ %s\n' "$*"; "$@"; }
say modelreg data check
say modelreg train
say modelreg evaluate
say modelreg export --target hailo8
say modelreg release v0.1.0
say modelreg verify --complete
say modelreg list
run=.demo/runs/conv2d_fsq-001
printf '\nThe report: %s/report.html\nThe bundle: %s/hailo8/README.md\n' "$run" "$run"
printf 'The card:   .demo/registry/conv2d_fsq/v0.1.0/model_card.md\n'
