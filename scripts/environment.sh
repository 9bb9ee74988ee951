# Sourced by demo.sh and test.sh: makes .venv in the checkout and keeps it up to date.
# shellcheck shell=bash

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$CHECKOUT/.venv

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 2
}

# First Python >= 3.11 that can make environments: $PYTHON, else the usual names.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.13 python3.12 python3.11 python3 python; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
        if [ "$candidate" = "${PYTHON:-}" ]; then
            fail "PYTHON must be Python 3.11 or later with its venv module, got $PYTHON"
        fi
    done
    fail "no Python 3.11 or later with its venv module found; install one (Debian: apt-get install" \
        "python3 python3-venv), or say where it is: PYTHON=/path/to/python3 bash $0"
}

# ensure_environment EXTRAS: install the checkout with these extras under the constraints.
# A stamp keyed on the project's requirements makes the second time quick.
ensure_environment() {
    local extras=$1 python stamp key
    stamp=$VENV/.trajfuse-$extras
    key=$(cat "$CHECKOUT/pyproject.toml" "$CHECKOUT/constraints.txt" | cksum)" $CHECKOUT"
    if [ -x "$VENV/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
        return
    fi
    # A folder that was moved or half made has no pip of its own.
    if [[ "$("$VENV/bin/pip" --version 2>/dev/null)" != *" from $VENV/"* ]]; then
        python=$(find_python)
        say "Making the environment $VENV with $("$python" --version)."
        "$python" -m venv --clear "$VENV"
    fi
    say "Installing trajfuse[$extras] into $VENV: some minutes the first time."
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$CHECKOUT/constraints.txt" --editable "$CHECKOUT[$extras]"
    printf '%s\n' "$key" >"$stamp"
}
