#!/usr/bin/env bash
# Make one of everything with this version of modelreg, by its commands, on the embedded recordings: versions of every
# model system, runs, an interrupted run. Later versions of modelreg must still read them (tests/test_made_by_*.py).
#
#   PYTHON=.venv/bin/python bash scripts/make_fixtures.sh tests/made_by_X_Y_Z
#
# Takes about five minutes. The folder must not exist. Every date is fixed. The weights, and so the digests, depend on the
# machine.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
target=$(realpath -m "${1:?the folder to make, as tests/made_by_0_2_0}")
python=$(realpath -s "$(command -v "${PYTHON:-python3}")")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
project=$scratch/project
[ ! -e "$target" ] || { echo "$target exists" >&2; exit 1; }

export PYTHONPATH=$source:$source/tests MODELREG_CACHE=$scratch/cache OMP_NUM_THREADS=1 COLUMNS=120
export GIT_AUTHOR_NAME=fixtures GIT_AUTHOR_EMAIL=fixtures@example.org
export GIT_COMMITTER_NAME=fixtures GIT_COMMITTER_EMAIL=fixtures@example.org
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null

modelreg() { printf '\n$ modelreg %s\n' "$*"; "$python" -m modelreg "$@"; }
inputs() { "$python" "$source/scripts/fixture_inputs.py" "$@"; }
hour=0
later() { # the next command is an hour after the last
  hour=$((hour + 1))
  export SOURCE_DATE_EPOCH=$((1796040000 + 3600 * hour)) # 2026-11-30
  export GIT_AUTHOR_DATE="@$SOURCE_DATE_EPOCH +0000" GIT_COMMITTER_DATE="@$SOURCE_DATE_EPOCH +0000"
}
commit() { later; git add --all; git commit --quiet --allow-empty --message "$1"; }
train() { later; modelreg train "configs/$1.yaml" --out "runs/$2"; }
release() { # the version, what is new in a sentence, then the options of the command
  local version=$1 news=$2
  shift 2
  sed -i "0,/^## \[Unreleased\]/s//&\n\n- $news/" CHANGELOG.md
  commit "Say what is new"
  modelreg release "$version" --roll-changelog --tag "$@"
}

# Configurations: short windows of the acceleration, one side, small networks, so that everything is small.
later
modelreg init --sample "$project"
cd "$project"
mkdir configs
right="drop: ['.*-left']"
axes="channels: [{channel: ax}, {channel: ay}, {channel: az}]"
training="{epochs: 3, threads: 1, batch_size: 64, learning_rate: 0.01}"
few="evaluation: {replicates: 100}"
small="widths: [8, 12], kernels: [[1, 5], [1, 3]], hidden: 16"
config() { # name, data, split, model, and a separate training
  printf 'data: %s\nsplit: %s\nmodel: {name: %s}\ntraining: %s\n%s\n' "$2" "$3" "$4" "${5:-$training}" "$few" \
    > "configs/$1.yaml"
}
sample="{sources: [{kind: sample, $right, $axes}], window: 32, hop: 100}"
three="{by: subject, test: 3, validation: 2}"
many="{by: subject, test: 5, validation: 2}"
config fsq "$sample" "$three" "conv2d_fsq, $small, levels: [8, 6, 5], batchnorm_before_fsq: true"
config fsq_again "$sample" "$three" "conv2d_fsq, $small, levels: [8, 6, 5]"
config fsq_long "$sample" "$three" "conv2d_fsq, $small, levels: [8, 6, 5], batchnorm_before_fsq: true" \
  "{epochs: 12, threads: 1, batch_size: 64, learning_rate: 0.01, averaging: 0.9}"
config fsq_folded "{sources: [{kind: sample, $right}], window: 32, hop: 100, fold: 2, labels: pure}" \
  "{by: time, test: 0.3, validation: 0.2}" "conv2d_fsq, widths: [8], kernels: [[2, 5]], levels: [8, 8], hidden: 8"
config fsq_old "$sample" "$many" "conv2d_fsq, widths: [8, 8, 16], hidden: 16, levels: [8, 8, 8, 8, 8, 8, 8, 8]"
config fsq_two "{sources: [{kind: npy, path: data/npy/dataset.json}], window: 32, hop: 32}" "{by: given}" \
  "conv2d_fsq, $small, levels: [8, 6, 5]"
config hsmm "$sample" "$many" "conv2d_fsq_hsmm, $small, levels: [8, 6, 5], hsmm: {max_duration: 16, chunk: 8}"
config vq "$sample" "$many" "conv2d_vq, $small, embedding: 8, vq: {codes: 32}"
config vq_off "$sample" "$many" "conv2d_vq, $small, embedding: 8, vq: false, reconstruction: 0"
config tokens "$sample" "$many" "conv2d_vq_tokens, widths: [8, 12], embedding: 4, vq: {codes: 32}, hidden: 16"
config hdp "$sample" "$many" "conv2d_vq_hdp_hsmm, $small, embedding: 8, vq: {codes: 32}, reconstruction: 0,
  hdp: {clusters: 12}, hsmm: {max_duration: 16, chunk: 8, durations: poisson}"
config hdp_off "$sample" "$many" "conv2d_vq_hdp_hsmm, $small, embedding: 8, vq: {codes: 32}, reconstruction: 0,
  hdp: false, hsmm: false"
config tcn "$sample" "{by: subject, test: 5, validation: 4}" "tcn_vae, widths: [8, 12], latent: 6, decoder: 8"
text="{kind: csv, path: data/csv, name: seglearn-text, license: BSD-3-Clause, citation: '', devices: [{name: watch,
  files: '(?P<subject>s\d\d)-(?P<label>[A-Z]+)-(?P<session>right)\.csv', rate_hz: 50, channels: [
  {name: ax, column: x, unit: g}, {name: ay, column: y, unit: g}, {name: az, column: z, unit: g}]}]}"
config tcn_two "{sources: [{kind: sample, drop: ['.*-left', 's(06|07|08|09|10)-.*'], $axes}, $text], window: 32,
  hop: 100}" "$three" "tcn_vae, widths: [8, 12], latent: 6, decoder: 8"

inputs csv "$project/data/csv"
inputs npy "$project/data/npy"
printf '/data/\n/*.pth\n/*.hef\n' >> .gitignore

# Gates: met, waived, and of exports.
cat > "$scratch/modelreg.yaml" <<'YAML'
default_model: conv2d_fsq
license: apache-2.0
targets: []
gates:
  accuracy: {min: 0.3}
  balanced_accuracy: {not_below: latest, tolerance: 1}
  log_loss: {max: 0.1}
  confidence.sets.lac.interval: {contains: 0.9}
  confidence.after.equal_mass.error: {max: 0.03, beyond: confidence.after.equal_mass.null_high}
  parity.whole.logits_error: {max: 0.001, if_exported: true}
  int8.accuracy_drop: {max: 0.3, if_exported: true}
waivers:
  - {gate: log_loss, reason: "three epochs | a fixture of the tests"}
  - {gate: confidence.sets.lac.interval, reason: "an interval needs five subjects"}
  - {gate: confidence.after.equal_mass.error, reason: "few subjects validate"}
YAML
cp "$scratch/modelreg.yaml" modelreg.yaml
git init --quiet --initial-branch main
commit "Start"

# v0.1.0: evaluated twice, exported, measured, released, signed; the same with a HEF.
train fsq conv2d_fsq-001
modelreg evaluate runs/conv2d_fsq-001
later
modelreg evaluate runs/conv2d_fsq-001
modelreg export runs/conv2d_fsq-001 --target onnx --target hailo8
modelreg bench runs/conv2d_fsq-001 --windows 100 --out runs/conv2d_fsq-001/latency.json
release v0.1.0 "The first." --run runs/conv2d_fsq-001
modelreg keygen --out "$scratch/key.pem" --no-passphrase
modelreg sign v0.1.0 --key "$scratch/key.pem"
commit "Sign v0.1.0"
inputs hef registry/conv2d_fsq/v0.1.0 conv2d_fsq.hef
modelreg promote v0.1.0 production --why "the first"
release v0.1.1 "The first, compiled." --from v0.1.0 --hef conv2d_fsq.hef
later
modelreg promote v0.1.1 production --why "it is compiled"
modelreg promote v0.1.1 canary --why "a look"
modelreg rollback conv2d_fsq production --why "a walk through the commands"
commit "Move aliases"

# v0.2.0: imported from a legacy checkpoint. It has no export: those gates are not judged.
train fsq_old conv2d_fsq-002
inputs checkpoint runs/conv2d_fsq-002 old_model.pth
later
modelreg import old_model.pth --as conv2d_fsq --config configs/fsq_old.yaml --normalization old_model.json \
  --out runs/conv2d_fsq-003
rm old_model.json
modelreg evaluate runs/conv2d_fsq-003
release v0.2.0 "Imported weights, with a separate normalization." --run runs/conv2d_fsq-003
later
modelreg import old_model.pth --as conv2d_fsq --config configs/fsq_old.yaml --out runs/conv2d_fsq-004
modelreg evaluate runs/conv2d_fsq-004
release v0.2.1 "Imported weights, with a normalization that was fitted." --run runs/conv2d_fsq-004 --force

# v0.3.0: folded, split by time, without a licence, binaries in git, every kind of gate.
cat > modelreg.yaml <<'YAML'
default_model: conv2d_fsq
assets: committed
targets: [onnx]
gates:
  accuracy: {min: 0.1, max: 1, not_below: latest, tolerance: 0.9}
  balanced_accuracy: {not_below: production, tolerance: 0.02}
  macro_f1: {inside: intervals.macro_f1}
  weighted_f1: {not_below: v0.1.0, not_above: latest}
  brier: {max: 0.001}
  ece: {max: 0.5}
  intervals.accuracy: {contains: 0.999}
  confidence.sets.lac.interval: {contains: 0.9}
  calibration.ece: {max: 0.9, beyond: calibration.null_high}
  calibration.null_high: {not_above: v9.9.9}
  temporal.mean_duration: {min: 1}
  latency.p95_ms: {max: 50}
  protocol.evaluations: {max: 1, not_above: latest}
  parity.whole.logits_error: {max: 0.001, not_above: latest, if_exported: true}
  parity.split.logits_error: {max: 0.001, not_above: v0.2.0, if_exported: true}
  int8.accuracy_drop: {max: 0.05, if_exported: true}
waivers:
  - {gate: balanced_accuracy, reason: "another task"}
  - {gate: macro_f1, reason: "a fixture"}
  - {gate: weighted_f1, reason: "another task"}
  - {gate: brier, reason: "a fixture"}
  - {gate: ece, reason: "there is none of this name"}
  - {gate: intervals.accuracy, reason: "a fixture"}
  - {gate: confidence.sets.lac.interval, reason: "a fixture"}
  - {gate: calibration.null_high, reason: "the version does not exist"}
  - {gate: temporal.mean_duration, reason: "it has no durations"}
  - {gate: latency.p95_ms, reason: "was not measured"}
  - {gate: parity.split.logits_error, reason: "v0.2.0 was not exported"}
YAML
sed -i '/\/registry/d' .gitignore
echo '/registry/**/*.tar.gz' >> .gitignore
commit "Judge by more"
train fsq_folded conv2d_fsq-005
modelreg evaluate runs/conv2d_fsq-005
release v0.3.0 "Folded windows." --run runs/conv2d_fsq-005

# The others are judged by one gate.
cat > modelreg.yaml <<'YAML'
default_model: conv2d_fsq
license: cc-by-4.0
assets: committed
gates:
  accuracy: {min: 0.05}
YAML
commit "Judge by less"
train fsq_two conv2d_fsq-006
modelreg evaluate runs/conv2d_fsq-006
modelreg export runs/conv2d_fsq-006 --target hailo8l
release v0.4.0-rc.1 "Two devices." --run runs/conv2d_fsq-006

printf '\n# a change that is not committed\n' >> configs/hsmm.yaml # so that its run records it
train hsmm conv2d_fsq_hsmm-007
commit "Commit the change"
modelreg evaluate runs/conv2d_fsq_hsmm-007
modelreg export runs/conv2d_fsq_hsmm-007 --target hailo8 --normalize chip
release v0.1.0 "Explicit durations." --run runs/conv2d_fsq_hsmm-007

later
printf 'gates: {}\ndefault_model: conv2d_fsq\nassets: committed\n' > modelreg.yaml
commit "Judge by nothing"
(cd "$scratch" && modelreg train "$project/configs/vq.yaml" --out "$project/runs/conv2d_vq-008") # in no repository
modelreg evaluate runs/conv2d_vq-008
modelreg export runs/conv2d_vq-008
release v0.1.0 "Vector quantization." --run runs/conv2d_vq-008
number=9
for system in vq_off:conv2d_vq:v0.2.0 tokens:conv2d_vq_tokens:v0.1.0 hdp:conv2d_vq_hdp_hsmm:v0.1.0 \
  hdp_off:conv2d_vq_hdp_hsmm:v0.2.0 tcn:tcn_vae:v0.1.0 tcn_two:tcn_vae:v0.2.0; do
  IFS=: read -r name model version <<< "$system"
  run=$(printf 'runs/%s-%03d' "$model" "$number")
  train "$name" "$(basename "$run")"
  modelreg evaluate "$run"
  [ "$name" != tcn ] || modelreg export "$run" --target hailo8
  release "$version" "Another $model." --run "$run"
  number=$((number + 1))
done
modelreg verify --complete

# Runs: that of v0.1.0 is also cross-validated and compared with a random split; one is not evaluated; one was killed.
mkdir kept
cp -r runs/conv2d_fsq-001 kept/
mv runs all
mv kept runs
later
modelreg evaluate runs/conv2d_fsq-001 --protocol kfold-subject --folds 2
modelreg evaluate runs/conv2d_fsq-001 --protocol random
train fsq_again conv2d_fsq-002
later
"$python" -m modelreg train configs/fsq_long.yaml --out runs/conv2d_fsq-003 &
pid=$!
until [ -f runs/conv2d_fsq-003/history.jsonl ] && [ "$(wc -l < runs/conv2d_fsq-003/history.jsonl)" -ge 3 ]; do
  kill -0 "$pid"
  sleep 0.02
done
kill -KILL "$pid"
wait "$pid" || true

# Keep what a command of modelreg reads: no repository inside this one, no .gitignore.
find runs \( -name '*.png' -o -name report.html -o -name 'events.*' \) -delete
find runs -type d -empty -delete
cp "$scratch/modelreg.yaml" modelreg.yaml
sed -i "0,/^## \[Unreleased\]/s//&\n\n- What a later version of modelreg releases./" CHANGELOG.md
mkdir -p "$target"
rm -rf all .git .gitignore .github data ./*.pth ./*.hef
cp -r "$project" "$target/project"
cp "$scratch/key.pub.pem" "$target/"
du -sh "$target"
