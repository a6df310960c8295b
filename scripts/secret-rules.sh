#!/usr/bin/env bash
# Makes the vendored set of rules for secrets again: gitleaks' own configuration (MIT), out of its module on GOPROXY.
#
#   scripts/secret-rules.sh [VERSION]     the module's version; default: the newest
#
# The file stays as its authors wrote it, but for a header that says where it is from and for the example keys in an
# allowlist, which other scanners would take for real ones.
set -euo pipefail
cd "$(dirname "$0")/.."

DATA=libs/secrets/data
MODULE=github.com/zricethezav/gitleaks/v8
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

(cd "$work" && go mod download -json "$MODULE@${1:-latest}") > "$work/module.json"
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/module.json" "$1"; }
dir="$(field Dir)" version="$(field Version)" sum="$(field Sum)"

{
  echo "# Source: config/gitleaks.toml of the Go module $MODULE $version ($sum)."
  echo "# Licence: MIT, in gitleaks.LICENSE. Made by scripts/secret-rules.sh, which left out the example keys of an allowlist."
  echo
  grep -vE "^ *'''AI[a-zA-Z0-9_-]{20,}'''," "$dir/config/gitleaks.toml"
} > "$DATA/gitleaks.toml"
install -m 644 "$dir/LICENSE" "$DATA/gitleaks.LICENSE"
echo "$DATA/gitleaks.toml: $(grep -c '^\[\[rules\]\]' "$DATA/gitleaks.toml") rules of $version"
