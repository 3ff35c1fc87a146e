// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/staged_verbs.h"

#include "checkpoint/placement.h"
#include "worker/comm/staging.h"

namespace kiban::worker {

namespace {

using checkpoint::Part;

Staging of_floats;

bool on_host() { return of_floats.host_buffer == nullptr; }

Part whole(std::span<const float> values) { return {0, static_cast<std::int64_t>(values.size())}; }

Part own(const Group::Impl& group, std::span<const float> values) {
    return checkpoint::part_of(static_cast<std::int64_t>(values.size()), group.rank, group.size);
}

// A copy on the host of which `read` is filled.
std::shared_ptr<float> copied(std::span<const float> values, const Part& read) {
    std::shared_ptr<float> host = of_floats.host_buffer(values.size());
    if (read.size() > 0) of_floats.to_host(values.data() + read.begin, read.size(), host.get() + read.begin);
    return host;
}

// Runs verb(floats that the host can use): `read` of them are there before, `written` come back.
template <typename Verb>
void through_host(std::span<float> values, const Part& read, const Part& written, const Verb& verb) {
    if (on_host()) return verb(values);
    const std::shared_ptr<float> host = copied(values, read);
    verb(std::span<float>(host.get(), values.size()));
    if (written.size() == 0) return;
    of_floats.from_host(host.get() + written.begin, written.size(), values.data() + written.begin);
}

}  // namespace

void stage_floats(const Staging& staging) { of_floats = staging; }

namespace staged {

void all_reduce_sum(const Impl& group, std::span<float> values) {
    through_host(values, whole(values), whole(values),
                 [&](std::span<float> host) { verbs::all_reduce_sum(group, host); });
}

void reduce_scatter_sum(const Impl& group, std::span<float> flat) {
    through_host(flat, whole(flat), own(group, flat),
                 [&](std::span<float> host) { verbs::reduce_scatter_sum(group, host); });
}

void all_gather(const Impl& group, std::span<float> flat) {
    through_host(flat, own(group, flat), whole(flat), [&](std::span<float> host) { verbs::all_gather(group, host); });
}

void send(const Impl& group, std::span<const float> values, int to, int tag) {
    if (on_host()) return verbs::send(group, values, to, tag);
    const std::shared_ptr<float> host = copied(values, whole(values));
    verbs::send(group, {host.get(), values.size()}, to, tag);
}

void receive(const Impl& group, std::span<float> values, int from, int tag) {
    through_host(values, {}, whole(values), [&](std::span<float> host) { verbs::receive(group, host, from, tag); });
}

Sending start_send(const Impl& group, std::span<const float> values, int to, int tag) {
    if (on_host()) return {nullptr, verbs::start_send(group, values, to, tag)};
    std::shared_ptr<float> host = copied(values, whole(values));
    const std::span<const float> copy(host.get(), values.size());
    return {std::move(host), verbs::start_send(group, copy, to, tag)};
}

}  // namespace staged

}  // namespace kiban::worker
