// SPDX-License-Identifier: Apache-2.0
// The /metrics endpoint: prometheus-cpp's Exposer behind an address that has been checked.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <prometheus/exposer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <exception>
#include <string>
#include <thread>

#include "monitoring/error.h"
#include "monitoring/run_metrics.h"

namespace kiban::monitoring {
namespace {

struct Address {
    std::string text;  // as the listener takes it
    sockaddr_in socket{};
};

[[noreturn]] void refuse(const std::string& listen) {
    throw ConfigError(
        "cannot serve metrics on '{}': expected an IPv4 ADDRESS:PORT, such as '127.0.0.1:9464', '0.0.0.0:9464' or "
        "'127.0.0.1:0' for a free port; set monitoring.listen",
        listen);
}

Address parse_address(const std::string& listen) {
    const auto colon = listen.rfind(':');
    if (colon == std::string::npos) refuse(listen);
    const std::string host = listen.substr(0, colon) == "localhost" ? "127.0.0.1" : listen.substr(0, colon);
    const std::string port_text = listen.substr(colon + 1);
    std::uint16_t port = 0;
    const char* const end = port_text.data() + port_text.size();
    const auto [stop, code] = std::from_chars(port_text.data(), end, port);
    if (code != std::errc() || stop != end) refuse(listen);

    Address address;
    address.text = host + ":" + port_text;
    address.socket.sin_family = AF_INET;
    address.socket.sin_port = htons(port);
    if (::inet_pton(AF_INET, host.c_str(), &address.socket.sin_addr) != 1) refuse(listen);
    return address;
}

const sockaddr* generic(const sockaddr_in& address) { return reinterpret_cast<const sockaddr*>(&address); }

// The listener does not say why it could not listen, so the system is asked the same question.
std::string why_not(const Address& address, const std::exception& error) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) return std::strerror(errno);
    std::string reason = error.what();
    if (::bind(socket, generic(address.socket), sizeof(address.socket)) != 0) reason = std::strerror(errno);
    ::close(socket);
    return reason;
}

}  // namespace

struct MetricsServer::Impl {
    explicit Impl(Address wanted)
        : address(std::move(wanted)), exposer(std::make_unique<prometheus::Exposer>(address.text)) {
        address.socket.sin_port = htons(static_cast<std::uint16_t>(exposer->GetListeningPorts().at(0)));
    }

    // The listener looks every two seconds whether it shall stop, and at every connection: so it is given some.
    ~Impl() {
        std::jthread visitor([this](const std::stop_token& stop) {
            while (!stop.stop_requested()) {
                const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
                if (socket < 0) return;
                // Does not wait for the connection: asking for it is enough to wake the listener.
                (void)::connect(socket, generic(address.socket), sizeof(address.socket));
                std::this_thread::sleep_for(std::chrono::milliseconds(5));
                ::close(socket);
            }
        });
        exposer.reset();
    }

    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    Address address;
    std::unique_ptr<prometheus::Exposer> exposer;
};

MetricsServer::MetricsServer(const RunMetrics& metrics, const std::string& listen) {
    const Address address = parse_address(listen);
    try {
        impl_ = std::make_unique<Impl>(address);
    } catch (const std::exception& error) {
        throw ConfigError(
            "cannot serve metrics on '{}': {}; set monitoring.listen to another address, or its port to 0 for a free "
            "one",
            listen, why_not(address, error));
    }
    for (const auto& collectable : metrics.collectables()) impl_->exposer->RegisterCollectable(collectable);
}

MetricsServer::~MetricsServer() = default;

int MetricsServer::port() const { return ntohs(impl_->address.socket.sin_port); }

}  // namespace kiban::monitoring
