// SPDX-License-Identifier: Apache-2.0
#include "data/task_pool.h"

#include <algorithm>
#include <numeric>

#include "monitoring/error.h"

namespace kiban::data {

using nlohmann::json;

std::size_t TaskPool::add(std::vector<PlannedTask> planned, const Made& made) {
    const std::size_t first = tasks_.size();
    for (std::size_t i = 0; i < planned.size(); ++i) {
        tasks_.push_back({std::move(planned[i].message), planned[i].input_bytes, State::waiting, {}});
        tasks_.back().message["id"] = first + i;
        if (!made) continue;
        if (std::optional<json> result = made(tasks_.back().message)) set_done(first + i, std::move(*result));
    }
    std::vector<std::uint64_t> ids(planned.size());
    std::iota(ids.begin(), ids.end(), std::uint64_t{first});
    // Largest first, so that the last ones to be handed out are short.
    std::ranges::stable_sort(ids, std::greater<>(), [&](std::uint64_t id) { return tasks_[id].input_bytes; });
    std::ranges::copy_if(ids, std::back_inserter(queue_),
                         [&](std::uint64_t id) { return tasks_[id].state == State::waiting; });
    return first;
}

std::optional<json> TaskPool::hand_out() {
    while (!queue_.empty()) {
        Task& next = task(queue_.front());
        queue_.pop_front();
        if (next.state != State::waiting) continue;
        next.state = State::handed_out;
        return next.message;
    }
    return std::nullopt;
}

void TaskPool::set_done(std::uint64_t id, json result) {
    Task& finished = task(id);
    KIBAN_CHECK(finished.state != State::done, "task {} is done twice", id);
    finished.state = State::done;
    finished.result = std::move(result);
    ++done_;
}

void TaskPool::give_back(std::uint64_t id) {
    if (task(id).state != State::handed_out) return;
    task(id).state = State::waiting;
    queue_.push_front(id);
}

void TaskPool::forget_from(std::size_t first) {
    std::erase_if(queue_, [first](std::uint64_t id) { return id >= first; });
    for (std::size_t id = first; id < tasks_.size(); ++id) {
        if (tasks_[id].state == State::done) --done_;
    }
    tasks_.erase(tasks_.begin() + static_cast<std::ptrdiff_t>(first), tasks_.end());
}

const TaskPool::Task& TaskPool::at(std::uint64_t id) const {
    KIBAN_CHECK(id < tasks_.size(), "task {} of {}", id, tasks_.size());
    return tasks_[id];
}

TaskPool::Task& TaskPool::task(std::uint64_t id) {
    KIBAN_CHECK(id < tasks_.size(), "task {} of {}", id, tasks_.size());
    return tasks_[id];
}

std::vector<json> TaskPool::results(std::size_t first, std::size_t count) const {
    std::vector<json> results;
    for (std::size_t i = first; i < first + count; ++i) results.push_back(tasks_[i].result);
    return results;
}

}  // namespace kiban::data
