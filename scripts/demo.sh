#!/usr/bin/env bash
# Set up an environment and run the whole comparison on the embedded data set.
# Options are passed on: bash scripts/demo.sh --seed 1
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

ensure_environment pretrained
cd "$CHECKOUT"
exec "$VENV/bin/trajfuse" compare demo "$@"
