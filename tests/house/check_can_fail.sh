#!/usr/bin/env bash
# Plants one breach of each house rule in a small tree and requires that check.sh names every one of them.
set -euo pipefail
check=$(cd "$(dirname "$0")" && pwd)/check.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{monitoring,data,checkpoint,coordinator,worker,tests/house}
licence='// SPDX-License-Identifier: Apache-2.0'
plant() { printf '%s\n' "$licence" "${@:2}" >"$tree/$1"; }

repeat() {  # COUNT LINE
    local i
    for ((i = 0; i < $1; ++i)); do echo "$2"; done
}

plant data/good.h '#include "monitoring/file.h"' 'int f();'
"$check" "$tree" >/dev/null || { echo "expected a clean tree to pass"; "$check" "$tree"; exit 1; }

plant monitoring/arrow.cpp '#include "data/order.h"'
plant data/torch.cpp '#include <ATen/ATen.h>'
plant checkpoint/h5.cpp '#include <hdf5.h>'
plant worker/version.cpp '#if TORCH_VERSION_MAJOR > 1'
plant data/own.h 'int h();'
plant data/own.cpp '#include <vector>' '#include "data/own.h"'
plant worker/assert.cpp '#include <cassert>'
plant tests/skip_test.cpp 'GTEST_SKIP();'
plant coordinator/shell.cpp 'int f() { return std::system("ls"); }'
mkdir "$tree/slurm"
echo 'eval "$line"' >"$tree/slurm/sweep.sbatch"
echo 'int g();' >"$tree/data/licence.cpp"
{ echo "$licence"; repeat 401 '// line'; } >"$tree/data/long.cpp"
{ echo "$licence"; repeat 251 '// line'; } >"$tree/data/long.h"
{ echo "$licence"; echo 'int long_function(int a) {'; repeat 60 '    ++a;'; echo '}'; } >"$tree/data/function.cpp"
{ echo "$licence"; echo 'struct S {'; echo '    int method(int a) const {'; repeat 60 '        ++a;'; echo '    }'; echo '};'; } >"$tree/data/method.h"
echo 'file data/gone.cpp 500 it is not there' >"$tree/tests/house/exceptions.txt"

found=$("$check" "$tree" || true)
for place in monitoring/arrow.cpp data/torch.cpp checkpoint/h5.cpp worker/version.cpp worker/assert.cpp tests/skip_test.cpp \
    data/licence.cpp data/long.cpp data/long.h data/function.cpp data/method.h data/own.cpp 'data/gone.cpp' coordinator/shell.cpp slurm/sweep.sbatch; do
    grep -q "$place" <<<"$found" || { echo "check.sh missed the planted breach in $place; it printed:"; echo "$found"; exit 1; }
done
echo "house: every planted breach was found"
