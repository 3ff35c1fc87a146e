// SPDX-License-Identifier: Apache-2.0
// The tasks of a preparation: which are waiting, handed out and done. Not thread-safe.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "data/task_plan.h"

namespace kiban::data {

class TaskPool {
  public:
    enum class State { waiting, handed_out, done };

    struct Task {
        nlohmann::json message;
        std::uint64_t input_bytes = 0;  // 0 for a task that reads none
        State state = State::waiting;
        nlohmann::json result;
    };

    /// What an earlier process made of a task; nullopt when it is to be done.
    using Made = std::function<std::optional<nlohmann::json>(const nlohmann::json& message)>;

    /// Adds tasks behind those that are there, the largest to be handed out first. Gives the first one's id.
    std::size_t add(std::vector<PlannedTask> planned, const Made& made = {});

    std::optional<nlohmann::json> hand_out();
    void set_done(std::uint64_t id, nlohmann::json result);
    /// A task that is handed out is waiting again, before all others.
    void give_back(std::uint64_t id);
    /// Takes back what an add() that failed half-way has added: the tasks from this id on.
    void forget_from(std::size_t first);

    /// InternalError for an id that no task has.
    const Task& at(std::uint64_t id) const;
    bool all_done() const { return done_ == tasks_.size(); }
    const std::vector<Task>& all() const { return tasks_; }
    std::vector<nlohmann::json> results(std::size_t first, std::size_t count) const;

  private:
    Task& task(std::uint64_t id);

    std::vector<Task> tasks_;
    std::deque<std::uint64_t> queue_;
    std::size_t done_ = 0;
};

}  // namespace kiban::data
