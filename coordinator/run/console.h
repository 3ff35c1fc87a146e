// SPDX-License-Identifier: Apache-2.0
// What a person sees of a run: log lines, and a progress line that a terminal keeps at the bottom. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <string>

namespace kiban::coordinator {

class Console {
  public:
    /// `live`: standard output is a terminal.
    explicit Console(bool live) : live_(live) {}
    ~Console();

    bool live() const { return live_; }
    /// Live: replaces the progress line; else prints a line.
    void progress(const std::string& text);
    /// The progress line stays as it is; what comes next goes below.
    void end_progress();
    /// A whole line, above the progress line. Warnings and errors go to standard error.
    void line(const std::string& text, bool is_warning = false);

  private:
    void clear();

    const bool live_;
    std::mutex mutex_;
    std::string shown_;  // the progress line on the screen
};

/// From now on log lines of this process go to `console` too, as "HH:MM:SS message".
void show_log_on(std::shared_ptr<Console> console);

}  // namespace kiban::coordinator
