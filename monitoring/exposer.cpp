// SPDX-License-Identifier: Apache-2.0
// The /metrics endpoint: prometheus-cpp's Exposer behind an address that has been checked.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <prometheus/exposer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <string>
#include <thread>

#include "monitoring/error.h"
#include "monitoring/listen_address.h"
#include "monitoring/run_metrics.h"

namespace kiban::monitoring {
namespace {

const sockaddr* generic(const sockaddr_in& address) { return reinterpret_cast<const sockaddr*>(&address); }

// The listener does not say why it could not listen, so the system is asked the same question.
std::string why_not(const ListenAddress& address, const std::exception& error) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) return std::strerror(errno);
    std::string reason = error.what();
    if (::bind(socket, generic(address.socket), sizeof(address.socket)) != 0) reason = std::strerror(errno);
    ::close(socket);
    return reason;
}

}  // namespace

struct MetricsServer::Impl {
    explicit Impl(ListenAddress wanted)
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

    ListenAddress address;
    std::unique_ptr<prometheus::Exposer> exposer;
};

MetricsServer::MetricsServer(const RunMetrics& metrics, const std::string& listen)
    : MetricsServer(metrics.collectables(), listen, "monitoring.listen") {}

MetricsServer::MetricsServer(const std::vector<std::shared_ptr<prometheus::Collectable>>& collectables,
                             const std::string& listen, const char* option) {
    const ListenAddress address = parse_listen_address(listen);
    try {
        impl_ = std::make_unique<Impl>(address);
    } catch (const std::exception& error) {
        throw ConfigError(
            "cannot serve metrics on '{}': {}; set {} to another address, or its port to 0 for a free one", listen,
            why_not(address, error), option);
    }
    for (const auto& collectable : collectables) impl_->exposer->RegisterCollectable(collectable);
}

MetricsServer::~MetricsServer() = default;

int MetricsServer::port() const { return ntohs(impl_->address.socket.sin_port); }

}  // namespace kiban::monitoring
