#!/usr/bin/env bash
# Runs every test of the workspace, then those of the stores on PostgreSQL, and the outside tests with the suite at scale (each service in processes of its
# own, on PostgreSQL and NATS), and ends with one line of counts. A test that prints SKIPPED counts as skipped, not as passed;
# the output of tests that passed is otherwise not shown.
set -uo pipefail
cd "$(dirname "$0")/.."

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/slipway/target}"
export PATH="${XDG_CACHE_HOME:-$HOME/.cache}/slipway/tools/bin:$PATH"

# mawk would keep the last lines back, and with them the name of a test that hangs.
reader=(awk)
awk -W version 2>&1 | grep -q mawk && reader=(awk -W interactive)

# No step may run for ever: the seconds that each has, once everything is built.
LIMIT=1800
limited() {
  local code=0
  timeout "$LIMIT" "$@" || code=$?
  if ((code == 124)); then echo "stopped: the tests were not done after $LIMIT s"; fi
  return "$code"
}

everything() {
  cargo test --locked --workspace --no-run && limited \
    cargo test --locked --workspace --no-fail-fast -- --show-output
}

# The stores, and the services on them, on the other engine.
on_postgres() {
  if ! has_postgres; then echo "SKIPPED: the tests of the stores on PostgreSQL: it is not on this machine"; return; fi
  echo "the tests of the stores again, on PostgreSQL ..."
  SLIPWAY_TEST_STORE=postgres limited cargo test --locked --workspace --exclude slipway-bus --lib \
    --no-fail-fast -- --show-output
}

has_postgres() { command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }

# What has no suite in it is the same a second time and left out. A suite is ten processes: a few tests at a time.
at_scale() {
  if ! has_postgres; then echo "SKIPPED: the outside tests at scale: there is no PostgreSQL on this machine"; return; fi
  echo "the outside tests again, at scale ..."
  SLIPWAY_TEST_SUITE=scale limited cargo test --locked --workspace --test it --no-fail-fast -- --show-output --test-threads 2 \
    --skip rooms:: --skip neighbours:: --skip infra:: --skip faults::
}

echo "building and running the tests ..."
{ everything; one=$?; on_postgres; two=$?; at_scale && exit $((one || two)); } 2>&1 | "${reader[@]}" '
  /^successes:$/            { quiet = 1 }
  /^---- .* stdout ----$/   { reason = !quiet }
  /^failures:$/             { reason = 0 }
  reason && reasons < 400   { why[++reasons] = $0 }
  /^failures:$|^test result/ { quiet = 0 }
  /^---- .* stdout ----$/   { counted = 0 }
  /SKIPPED/                 { if (!quiet || !counted) skipped++; counted = quiet; print; fflush(); next }
  /^test result:/           { results++; passed += $4; failed += $6; ignored += $8 }
  !quiet                    { print; fflush() }
  END {
    if (!results) print "the tests did not build"
    if (reasons) print "\nwhat failed, once more:"
    for (n = 1; n <= reasons; n++) print why[n]
    printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped + ignored
  }'
exit "${PIPESTATUS[0]}"
