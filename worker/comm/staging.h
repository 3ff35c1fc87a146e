// SPDX-License-Identifier: Apache-2.0
// How floats that the host cannot read come to it and back: verbs are told once, by whoever knows the device.
//
// Sums over ranks are computed by the host, in tree order (tree_sum.h), so what lies on a device travels through it:
// each verb copies what it reads into a buffer of the host, and what it has changed back. The copies are made where the
// verb runs, on the communication thread where there is one, so that they too go on beside the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace kiban::worker {

struct Staging {
    std::shared_ptr<float> (*host_buffer)(std::size_t count) = nullptr;
    // Return when the copy is done.
    void (*to_host)(const float* from, std::int64_t count, float* host) = nullptr;
    void (*from_host)(const float* host, std::int64_t count, float* to) = nullptr;
};

/// From now on, spans of float that are given to verbs are memory of the device; those of other types are the host's.
/// An empty Staging: all are the host's, as at the start. While no verb is under way.
void stage_floats(const Staging& staging);

}  // namespace kiban::worker
