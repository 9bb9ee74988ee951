#!/usr/bin/env bash
# Set up an environment and run every check: lint, format, import law, types, tests.
#   bash scripts/test.sh [--with-optional] [pytest options]
# --with-optional installs what optional tests need (distributed, cyvlfeat and its Debian packages,
# chromium) and takes root; CI=true does so always, and fails where anything is missing. Then a whole
# run of the tests ends with scripts/torture.py, which takes two minutes more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

with_optional=${CI:-false}
if [ "${1:-}" = --with-optional ]; then
    with_optional=true
    shift
fi

install_debian_packages() {
    local missing=()
    dpkg -s libvlfeat-dev >/dev/null 2>&1 || missing+=(libvlfeat-dev)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    command -v c++ >/dev/null || missing+=(g++)
    command -v chromium >/dev/null || missing+=(chromium)
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" -eq 0 ] || fail "missing Debian packages: ${missing[*]}; install them as root"
    say "Installing Debian packages: ${missing[*]}."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null
}

has_cyvlfeat() { "$VENV/bin/python" -c 'import cyvlfeat.fisher, cyvlfeat.gmm' 2>/dev/null; }

install_cyvlfeat() {
    say "Building cyvlfeat: about a minute."
    local pip=("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check
        --constraint "$CHECKOUT/constraints.txt")
    "${pip[@]}" cython setuptools numpy
    "${pip[@]}" --no-build-isolation cyvlfeat
}

if [ "$with_optional" = true ]; then
    ensure_environment cluster,pretrained,dev
    install_debian_packages
    has_cyvlfeat || install_cyvlfeat
else
    ensure_environment pretrained,dev
    "$VENV/bin/python" -c 'import distributed' 2>/dev/null ||
        say "distributed is not installed: its tests are skipped (see --with-optional)."
    has_cyvlfeat || say "cyvlfeat is not installed: its tests are skipped (see --with-optional)."
    command -v chromium >/dev/null || say "chromium is not installed: its tests are skipped."
fi

cd "$CHECKOUT"
export PATH=$VENV/bin:$PATH
ruff check
ruff format --check
lint-imports
mypy
python -m pytest "$@"
if [ "$with_optional" = true ] && [ $# -eq 0 ]; then
    say "Broken files and killed runs: scripts/torture.py."
    python scripts/torture.py --short
fi
