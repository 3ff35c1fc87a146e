// SPDX-License-Identifier: Apache-2.0
// What the verbs of a Group do once they have reached the thread that calls MPI: choose the way, count, go. Internal to
// worker/comm; for groups of more than one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "worker/comm/mpi_group.h"
#include "worker/comm/point_to_point.h"

namespace kiban::worker::verbs {

using Impl = Group::Impl;

void barrier(const Impl& group);
void all_reduce_sum(const Impl& group, std::span<float> values);
void all_reduce_sum(const Impl& group, std::span<double> values);
void all_reduce_sum(const Impl& group, std::span<std::uint64_t> values);
void all_reduce_max(const Impl& group, std::span<std::int64_t> values);
void all_reduce_min(const Impl& group, std::span<std::int64_t> values);
void reduce_scatter_sum(const Impl& group, std::span<float> flat);
void all_gather(const Impl& group, std::span<float> flat);
void all_gather(const Impl& group, std::span<double> flat);
void broadcast(const Impl& group, std::span<std::byte> bytes, int root);
std::vector<std::string> all_gather(const Impl& group, const std::string& bytes);
std::vector<std::string> gather(const Impl& group, const std::string& bytes, int root);
std::unique_ptr<MessagesOut> start_send(const Impl& group, std::span<const float> values, int to, int tag);
void send(const Impl& group, std::span<const float> values, int to, int tag);
void receive(const Impl& group, std::span<float> values, int from, int tag);

}  // namespace kiban::worker::verbs
