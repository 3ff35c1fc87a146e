// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <zmq.h>
#include <zmq.hpp>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <thread>
#include <tuple>
#include <vector>

#include "coordinator/protocol/coordinator_channel.h"
#include "coordinator/protocol/wire.h"
#include "coordinator/protocol/worker_channel.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

class Channel : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "kiban-channel-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        run_dir_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(run_dir_); }

    CoordinatorChannelOptions options(std::uint32_t attempt = 1) const {
        return {
            .run_dir = run_dir_, .run_id = "run-a", .attempt = attempt, .workers = 2, .heartbeat_timeout_seconds = 30};
    }

    static Hello hello(int rank) {
        Hello hello;
        hello.rank = rank;
        hello.world_size = 2;
        hello.host = "here";
        return hello;
    }

    // The next arrival that is not a heartbeat.
    static Arrival next(CoordinatorChannel& channel) {
        static std::deque<Arrival> waiting;
        const double end = monotonic_seconds() + 5;
        while (waiting.empty() && monotonic_seconds() < end) {
            pollfd descriptor{channel.descriptor(), POLLIN, 0};
            ::poll(&descriptor, 1, 100);
            for (Arrival& arrival : channel.take()) {
                if (!std::holds_alternative<Heartbeat>(arrival.message)) waiting.push_back(std::move(arrival));
            }
        }
        if (waiting.empty()) throw std::runtime_error("nothing arrived within 5 s");
        Arrival first = std::move(waiting.front());
        waiting.pop_front();
        return first;
    }

    // Whether the channel has refused something since this was made.
    static std::function<bool()> refused_by(const CoordinatorChannel& channel) {
        const auto all = [&channel] {
            const Refusals refusals = channel.refusals();
            return refusals.without_key + refusals.other_attempt + refusals.malformed;
        };
        return [all, before = all()] { return all() > before; };
    }
    // For what is refused without a count, and what is not refused.
    static bool never() { return false; }
    static std::function<bool()> after_a_while() {
        return [until = monotonic_seconds() + 0.4] { return monotonic_seconds() > until; };
    }

    // A peer that speaks ZeroMQ but is not one of ours. Answers whether anything comes back, which is waited for until
    // `refused` (and a moment longer, for an answer all the same).
    bool raw_peer_hears_something(const std::string& frame, const std::string& routing_id, const KeyPair* keys,
                                  const std::function<bool()>& refused) const {
        const ChannelAddress address = read_address(run_dir_, 1);
        zmq::context_t context;
        zmq::socket_t socket(context, zmq::socket_type::dealer);
        socket.set(zmq::sockopt::linger, 0);
        socket.set(zmq::sockopt::routing_id, routing_id);
        if (keys != nullptr) {
            socket.set(zmq::sockopt::curve_serverkey, address.server_key);
            socket.set(zmq::sockopt::curve_publickey, keys->public_key);
            socket.set(zmq::sockopt::curve_secretkey, keys->secret_key);
        }
        socket.connect(fmt::format("tcp://127.0.0.1:{}", address.port));
        socket.send(zmq::buffer(frame), zmq::send_flags::none);
        zmq::pollitem_t item{socket.handle(), 0, ZMQ_POLLIN, 0};
        const auto hears = [&](int milliseconds) {
            zmq::poll(&item, 1, std::chrono::milliseconds(milliseconds));
            return (item.revents & ZMQ_POLLIN) != 0;
        };
        const double end = monotonic_seconds() + 60;
        while (!refused() && !hears(20) && monotonic_seconds() < end) {
        }
        return hears(100);
    }

    std::filesystem::path run_dir_;
};

std::string sealed_hello(const std::string& run, std::uint32_t attempt, int rank) {
    Hello hello;
    hello.rank = rank;
    return seal(run, attempt, to_json(WorkerMessage(hello)));
}

TEST_F(Channel, ATakerGetsItsMessagesAsTheyComeAlsoThoseThatCameBeforeIt) {
    CoordinatorChannel coordinator(options());
    WorkerChannel worker(run_dir_, 1, hello(0), 5);
    next(coordinator);
    coordinator.send(0, SaveResult{7, true, ""});
    coordinator.send(0, SaveInterval{3});
    EXPECT_EQ(std::get<SaveResult>(worker.receive(5).value()).step, 7U);
    coordinator.send(0, SaveResult{8, true, ""});
    coordinator.send(0, SaveInterval{4});
    coordinator.send(0, SaveResult{9, true, ""});
    std::atomic<std::uint64_t> taken = 0;
    EXPECT_EQ(std::get<SaveInterval>(worker.receive(5).value()).steps, 3U);
    worker.set_taker([&taken](const CoordinatorMessage& message) {
        const auto* result = std::get_if<SaveResult>(&message);
        if (result != nullptr) taken = taken * 10 + result->step;
        return result != nullptr;
    });
    EXPECT_EQ(std::get<SaveInterval>(worker.receive(5).value()).steps, 4U);
    for (const double end = monotonic_seconds() + 5; taken != 89 && monotonic_seconds() < end;)
        std::this_thread::yield();
    EXPECT_EQ(taken, 89U);
    worker.set_taker({});
    coordinator.send(0, SaveResult{1, true, ""});
    EXPECT_EQ(std::get<SaveResult>(worker.receive(5).value()).step, 1U);
    EXPECT_EQ(taken, 89U);
}

TEST_F(Channel, MessagesTravelBothWaysInOrder) {
    CoordinatorChannel coordinator(options());
    WorkerChannel first(run_dir_, 1, hello(0), 5);
    WorkerChannel second(run_dir_, 1, hello(1), 5);
    std::set<int> ranks = {next(coordinator).rank, next(coordinator).rank};
    EXPECT_EQ(ranks, (std::set<int>{0, 1}));

    for (std::uint64_t step = 1; step <= 500; ++step) {
        StepReport report;
        report.step = step;
        first.send(report);
    }
    for (std::uint64_t step = 1; step <= 500; ++step) {
        const Arrival arrival = next(coordinator);
        EXPECT_EQ(arrival.rank, 0);
        ASSERT_EQ(std::get<StepReport>(arrival.message).step, step);
    }
    coordinator.send(1, Stop{"for one"});
    coordinator.send_to_all(SaveResult{7, true, ""});
    EXPECT_EQ(std::get<Stop>(second.receive(5).value()).reason, "for one");
    EXPECT_EQ(std::get<SaveResult>(second.receive(5).value()).step, 7u);
    EXPECT_EQ(std::get<SaveResult>(first.receive(5).value()).step, 7u);
    EXPECT_FALSE(first.receive(0).has_value());
}

TEST_F(Channel, HeartbeatsCarryThePhaseOfTheMoment) {
    CoordinatorChannel coordinator(options());
    WorkerChannel worker(run_dir_, 1, hello(0), 5);
    worker.set_collective([] { return std::uint64_t{34}; });
    worker.set_memory(1000, 2000);
    worker.set_phase("forward", 12);  // last: a heartbeat may come in between
    const double end = monotonic_seconds() + 5;
    while (monotonic_seconds() < end) {
        for (const Arrival& arrival : coordinator.take()) {
            const auto* beat = std::get_if<Heartbeat>(&arrival.message);
            if (beat == nullptr || beat->phase != "forward") continue;
            EXPECT_EQ(beat->step, 12u);
            EXPECT_EQ(beat->collective, 34u);
            EXPECT_EQ(beat->resident_bytes, 1000u);
            EXPECT_EQ(beat->optimizer_bytes, 2000u);
            return;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    FAIL() << "no heartbeat with the phase within 5 s";
}

TEST_F(Channel, APeerWithoutTheKeyCanNeitherJoinNorListen) {
    CoordinatorChannel coordinator(options());
    const KeyPair stranger = make_key_pair();
    EXPECT_FALSE(raw_peer_hears_something(sealed_hello("run-a", 1, 0), "worker-0", &stranger, refused_by(coordinator)));
    EXPECT_GE(coordinator.refusals().without_key, 1u);
    EXPECT_FALSE(raw_peer_hears_something(sealed_hello("run-a", 1, 0), "worker-0", nullptr, after_a_while()));
    EXPECT_TRUE(coordinator.take().empty());
    coordinator.send_to_all(Stop{"secret"});
    EXPECT_FALSE(raw_peer_hears_something(sealed_hello("run-a", 1, 1), "worker-1", &stranger, refused_by(coordinator)));
    EXPECT_TRUE(coordinator.take().empty());
}

TEST_F(Channel, TheKeyOpensTheDoorForARawPeerToo) {
    CoordinatorChannel coordinator(options());
    const KeyPair keys = read_client_keys(run_dir_, 1);
    EXPECT_TRUE(raw_peer_hears_something(sealed_hello("run-a", 1, 0), "worker-0", &keys, never));
}

TEST_F(Channel, MessagesOfAnotherRunOrAttemptAreRefusedAndCounted) {
    CoordinatorChannel coordinator(options());
    const KeyPair keys = read_client_keys(run_dir_, 1);
    EXPECT_FALSE(raw_peer_hears_something(sealed_hello("run-b", 1, 0), "worker-0", &keys, refused_by(coordinator)));
    EXPECT_FALSE(raw_peer_hears_something(sealed_hello("run-a", 2, 0), "worker-0", &keys, refused_by(coordinator)));
    EXPECT_EQ(coordinator.refusals().other_attempt, 2u);
    EXPECT_TRUE(coordinator.take().empty());
}

TEST_F(Channel, MalformedMessagesAreRefusedAndCounted) {
    CoordinatorChannel coordinator(options());
    const KeyPair keys = read_client_keys(run_dir_, 1);
    const std::vector<std::pair<std::string, std::string>> peers = {{"worker-0", "rubbish"},
                                                                    {"worker-0", "{}"},
                                                                    {"worker-0", seal("run-a", 1, {{"type", "party"}})},
                                                                    {"worker-2", sealed_hello("run-a", 1, 2)},
                                                                    {"nobody", sealed_hello("run-a", 1, 0)},
                                                                    {"worker-1", sealed_hello("run-a", 1, 0)}};
    for (const auto& [id, frame] : peers)
        EXPECT_FALSE(raw_peer_hears_something(frame, id, &keys, refused_by(coordinator))) << id << ' ' << frame;
    EXPECT_EQ(coordinator.refusals().malformed, peers.size());
    EXPECT_TRUE(coordinator.take().empty());
}

TEST_F(Channel, AnOldAttemptCannotReconnect) {
    KeyPair old;
    {
        const CoordinatorChannel first(options());
        old = read_client_keys(run_dir_, 1);
    }
    EXPECT_FALSE(std::filesystem::exists(key_file(run_dir_, 1)));
    CoordinatorChannel second(options());
    EXPECT_FALSE(raw_peer_hears_something(sealed_hello("run-a", 1, 0), "worker-0", &old, refused_by(second)));
    EXPECT_GE(second.refusals().without_key, 1u);
}

TEST_F(Channel, TheKeyIsReadableByItsOwnerAlone) {
    const CoordinatorChannel coordinator(options());
    struct stat status {};
    ASSERT_EQ(::stat((run_dir_ / "keys").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0700u);
    ASSERT_EQ(::stat(key_file(run_dir_, 1).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0600u);
    EXPECT_EQ(monitoring::read_text(address_file(run_dir_, 1)).find(read_client_keys(run_dir_, 1).secret_key),
              std::string::npos);
    ASSERT_EQ(::chmod(key_file(run_dir_, 1).c_str(), 0644), 0);
    try {
        const WorkerChannel worker(run_dir_, 1, hello(0), 1);
        FAIL() << "a key that everybody can read was taken";
    } catch (const ConfigError& error) {
        EXPECT_NE(std::string(error.what()).find("others may read it (mode 644, expected 600)"), std::string::npos);
    }
}

TEST_F(Channel, ALooseUmaskAndDirectoryMakeNoKeyPublicAndItGoesWithTheAttempt) {
    std::filesystem::create_directory(run_dir_ / "keys");
    std::filesystem::permissions(run_dir_ / "keys", std::filesystem::perms::all);
    const mode_t before = ::umask(0);
    auto coordinator = std::make_unique<CoordinatorChannel>(options());
    ::umask(before);
    struct stat status {};
    ASSERT_EQ(::stat((run_dir_ / "keys").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0700u);
    ASSERT_EQ(::stat(key_file(run_dir_, 1).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0600u);
    coordinator.reset();
    EXPECT_FALSE(std::filesystem::exists(key_file(run_dir_, 1)));
    EXPECT_THROW(read_client_keys(run_dir_, 1), CommError);
}

TEST_F(Channel, FilesThatAreNoKeysAndNoAddressAreRefusedByField) {
    const CoordinatorChannel coordinator(options());
    const auto refusal = [&](const std::filesystem::path& file, const char* name, const nlohmann::json& value) {
        const std::string whole = monitoring::read_text(file);
        nlohmann::json content = nlohmann::json::parse(whole);
        content[name] = value;
        monitoring::publish_private(file, content.dump());
        std::string message = "accepted";
        try {
            const WorkerChannel worker(run_dir_, 1, hello(0), 0.2);
        } catch (const CommError& error) {
            message = error.what();
        }
        monitoring::publish_private(file, whole);
        return message;
    };
    const auto keys = key_file(run_dir_, 1);
    const auto address = address_file(run_dir_, 1);
    const std::vector<std::tuple<std::filesystem::path, const char*, nlohmann::json, const char*>> cases = {
        {keys, "secret", "short", "field 'secret': expected 40 characters of Z85, found 5"},
        {keys, "public", std::string(40, ' '), "field 'public': expected 40 characters of Z85"},
        {keys, "secret", 7, "field 'secret': "},
        {address, "server_key", "", "field 'server_key': expected 40 characters of Z85, found 0"},
        {address, "port", 65536, "field 'port': expected 1 to 65535, found 65536"},
        {address, "port", -1, "field 'port': expected 1 to 65535, found -1"},
        {address, "heartbeat_timeout_seconds", -1, "expected a number above 0, found -1"},
        {address, "addresses", nlohmann::json::array(), "field 'addresses' is empty"},
        {address, "format", 2, "format 2, this version reads 1"}};
    for (const auto& [file, name, value, expected] : cases) {
        const std::string message = refusal(file, name, value);
        EXPECT_NE(message.find(expected), std::string::npos) << message;
    }
    EXPECT_NO_THROW(WorkerChannel(run_dir_, 1, hello(0), 5));
}

TEST_F(Channel, AWorkerNoticesThatTheCoordinatorIsGone) {
    CoordinatorChannelOptions quick = options();
    quick.heartbeat_timeout_seconds = 1.5;
    auto coordinator = std::make_unique<CoordinatorChannel>(quick);
    WorkerChannel worker(run_dir_, 1, hello(0), 5);
    EXPECT_FALSE(worker.receive(2.5).has_value());  // longer than the timeout, but every heartbeat is answered
    EXPECT_FALSE(worker.lost());
    coordinator.reset();
    try {
        worker.receive(10);
        FAIL() << "the loss went unnoticed";
    } catch (const CommError& error) {
        EXPECT_NE(std::string(error.what()).find("the coordinator has been silent for 1.5 s"), std::string::npos);
        EXPECT_EQ(error.exit_code(), kExitRequeue);
    }
    EXPECT_TRUE(worker.lost());
    EXPECT_THROW(worker.send(TaskRequest{}), CommError);
}

TEST_F(Channel, DialingACoordinatorThatIsNotThereSaysSo) {
    { const CoordinatorChannel gone(options()); }
    write_channel_files(run_dir_, read_address(run_dir_, 1), make_key_pair());
    try {
        const WorkerChannel worker(run_dir_, 1, hello(0), 0.5);
        FAIL() << "it connected";
    } catch (const CommError& error) {
        EXPECT_NE(std::string(error.what()).find("no answer, or this key is not let in"), std::string::npos);
    }
    EXPECT_THROW(WorkerChannel(run_dir_, 2, hello(0), 0.5), CommError);  // never announced
}

// More than a socket holds, and no more than a worker that leaves has time for.
#ifdef __SANITIZE_THREAD__
constexpr std::uint64_t kManyMessages = 200;
#else
constexpr std::uint64_t kManyMessages = 3000;
#endif

TEST_F(Channel, WhatWasSentLastStillArrivesWhenTheWorkerLeavesAtOnce) {
    CoordinatorChannel coordinator(options());
    {
        WorkerChannel worker(run_dir_, 1, hello(0), 5);
        for (std::uint64_t id = 0; id < kManyMessages; ++id) worker.send(TaskDone{id, nullptr});
        worker.send(Failure{"DataError", "bad line", 3, 65});
    }
    next(coordinator);  // hello
    for (std::uint64_t id = 0; id < kManyMessages; ++id)
        ASSERT_EQ(std::get<TaskDone>(next(coordinator).message).id, id);
    EXPECT_EQ(std::get<Failure>(next(coordinator).message).message, "bad line");
}

TEST_F(Channel, AnInterfaceThatIsNotThereIsNamed) {
    CoordinatorChannelOptions wrong = options();
    wrong.control_interface = "203.0.113.7";
    try {
        const CoordinatorChannel channel(wrong);
        FAIL() << "it bound";
    } catch (const ConfigError& error) {
        EXPECT_NE(std::string(error.what()).find("launch.control_interface '203.0.113.7'"), std::string::npos)
            << error.what();
    }
}

TEST_F(Channel, AWorkerMayNameSeveralAddressesOfWhichOneAnswers) {
    CoordinatorChannel coordinator(options());
    ChannelAddress address = read_address(run_dir_, 1);
    address.addresses = {"127.0.0.9", "127.0.0.1"};  // nobody listens at the first
    write_channel_files(run_dir_, address, read_client_keys(run_dir_, 1));
    WorkerChannel worker(run_dir_, 1, hello(1), 4);
    EXPECT_EQ(next(coordinator).rank, 1);
}

}  // namespace
}  // namespace kiban::coordinator
