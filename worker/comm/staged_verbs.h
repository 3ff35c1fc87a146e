// SPDX-License-Identifier: Apache-2.0
// The verbs on spans of float, for memory of the device (staging.h): what a Group calls. Internal to worker/comm.
#pragma once

#include <memory>
#include <span>

#include "worker/comm/verbs.h"

namespace kiban::worker::staged {

using Impl = Group::Impl;

void all_reduce_sum(const Impl& group, std::span<float> values);
void reduce_scatter_sum(const Impl& group, std::span<float> flat);
void all_gather(const Impl& group, std::span<float> flat);
void send(const Impl& group, std::span<const float> values, int to, int tag);
void receive(const Impl& group, std::span<float> values, int from, int tag);

struct Sending {
    std::shared_ptr<float> copy;  // null: the buffer itself travels
    std::unique_ptr<MessagesOut> messages;
};
Sending start_send(const Impl& group, std::span<const float> values, int to, int tag);

}  // namespace kiban::worker::staged
