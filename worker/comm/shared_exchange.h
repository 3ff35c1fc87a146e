// SPDX-License-Identifier: Apache-2.0
// The verbs that move whole models, through memory shared by the ranks of one node. Internal to worker/comm.
//
// Buffers stay the caller's ordinary memory: each rank copies pieces into its own slots, and others read them there.
// All are collective on the window's group.
#pragma once

#include <cstddef>
#include <span>

#include "worker/comm/shared_window.h"

namespace kiban::worker::shared {

void reduce_scatter_sum(const Group::Impl& group, SharedWindow& window, std::span<float> flat);

template <typename T>  // float and double
void all_reduce_sum(const Group::Impl& group, SharedWindow& window, std::span<T> flat);

template <typename T>  // float and double
void all_gather(const Group::Impl& group, SharedWindow& window, std::span<T> flat);

void broadcast(const Group::Impl& group, SharedWindow& window, std::span<std::byte> bytes, int root);

}  // namespace kiban::worker::shared
