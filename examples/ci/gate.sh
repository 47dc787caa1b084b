#!/usr/bin/env bash
# Hold a model's firmware against budgets and a baseline, and say so where CI shows it.
#
#     MODEL=models/voice.onnx TARGETS="generic-m4-64k" examples/ci/gate.sh [bench options]
#
# MODEL     an ONNX file, its folder or a bundled name
# TARGETS   names or JSON files, separated by spaces
# BASELINE  report to compare with; nothing is compared where it is not there yet
# OUT       folder for the reports, default firmware-bench
#
# It ends with the exit code of 'wav2small bench': 0 fits, 1 does not fit or has grown,
# 2 wrong input, 3 a tool is missing, 4 something could not be checked.
set -euo pipefail
out=${OUT:-firmware-bench}
mkdir -p "$out"
arguments=("$MODEL" "$@")
for target in $TARGETS; do
  arguments+=(--target "$target")
done
if [ -n "${BASELINE:-}" ] && [ -e "$BASELINE" ]; then
  arguments+=(--baseline "$BASELINE")
fi
code=0
wav2small bench "${arguments[@]}" --json "$out/bench.json" --markdown "$out/bench.md" \
  --html "$out/bench.html" --junit "$out/bench.xml" || code=$?

# a badge: the JSON that shields.io reads from any address ("endpoint")
case $code in
  0) message=fits colour=brightgreen ;;
  1) message="does not fit" colour=red ;;
  4) message="not checked" colour=yellow ;;
  *) message=error colour=lightgrey ;;
esac
printf '{"schemaVersion": 1, "label": "firmware", "message": "%s", "color": "%s"}\n' \
  "$message" "$colour" > "$out/badge.json"

if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$out/bench.md" ]; then
  cat "$out/bench.md" >> "$GITHUB_STEP_SUMMARY"
fi
exit "$code"
