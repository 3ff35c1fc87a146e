// SPDX-License-Identifier: Apache-2.0
#include "coordinator/protocol/worker_channel.h"

#include <zmq.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "coordinator/protocol/silence.h"
#include "coordinator/protocol/wake.h"
#include "coordinator/protocol/wire.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

constexpr std::size_t kMaxQueued = 4096;  // above: send() waits
constexpr int kLingerMs = 2000;
// Step reports travel together: a wake-up each would cost the coordinator most of its time.
constexpr double kReportSeconds = 0.2;

// zmq_poll that a signal does not end early.
void poll_sockets(zmq::pollitem_t* items, std::size_t count, double seconds) {
    const double end = monotonic_seconds() + seconds;
    while (true) {
        const double left = std::max(0.0, end - monotonic_seconds());
        try {
            zmq::poll(items, count, std::chrono::milliseconds(static_cast<int>(left * 1000) + 1));
            return;
        } catch (const zmq::error_t& error) {
            if (error.num() != EINTR) throw;
        }
    }
}

}  // namespace

struct WorkerChannel::Impl {
    Impl(const std::filesystem::path& run_dir, std::uint32_t attempt, const Hello& hello, double timeout_seconds)
        : address(read_address(run_dir, attempt)), rank(hello.rank) {
        const KeyPair keys = read_client_keys(run_dir, attempt);
        if (!dial(keys, hello, timeout_seconds)) {
            throw CommError(
                "cannot reach the coordinator of '{}', attempt {}, at {} port {} within {} s: no answer, or this key "
                "is not let in",
                run_dir.string(), attempt, fmt::join(address.addresses, ", "), address.port, timeout_seconds);
        }
        thread = std::thread([this] { run(); });
    }

    ~Impl() {
        if (!thread.joinable()) return;
        stopping = true;
        wake.notify();
        thread.join();
    }

    // The first address that answers the hello within its share of the time.
    bool dial(const KeyPair& keys, const Hello& hello, double timeout_seconds) {
        const double share = timeout_seconds / static_cast<double>(address.addresses.size());
        for (const std::string& host : address.addresses) {
            socket = zmq::socket_t(context, zmq::socket_type::dealer);
            socket.set(zmq::sockopt::curve_serverkey, address.server_key);
            socket.set(zmq::sockopt::curve_publickey, keys.public_key);
            socket.set(zmq::sockopt::curve_secretkey, keys.secret_key);
            socket.set(zmq::sockopt::routing_id, routing_id_of(rank));
            socket.set(zmq::sockopt::maxmsgsize, kMaxMessageBytes);
            socket.set(zmq::sockopt::linger, 0);
            socket.connect(fmt::format("tcp://{}:{}", host, address.port));
            const std::string frame = seal(address.run_id, address.attempt, to_json(WorkerMessage(hello)));
            socket.send(zmq::buffer(frame), zmq::send_flags::none);
            const double end = monotonic_seconds() + share;
            while (monotonic_seconds() < end) {
                zmq::pollitem_t item{socket.handle(), 0, ZMQ_POLLIN, 0};
                poll_sockets(&item, 1, std::max(0.0, end - monotonic_seconds()));
                if (receive_all()) {
                    socket.set(zmq::sockopt::linger, kLingerMs);
                    return true;
                }
            }
            socket.close();
        }
        return false;
    }

    void run() {
        double next_beat = monotonic_seconds();
        Silence silence(kHeartbeatSeconds, next_beat);
        while (!stopping) {
            const bool sent_all = send_queued();
            if (const double now = monotonic_seconds(); now >= next_beat) {
                next_beat = now + kHeartbeatSeconds;
                if (sent_all) send_frame(heartbeat());
            }
            zmq::pollitem_t items[] = {
                {socket.handle(), 0, static_cast<short>(sent_all ? ZMQ_POLLIN : ZMQ_POLLIN | ZMQ_POLLOUT), 0},
                {nullptr, wake.descriptor(), ZMQ_POLLIN, 0}};
            poll_sockets(items, 2, std::max(0.0, next_beat - monotonic_seconds()));
            wake.clear();
            const bool heard = receive_all();
            if (silence.look(monotonic_seconds(), heard) > address.heartbeat_timeout_seconds) {
                const std::lock_guard lock(mutex);
                lost = true;
                changed.notify_all();
                socket.set(zmq::sockopt::linger, 0);
                break;
            }
        }
        const double end = monotonic_seconds() + kLingerMs / 1000.0;
        while (!lost && !send_queued() && monotonic_seconds() < end) {
            zmq::pollitem_t item{socket.handle(), 0, ZMQ_POLLOUT, 0};
            poll_sockets(&item, 1, 0.1);
        }
        socket.close();  // lingers in ~context
    }

    std::string heartbeat() {
        const std::lock_guard lock(mutex);
        if (collectives) beat.collective = collectives();
        return seal(address.run_id, address.attempt, to_json(WorkerMessage(beat)));
    }

    // Not under the mutex: threads whose stacks are taken may hold it.
    void send_stacks() {
        std::function<std::string()> take;
        {
            const std::lock_guard lock(mutex);
            take = stacks;
        }
        const std::string text = take ? take() : "this worker cannot show its stacks";
        const std::lock_guard lock(mutex);
        outbound.push_back(seal(address.run_id, address.attempt, to_json(WorkerMessage(Stacks{text}))));
    }

    // Whether anything of this attempt came.
    bool receive_all() {
        bool heard = false;
        for (zmq::message_t frame; socket.recv(frame, zmq::recv_flags::dontwait);) {
            const auto envelope = open_envelope(frame.data(), frame.size());
            if (!envelope || envelope->run_id != address.run_id || envelope->attempt != address.attempt) {
                monitoring::log_warning("refused a message on the control channel: not from this run and attempt");
                continue;
            }
            heard = true;
            if (envelope->message.is_null()) continue;
            try {
                CoordinatorMessage message = coordinator_message_from_json(envelope->message);
                if (std::holds_alternative<ShowStacks>(message)) {
                    send_stacks();
                    continue;
                }
                const std::lock_guard taking(taker_mutex);  // held on, so that no message passes a new taker by
                if (taker && taker(message)) continue;
                const std::lock_guard lock(mutex);
                inbound.push_back(std::move(message));
            } catch (const ConfigError& error) {
                const std::lock_guard lock(mutex);
                if (failure.empty()) failure = error.what();
            }
            changed.notify_all();
        }
        return heard;
    }

    void set_taker(std::function<bool(const CoordinatorMessage&)> next) {
        const std::lock_guard taking(taker_mutex);
        taker = std::move(next);
        if (!taker) return;
        const std::lock_guard lock(mutex);
        std::erase_if(inbound, [this](const CoordinatorMessage& message) { return taker(message); });
    }

    bool send_queued() {
        const std::lock_guard lock(mutex);
        while (!outbound.empty() && send_frame(outbound.front())) {
            outbound.pop_front();
            changed.notify_all();
        }
        return outbound.empty();
    }

    bool send_frame(const std::string& frame) {
        return socket.send(zmq::buffer(frame), zmq::send_flags::dontwait).has_value();
    }

    void refuse_when_lost() const {
        if (lost)
            throw CommError("the coordinator has been silent for {} s: this worker stops",
                            address.heartbeat_timeout_seconds);
    }

    ChannelAddress address;
    int rank;
    zmq::context_t context;
    zmq::socket_t socket;  // the I/O thread's once it runs
    Wake wake;
    std::atomic<bool> stopping{false};

    std::mutex taker_mutex;  // taken before the other one
    std::function<bool(const CoordinatorMessage&)> taker;

    std::mutex mutex;  // guards what follows
    std::condition_variable changed;
    std::deque<std::string> outbound;
    std::deque<CoordinatorMessage> inbound;
    double last_report = 0;  // when step reports were last sent on; later ones wait for the next message or heartbeat
    std::string failure;     // of a message that could not be understood
    Heartbeat beat{.phase = "starting"};
    std::function<std::uint64_t()> collectives;
    std::function<std::string()> stacks;
    std::atomic<bool> lost{false};
    std::thread thread;
};

WorkerChannel::WorkerChannel(const std::filesystem::path& run_dir, std::uint32_t attempt, const Hello& hello,
                             double timeout_seconds)
    : impl_(std::make_unique<Impl>(run_dir, attempt, hello, timeout_seconds)) {}
WorkerChannel::~WorkerChannel() = default;

void WorkerChannel::send(const WorkerMessage& message) {
    std::string frame = seal(impl_->address.run_id, impl_->address.attempt, to_json(message));
    {
        std::unique_lock lock(impl_->mutex);
        impl_->changed.wait(lock, [this] { return impl_->lost || impl_->outbound.size() < kMaxQueued; });
        impl_->refuse_when_lost();
        impl_->outbound.push_back(std::move(frame));
        if (const double now = monotonic_seconds(); std::holds_alternative<StepReport>(message)) {
            if (now - impl_->last_report < kReportSeconds && impl_->outbound.size() < kMaxQueued / 2) return;
            impl_->last_report = now;
        }
    }
    impl_->wake.notify();
}

std::optional<CoordinatorMessage> WorkerChannel::receive(double timeout_seconds) {
    std::unique_lock lock(impl_->mutex);
    const auto ready = [this] { return impl_->lost || !impl_->inbound.empty() || !impl_->failure.empty(); };
    impl_->changed.wait_for(lock, std::chrono::duration<double>(timeout_seconds), ready);
    impl_->refuse_when_lost();  // what came before is not acted on either
    if (!impl_->inbound.empty()) {
        CoordinatorMessage message = std::move(impl_->inbound.front());
        impl_->inbound.pop_front();
        return message;
    }
    if (!impl_->failure.empty())
        throw InternalError("the coordinator sent what this worker does not understand: {}", impl_->failure);
    return std::nullopt;
}

void WorkerChannel::set_taker(std::function<bool(const CoordinatorMessage&)> taker) {
    impl_->set_taker(std::move(taker));
}

void WorkerChannel::set_phase(const char* phase, std::uint64_t step) {
    const std::lock_guard lock(impl_->mutex);
    impl_->beat.phase = phase;
    impl_->beat.step = step;
}

void WorkerChannel::set_work(std::uint64_t work) {
    const std::lock_guard lock(impl_->mutex);
    impl_->beat.work = work;
}

void WorkerChannel::set_busy(double seconds, std::uint64_t steps) {
    const std::lock_guard lock(impl_->mutex);
    impl_->beat.busy_seconds = seconds;
    impl_->beat.busy_steps = steps;
}

void WorkerChannel::set_collective(std::function<std::uint64_t()> collectives) {
    const std::lock_guard lock(impl_->mutex);
    impl_->collectives = std::move(collectives);
}

void WorkerChannel::set_stacks(std::function<std::string()> stacks) {
    const std::lock_guard lock(impl_->mutex);
    impl_->stacks = std::move(stacks);
}

void WorkerChannel::set_memory(std::uint64_t resident_bytes, std::uint64_t optimizer_bytes) {
    const std::lock_guard lock(impl_->mutex);
    impl_->beat.resident_bytes = resident_bytes;
    impl_->beat.optimizer_bytes = optimizer_bytes;
}

void WorkerChannel::set_phase_seconds(const std::map<std::string, double>& seconds) {
    const std::lock_guard lock(impl_->mutex);
    impl_->beat.phase_seconds = seconds;
}

void WorkerChannel::beat() {
    std::string frame = impl_->heartbeat();
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->outbound.push_back(std::move(frame));
    }
    impl_->wake.notify();
}

bool WorkerChannel::lost() const { return impl_->lost; }

}  // namespace kiban::coordinator
