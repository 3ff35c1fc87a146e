// SPDX-License-Identifier: Apache-2.0
// Section [monitoring] of the run file.
#pragma once

#include <string>

namespace kiban::monitoring {

struct MonitoringConfig {
    std::string listen = "127.0.0.1:9464";  // address of /metrics; port 0 picks a free one, empty serves none
    double progress_interval_seconds = 10;  // between lines when the output is not a terminal
    double peak_flops = 0;                  // a second, that all workers together could do; 0: not known
};

}  // namespace kiban::monitoring
