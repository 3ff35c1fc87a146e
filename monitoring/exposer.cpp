// SPDX-License-Identifier: Apache-2.0
// The /metrics endpoint: prometheus-cpp's Exposer behind an address that has been checked.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <prometheus/exposer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>

#include "monitoring/error.h"
#include "monitoring/run_metrics.h"

namespace kiban::monitoring {
namespace {

struct Address {
    std::string text;  // as the listener takes it
    sockaddr_storage socket{};
    socklen_t socket_bytes = 0;
};

[[noreturn]] void refuse(const std::string& listen) {
    throw ConfigError(
        "cannot serve metrics on '{}': expected ADDRESS:PORT, such as '127.0.0.1:9464', '0.0.0.0:9464', '[::1]:9464' "
        "or "
        "'127.0.0.1:0' for a free port; set monitoring.listen",
        listen);
}

Address parse_address(const std::string& listen) {
    const auto colon = listen.rfind(':');
    if (colon == std::string::npos) refuse(listen);
    std::string host = listen.substr(0, colon);
    const std::string port_text = listen.substr(colon + 1);
    std::uint16_t port = 0;
    const char* const end = port_text.data() + port_text.size();
    const auto [stop, code] = std::from_chars(port_text.data(), end, port);
    if (code != std::errc() || stop != end) refuse(listen);
    if (host == "localhost") host = "127.0.0.1";

    Address address;
    address.text = host + ":" + port_text;
    auto* const v4 = reinterpret_cast<sockaddr_in*>(&address.socket);
    auto* const v6 = reinterpret_cast<sockaddr_in6*>(&address.socket);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed && ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        address.socket_bytes = sizeof(sockaddr_in6);
    } else if (!bracketed && ::inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        address.socket_bytes = sizeof(sockaddr_in);
    } else {
        refuse(listen);
    }
    return address;
}

// The listener does not say why it could not listen, so the system is asked the same question.
std::string why_not(const Address& address, const std::exception& error) {
    const int socket = ::socket(address.socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) return std::strerror(errno);
    std::string reason = error.what();
    if (::bind(socket, reinterpret_cast<const sockaddr*>(&address.socket), address.socket_bytes) != 0) {
        reason = std::strerror(errno);
    }
    ::close(socket);
    return reason;
}

}  // namespace

struct MetricsServer::Impl {
    explicit Impl(const std::string& address) : exposer(address) {}

    prometheus::Exposer exposer;
};

MetricsServer::MetricsServer(const RunMetrics& metrics, const std::string& listen) {
    const Address address = parse_address(listen);
    try {
        impl_ = std::make_unique<Impl>(address.text);
    } catch (const std::exception& error) {
        throw ConfigError(
            "cannot serve metrics on '{}': {}; set monitoring.listen to another address, or its port to 0 for a free "
            "one",
            listen, why_not(address, error));
    }
    for (const auto& collectable : metrics.collectables()) impl_->exposer.RegisterCollectable(collectable);
}

MetricsServer::~MetricsServer() = default;

int MetricsServer::port() const { return impl_->exposer.GetListeningPorts().at(0); }

}  // namespace kiban::monitoring
