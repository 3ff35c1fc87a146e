#!/usr/bin/env bash
# clang-tidy over the Torch-free rooms' sources (clang 14 cannot read LibTorch 1.13's headers as C++20). Needs a configured build directory.
set -euo pipefail
build=$1
cd "$(dirname "$0")/../.."
find monitoring data checkpoint coordinator -name '*.cpp' -print0 | xargs -0 -n 4 -P "$(nproc)" clang-tidy -p "$build" --quiet
