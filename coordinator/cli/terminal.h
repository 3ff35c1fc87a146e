// SPDX-License-Identifier: Apache-2.0
// A terminal that shows one page again and again, and is given back as it was: when it is left, and for as long as the
// process is stopped (Ctrl-Z). One thread; one at a time, since it takes SIGINT, SIGTERM, SIGQUIT, SIGTSTP, SIGCONT and
// SIGWINCH for as long as it lives. They act within wait().
#pragma once

#include <array>
#include <csignal>
#include <string>
#include <vector>

#include "coordinator/cli/dashboard.h"

namespace kiban::coordinator {

class Terminal {
  public:
    /// Whether standard output is a terminal that a page can be drawn on; TERM says that it cannot when it is empty,
    /// not there, or "dumb".
    static bool is_there();

    /// Takes the other screen of the terminal on standard output, and hides the cursor; in the background once it comes
    /// to the front.
    Terminal();
    ~Terminal();  // gives both back
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

    Screen screen() const;  // its size now; no colours with NO_COLOR (no-color.org)
    void show(const std::vector<std::string>& lines) const;
    /// Sleeps, less when a signal comes. False when it is time to leave. SIGQUIT ends the process here.
    bool wait(double seconds);

  private:
    static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH};

    void take();
    void give_back();
    void die_or_stop_of(int signal);

    bool taken_ = false;
    std::array<struct sigaction, kSignals.size()> before_{};
    sigset_t mask_before_{};
    sigset_t mask_in_wait_{};
};

}  // namespace kiban::coordinator
