// SPDX-License-Identifier: Apache-2.0
// monitoring.listen as an address: the one place that knows what may stand there. Pure; any thread.
#pragma once

#include <netinet/in.h>

#include <string>

namespace kiban::monitoring {

struct ListenAddress {
    std::string text;  // "127.0.0.1:9464", as the listener takes it
    sockaddr_in socket{};
};

/// An IPv4 ADDRESS:PORT, or localhost:PORT; port 0 means a free one. ConfigError saying what was expected.
ListenAddress parse_listen_address(const std::string& listen);

}  // namespace kiban::monitoring
