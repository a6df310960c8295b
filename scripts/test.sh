#!/usr/bin/env bash
# Runs every test of the workspace and ends with one line of counts. A test that prints SKIPPED counts as skipped, not as
# passed; the output of tests that passed is otherwise not shown.
set -uo pipefail
cd "$(dirname "$0")/.."

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/slipway/target}"
export PATH="${XDG_CACHE_HOME:-$HOME/.cache}/slipway/tools/bin:$PATH"

echo "building and running the tests ..."
cargo test --locked --workspace --no-fail-fast -- --show-output 2>&1 | awk '
  /^successes:$/            { quiet = 1 }
  /^failures:$|^test result/ { quiet = 0 }
  /^---- .* stdout ----$/   { counted = 0 }
  /SKIPPED/                 { if (!quiet || !counted) skipped++; counted = quiet; print; fflush(); next }
  /^test result:/           { results++; passed += $4; failed += $6; ignored += $8 }
  !quiet                    { print; fflush() }
  END {
    if (!results) print "the tests did not build"
    printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped + ignored
  }'
exit "${PIPESTATUS[0]}"
