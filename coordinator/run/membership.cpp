// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/membership.h"

#include <algorithm>

#include "monitoring/error.h"

namespace kiban::coordinator {

Membership::Membership(int workers, double start, double start_timeout_seconds, double heartbeat_timeout_seconds)
    : members_(static_cast<std::size_t>(workers)),
      start_(start),
      start_timeout_(start_timeout_seconds),
      heartbeat_timeout_(heartbeat_timeout_seconds) {}

void Membership::hello(const Hello& hello, double now) {
    if (hello.world_size != static_cast<int>(members_.size())) {
        throw ConfigError(
            "worker {} on '{}' says the world has {} workers, expected {}: the launcher and the MPI library do not fit "
            "(under srun, does --mpi=pmix work?)",
            hello.rank, hello.host, hello.world_size, members_.size());
    }
    Member& member = members_.at(static_cast<std::size_t>(hello.rank));
    if (member.hello && (member.hello->pid != hello.pid || member.hello->host != hello.host)) {
        throw ConfigError("two processes say they are worker {}: {} on '{}' and {} on '{}'", hello.rank,
                          member.hello->pid, member.hello->host, hello.pid, hello.host);
    }
    member.hello = hello;
    member.last_heard = now;
}

void Membership::heard(int rank, double now) { members_.at(static_cast<std::size_t>(rank)).last_heard = now; }

void Membership::heartbeat(int rank, const Heartbeat& heartbeat, double now) {
    heard(rank, now);
    members_.at(static_cast<std::size_t>(rank)).heartbeat = heartbeat;
}

void Membership::finished(int rank) { members_.at(static_cast<std::size_t>(rank)).finished = true; }

void Membership::set_own_seconds(int rank, std::optional<double> seconds, bool straggler) {
    Member& member = members_.at(static_cast<std::size_t>(rank));
    member.own_seconds = seconds;
    member.straggler = straggler;
}

void Membership::excuse(double seconds) {
    start_ += seconds;
    for (Member& member : members_) member.last_heard += seconds;
}

bool Membership::all_joined() const {
    return std::all_of(members_.begin(), members_.end(), [](const Member& member) { return member.hello.has_value(); });
}

bool Membership::all_finished() const {
    return std::all_of(members_.begin(), members_.end(), [](const Member& member) { return member.finished; });
}

std::vector<int> Membership::missing(double now) const {
    std::vector<int> ranks;
    if (now - start_ <= start_timeout_) return ranks;
    for (std::size_t rank = 0; rank < members_.size(); ++rank) {
        if (!members_[rank].hello) ranks.push_back(static_cast<int>(rank));
    }
    return ranks;
}

std::vector<int> Membership::lost(double now) const {
    std::vector<int> ranks;
    for (std::size_t rank = 0; rank < members_.size(); ++rank) {
        const Member& member = members_[rank];
        if (member.hello && !member.finished && is_silent(member, now)) ranks.push_back(static_cast<int>(rank));
    }
    return ranks;
}

std::set<std::string> Membership::silent_hosts(double now) const {
    std::set<std::string> hosts;
    for (const int rank : lost(now)) hosts.insert(members_[static_cast<std::size_t>(rank)].hello->host);
    for (const Member& member : members_) {
        const bool speaks = member.hello && now - member.last_heard <= heartbeat_timeout_ / 2;
        if (speaks) hosts.erase(member.hello->host);
    }
    return hosts;
}

bool Membership::answers(int rank, double now) const {
    const Member& member = members_.at(static_cast<std::size_t>(rank));
    return member.hello && !member.finished && !is_silent(member, now);
}

}  // namespace kiban::coordinator
