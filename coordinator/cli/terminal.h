// SPDX-License-Identifier: Apache-2.0
// A terminal that shows one page again and again, and is given back as it was. One thread; one at a time, since it
// takes SIGINT, SIGTERM and SIGWINCH for as long as it lives.
#pragma once

#include <string>
#include <vector>

#include "coordinator/cli/dashboard.h"

namespace kiban::coordinator {

class Terminal {
  public:
    /// Takes the other screen of the terminal on standard output, and hides the cursor.
    Terminal();
    ~Terminal();  // gives both back
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

    Screen screen() const;  // its size now; no colours with NO_COLOR (no-color.org) or a dumb terminal
    void show(const std::vector<std::string>& lines) const;
    /// Sleeps, less when the size changes. False when it is time to leave.
    bool wait(double seconds) const;
};

}  // namespace kiban::coordinator
