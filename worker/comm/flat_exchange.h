// SPDX-License-Identifier: Apache-2.0
// The verbs that move whole models, as MPI messages: for groups that span nodes. Internal to worker/comm. All are
// collective.
#pragma once

#include <cstddef>
#include <span>

#include "worker/comm/mpi_group.h"

namespace kiban::worker::messages {

void reduce_scatter_sum(const Group::Impl& group, std::span<float> flat);

template <typename T>  // float and double
void all_gather(const Group::Impl& group, std::span<T> flat);

void broadcast(const Group::Impl& group, std::span<std::byte> bytes, int root);

}  // namespace kiban::worker::messages
