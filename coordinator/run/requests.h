// SPDX-License-Identifier: Apache-2.0
// What an operator asks of a live run, through its directory: RUN/requests/ID.json of `kiban save`, `stop`, `extend`,
// `set` and `trace-steps`, which becomes ID.taken when the coordinator has it, and its ID.answer.json. Both appear
// whole or not at all; who may write into the run directory may ask. Requests are untrusted input. One thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kiban::coordinator {

struct Request {
    std::string id;                          // file name without ending; place_request() makes it
    std::string verb;                        // save | stop | extend | set | trace-steps
    std::uint64_t steps = 0;                 // extend: train.steps from now on; trace-steps: how many
    std::string by;                          // user@host
    std::vector<std::string> settings = {};  // set: KEY=VALUE
};

struct Answer {
    bool done = false;
    std::string text;  // for a person
};

/// Asks; returns the id. IoError when the directory cannot be written.
std::string place_request(const std::filesystem::path& run_dir, Request request);
/// The answer, once: takes it away. nullopt: none yet.
std::optional<Answer> take_answer(const std::filesystem::path& run_dir, const std::string& id);
/// Takes a request back. False when the coordinator has it already: it will act on it and answer.
bool withdraw_request(const std::filesystem::path& run_dir, const std::string& id);

/// The coordinator's end of it.
class RequestBox {
  public:
    /// Requests made before are refused: they were meant for a coordinator that is gone.
    explicit RequestBox(std::filesystem::path run_dir);
    RequestBox(const RequestBox&) = delete;
    RequestBox& operator=(const RequestBox&) = delete;

    /// New ones, in the order of their making. One that cannot be understood is refused here. Never throws for what
    /// lies in the directory: a run does not end because somebody asked badly. With `verb`: those alone; the others
    /// stay new.
    std::vector<Request> take(std::string_view verb = {});
    /// InternalError when `id` is not an open request. An answer that cannot be written is logged.
    void answer(const std::string& id, const Answer& answer);
    const std::map<std::string, Request>& open() const { return open_; }

  private:
    std::optional<Request> read(const std::filesystem::path& file, const std::string& id);
    void write(const std::string& id, const Answer& answer) const;

    std::filesystem::path directory_;
    std::map<std::string, Request> open_;  // taken, not answered
    std::set<std::string> seen_;           // taken or refused: what cannot be removed is not taken again
};

}  // namespace kiban::coordinator
