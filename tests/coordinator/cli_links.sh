#!/bin/sh
# cli_links.sh KIBAN: fails when the executable loads a library of Torch, MPI, CUDA or a BLAS.
set -eu
libraries=$(ldd "$1")
echo "$libraries" | grep -q 'libhdf5' || { echo "expected the libraries of '$1', found: $libraries"; exit 1; }
if heavy=$(echo "$libraries" | grep -E 'libtorch|libc10|libmpi|libcuda|libcudart|blas|lapack'); then
    printf 'expected no heavy library in %s, found:\n%s\n' "$1" "$heavy"
    exit 1
fi
