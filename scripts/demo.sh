#!/usr/bin/env bash
# The walk through the whole house, on the embedded recordings: a registry of its own in .demo/, rebuilt on each run.
set -euo pipefail
rm -rf .demo
modelreg init .demo
cd .demo
say() { printf '\n$ %s\n' "$*"; "$@"; }
say modelreg data check
say modelreg train
say modelreg evaluate
say modelreg release v0.1.0 --roll-changelog
say modelreg verify --complete
say modelreg list
printf '\nThe report: .demo/runs/conv2d_fsq-001/report.md\nThe card:   .demo/registry/conv2d_fsq/v0.1.0/model_card.md\n'
