// SPDX-License-Identifier: Apache-2.0
// How a hot loop is compiled for the CPU it meets.
//
// KIBAN_SIMD before a plain function compiles it for AVX-512, AVX2 and the baseline; the loader picks. OpenMP regions
// inside such a function are not multiplied, so the parallel loop stands outside and calls it on a range. Of floating
// point, bits may differ between instruction sets (fused multiply-add, vector width of a sum), never between runs on
// one; of integers they are the same.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define KIBAN_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define KIBAN_SIMD
#endif
