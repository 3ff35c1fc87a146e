// SPDX-License-Identifier: Apache-2.0
#include "coordinator/protocol/coordinator_channel.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <zmq.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "coordinator/protocol/wake.h"
#include "coordinator/protocol/wire.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

using monitoring::log_warning;

constexpr const char* kZapEndpoint = "inproc://zeromq.zap.01";
constexpr std::size_t kMaxArrivals = 1 << 16;  // above: the workers wait
constexpr int kLingerMs = 1000;

std::string text_of(const zmq::message_t& frame) { return {static_cast<const char*>(frame.data()), frame.size()}; }

std::vector<zmq::message_t> receive_frames(zmq::socket_t& socket) {
    std::vector<zmq::message_t> frames;
    do {
        frames.emplace_back();
        if (!socket.recv(frames.back(), zmq::recv_flags::dontwait)) return {};
    } while (frames.back().more());
    return frames;
}

std::vector<std::string> addresses_of_this_host() {
    std::vector<std::string> found;
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return found;
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
        if ((entry->ifa_flags & IFF_UP) == 0 || (entry->ifa_flags & IFF_LOOPBACK) != 0) continue;
        sockaddr_in address{};
        std::memcpy(&address, entry->ifa_addr, sizeof address);
        char text[INET_ADDRSTRLEN] = "";
        ::inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
        found.emplace_back(text);
    }
    ::freeifaddrs(list);
    if (found.empty()) found.emplace_back("127.0.0.1");
    return found;
}

}  // namespace

struct CoordinatorChannel::Impl {
    explicit Impl(const CoordinatorChannelOptions& given)
        : options(given), server(make_key_pair()), client(make_key_pair()) {
        zap.bind(kZapEndpoint);  // before the first peer can knock
        router.set(zmq::sockopt::curve_server, true);
        router.set(zmq::sockopt::curve_secretkey, server.secret_key);
        router.set(zmq::sockopt::zap_domain, "kiban");
        router.set(zmq::sockopt::router_mandatory, true);
        router.set(zmq::sockopt::router_handover, true);  // a worker that reconnects is the same worker
        router.set(zmq::sockopt::maxmsgsize, kMaxMessageBytes);
        router.set(zmq::sockopt::backlog, 4096);
        router.set(zmq::sockopt::linger, kLingerMs);
        zap.set(zmq::sockopt::linger, 0);
        char key[33];
        KIBAN_CHECK(zmq_z85_decode(reinterpret_cast<std::uint8_t*>(key), client.public_key.c_str()) != nullptr,
                    "a fresh key is no Z85");
        allowed_key.assign(key, 32);
        bind();
        write_channel_files(options.run_dir,
                            {.run_id = options.run_id,
                             .attempt = options.attempt,
                             .addresses = addresses,
                             .port = port,
                             .server_key = server.public_key,
                             .heartbeat_timeout_seconds = options.heartbeat_timeout_seconds},
                            client);
        thread = std::thread([this] { run(); });
    }

    ~Impl() {
        stopping = true;
        outbound_wake.notify();
        thread.join();
        std::error_code ignored;
        std::filesystem::remove(key_file(options.run_dir, options.attempt), ignored);
    }

    void bind() {
        try {
            router.bind(fmt::format("tcp://{}:*", options.control_interface));
        } catch (const zmq::error_t& error) {
            throw ConfigError(
                "cannot bind the control channel to launch.control_interface '{}': {}; name an address or interface of "
                "this host",
                options.control_interface, error.what());
        }
        const std::string endpoint = router.get(zmq::sockopt::last_endpoint);  // tcp://A.B.C.D:port
        const auto colon = endpoint.rfind(':');
        port = std::stoi(endpoint.substr(colon + 1));
        const std::string address = endpoint.substr(6, colon - 6);
        addresses = address == "0.0.0.0" ? addresses_of_this_host() : std::vector{address};
    }

    void run() {
        while (!stopping) {
            std::vector<zmq::pollitem_t> items = {{zap.handle(), 0, ZMQ_POLLIN, 0},
                                                  {nullptr, outbound_wake.descriptor(), ZMQ_POLLIN, 0}};
            if (has_room()) items.push_back({router.handle(), 0, ZMQ_POLLIN, 0});
            zmq_poll(reinterpret_cast<zmq_pollitem_t*>(items.data()), static_cast<int>(items.size()),
                     items.size() == 3 ? -1 : 20);
            outbound_wake.clear();
            answer_knocks();
            send_queued();
            for (int i = 0; i < 64 && has_room() && receive_one(); ++i) {
            }
        }
        send_queued();
        router.close();
        zap.close();
    }

    bool has_room() {
        const std::lock_guard lock(mutex);
        return arrivals.size() < kMaxArrivals;
    }

    // ZAP request: version, request id, domain, address, identity, mechanism, credentials. The client's key is the
    // credential.
    void answer_knocks() {
        for (auto frames = receive_frames(zap); !frames.empty(); frames = receive_frames(zap)) {
            const bool known = frames.size() == 7 && text_of(frames[5]) == "CURVE" && text_of(frames[6]) == allowed_key;
            if (!known) {
                const std::uint64_t count = ++without_key;
                if (std::has_single_bit(count))
                    log_warning(  // a flood of strangers must not fill the log
                        "refused a peer of the control channel from {}: it does not hold this attempt's key",
                        frames.size() > 3 ? text_of(frames[3]) : "?");
            }
            const std::string request = frames.size() > 1 ? text_of(frames[1]) : "";
            const std::array<std::string, 6> reply = {
                "1.0", request, known ? "200" : "400", known ? "OK" : "refused", known ? "worker" : "", ""};
            for (std::size_t i = 0; i < reply.size(); ++i) {
                zap.send(zmq::buffer(reply[i]),
                         i + 1 < reply.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
            }
        }
    }

    bool receive_one() {
        const auto frames = receive_frames(router);
        if (frames.empty()) return false;
        const auto rank = rank_of(text_of(frames[0]));
        if (frames.size() != 2 || !rank || *rank >= options.workers) {
            refuse(malformed, text_of(frames[0]), "not a rank of this run, or not one frame");
            return true;
        }
        auto envelope = open_envelope(frames[1].data(), frames[1].size());
        if (!envelope) {
            refuse(malformed, text_of(frames[0]), "no envelope of ours");
        } else if (envelope->run_id != options.run_id || envelope->attempt != options.attempt) {
            refuse(other_attempt, text_of(frames[0]), "it belongs to another run or attempt");
        } else if (envelope->message.is_null()) {
            answer(*rank);
        } else {
            accept(*rank, envelope->message);
        }
        return true;
    }

    void accept(int rank, const nlohmann::json& json) {
        try {
            WorkerMessage message = worker_message_from_json(json);
            const auto* hello = std::get_if<Hello>(&message);
            if (hello != nullptr && hello->rank != rank)
                throw ConfigError("message 'hello': rank {} from worker {}", hello->rank, rank);
            if (hello != nullptr || std::holds_alternative<Heartbeat>(message)) {
                answer(rank);
            }
            const std::lock_guard lock(mutex);
            if (arrivals.empty()) arrived.notify();  // take() empties it, so one wake-up serves all that come before
            arrivals.push_back({rank, monotonic_seconds(), std::move(message)});
        } catch (const ConfigError& error) {
            refuse(malformed, routing_id_of(rank), error.what());
        }
    }

    void refuse(std::atomic<std::uint64_t>& counter, const std::string& peer, const char* reason) {
        const std::uint64_t count = ++counter;
        if (count > 16 && !std::has_single_bit(count)) return;  // a flood must not fill the log
        log_warning("refused a message on the control channel from '{}': {}", peer.substr(0, 64), reason);
    }

    void send_queued() {
        std::deque<std::pair<int, std::string>> ready;
        {
            const std::lock_guard lock(mutex);
            ready.swap(outbound);
        }
        for (const auto& [rank, frame] : ready) send_frame(rank, frame);
    }

    // A sign of life. A worker that has left since it asked for one needs none.
    void answer(int rank) { send_frame(rank, seal(options.run_id, options.attempt, nullptr), /*may_be_gone=*/true); }

    // A worker that is not there misses it: membership finds out by its silence.
    void send_frame(int rank, const std::string& frame, bool may_be_gone = false) {
        try {
            const std::string id = routing_id_of(rank);
            if (router.send(zmq::buffer(id), zmq::send_flags::sndmore | zmq::send_flags::dontwait)) {
                router.send(zmq::buffer(frame), zmq::send_flags::dontwait);
                return;
            }
            log_warning("worker {} does not take its messages: one is dropped", rank);
        } catch (const zmq::error_t& error) {
            if (may_be_gone && error.num() == EHOSTUNREACH) return;
            log_warning("cannot send to worker {}: {}", rank, error.what());
        }
    }

    CoordinatorChannelOptions options;
    KeyPair server;
    KeyPair client;
    std::string allowed_key;  // 32 bytes
    int port = 0;
    std::vector<std::string> addresses;

    zmq::context_t context;
    zmq::socket_t zap{context, zmq::socket_type::rep};  // the I/O thread's once it runs
    zmq::socket_t router{context, zmq::socket_type::router};

    std::mutex mutex;  // guards the two queues
    std::deque<Arrival> arrivals;
    std::deque<std::pair<int, std::string>> outbound;
    Wake arrived;
    Wake outbound_wake;
    std::atomic<bool> stopping{false};
    std::atomic<std::uint64_t> without_key{0};
    std::atomic<std::uint64_t> other_attempt{0};
    std::atomic<std::uint64_t> malformed{0};
    std::thread thread;
};

CoordinatorChannel::CoordinatorChannel(const CoordinatorChannelOptions& options)
    : impl_(std::make_unique<Impl>(options)) {}
CoordinatorChannel::~CoordinatorChannel() = default;

void CoordinatorChannel::send(int rank, const CoordinatorMessage& message) {
    std::string frame = seal(impl_->options.run_id, impl_->options.attempt, to_json(message));
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->outbound.emplace_back(rank, std::move(frame));
    }
    impl_->outbound_wake.notify();
}

void CoordinatorChannel::send_to_all(const CoordinatorMessage& message) {
    for (int rank = 0; rank < impl_->options.workers; ++rank) send(rank, message);
}

std::vector<Arrival> CoordinatorChannel::take() {
    impl_->arrived.clear();
    const std::lock_guard lock(impl_->mutex);
    std::vector<Arrival> taken(std::make_move_iterator(impl_->arrivals.begin()),
                               std::make_move_iterator(impl_->arrivals.end()));
    impl_->arrivals.clear();
    return taken;
}

int CoordinatorChannel::descriptor() const { return impl_->arrived.descriptor(); }
Refusals CoordinatorChannel::refusals() const { return {impl_->without_key, impl_->other_attempt, impl_->malformed}; }
int CoordinatorChannel::port() const { return impl_->port; }

}  // namespace kiban::coordinator
