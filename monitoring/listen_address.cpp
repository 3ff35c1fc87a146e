// SPDX-License-Identifier: Apache-2.0
#include "monitoring/listen_address.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstdint>

#include "monitoring/error.h"

namespace kiban::monitoring {
namespace {

[[noreturn]] void refuse(const std::string& listen) {
    throw ConfigError(
        "cannot serve metrics on '{}': expected an IPv4 ADDRESS:PORT, such as '127.0.0.1:9464', '0.0.0.0:9464' or "
        "'127.0.0.1:0' for a free port; set monitoring.listen, to '' to serve none",
        listen);
}

}  // namespace

ListenAddress parse_listen_address(const std::string& listen) {
    const auto colon = listen.rfind(':');
    if (colon == std::string::npos) refuse(listen);
    const std::string host = listen.substr(0, colon) == "localhost" ? "127.0.0.1" : listen.substr(0, colon);
    const std::string port_text = listen.substr(colon + 1);
    std::uint16_t port = 0;
    const char* const end = port_text.data() + port_text.size();
    const auto [stop, code] = std::from_chars(port_text.data(), end, port);
    if (code != std::errc() || stop != end) refuse(listen);

    ListenAddress address;
    address.text = host + ":" + port_text;
    address.socket.sin_family = AF_INET;
    address.socket.sin_port = htons(port);
    if (::inet_pton(AF_INET, host.c_str(), &address.socket.sin_addr) != 1) refuse(listen);
    return address;
}

}  // namespace kiban::monitoring
