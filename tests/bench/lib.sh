# What the benchmarks of this folder have in common; they source it after they have set their defaults.
#
# Needs the programs that it is asked for in SLIPWAY_BENCH_TOOLS, gives a directory $WORK that goes away at the end together
# with everything that was started, and the release build as $BINARY.

: "${CARGO_TARGET_DIR:=$HOME/.cache/slipway/target}"
TOOLS=${SLIPWAY_BENCH_TOOLS:-}
# It is none of the server's settings.
export -n SLIPWAY_BENCH_TOOLS
export PATH="${XDG_CACHE_HOME:-$HOME/.cache}/slipway/tools/bin:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1):$PATH"

need_tools() { # NAME...
  local tool
  for tool in "$@"; do
    [ -x "$TOOLS/$tool" ] || { echo "SKIPPED: the benchmarks need $tool in SLIPWAY_BENCH_TOOLS"; exit 0; }
  done
}

need_programs() { # NAME...
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || { echo "SKIPPED: the benchmarks need $program"; exit 0; }
  done
}

need_binary() {
  [ -z "${BINARY:-}" ] || return 0
  echo "building slipway (release) ..."
  (cd ../.. && cargo build --locked --release --package slipway)
  BINARY="$CARGO_TARGET_DIR/release/slipway"
}

WORK=$(mktemp -d)
PIDS=()
trap 'kill "${PIDS[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$WORK"' EXIT

wait_port() {
  for _ in $(seq "${2:-1000}"); do (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.01; done
  echo "nothing listens on $1: $(tail -3 "$WORK/$1.log")" >&2; exit 1
}

start() { # PORT COMMAND...: its pid is $STARTED
  local port=$1; shift
  "$@" >"$WORK/$port.log" 2>&1 &
  PIDS+=($!); STARTED=$!
  wait_port "$port" "${PATIENCE:-1000}"
}

stop() { kill "$@" 2>/dev/null || true; wait "$@" 2>/dev/null || true; }

# Takes PROFILE and PID pairs in turns, so that what else the machine does meets all of them.
compare() {
  local gap conc at
  for gap in $GAPS; do
    for conc in $CONC; do
      for ((at = 1; at < $#; at += 2)); do
        printf '%2s ms  ' "$gap"
        taskset -c 1 "$TOOLS/llmload" "${!at}" --conc "$conc" --secs "$SECS" --var "model=fake-50x${gap}ms" \
          --pid "${@:at+1:1}" --upstream http://127.0.0.1:9100 --upstream-pid "$FAKE" --out "$OUT"
      done
    done
  done
}
