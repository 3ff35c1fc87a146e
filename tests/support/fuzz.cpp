// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fuzz.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>

#include "monitoring/error.h"

namespace kiban::testing {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr unsigned kHangSeconds = 900;  // much slower
#else
constexpr unsigned kHangSeconds = 60;
#endif
constexpr std::uint64_t kExecutionsAnAlarm = 256;

const std::string* current = nullptr;  // for the signal handler

// Async-signal-safe calls only.
void tell_and_die(int signal) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::array<char, 2> hex{};
    const auto write_out = [](const char* text, std::size_t bytes) {
        [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, bytes);
    };
    const std::string_view what = signal == SIGALRM ? "hang; input " : "crash; input ";
    write_out(what.data(), what.size());
    for (std::size_t i = 0; current != nullptr && i < std::min<std::size_t>(current->size(), 1u << 16); ++i) {
        const auto byte = static_cast<unsigned char>((*current)[i]);
        hex = {kDigits[byte >> 4], kDigits[byte & 15]};
        write_out(hex.data(), hex.size());
    }
    write_out("\n", 1);
    ::_exit(1);
}

void watch_for_crashes() {
    static std::array<char, 1u << 16> stack{};  // a crash may be that the other one is used up
    stack_t other{};
    other.ss_sp = stack.data();
    other.ss_size = stack.size();
    ::sigaltstack(&other, nullptr);
    struct sigaction action {};
    action.sa_handler = tell_and_die;
    action.sa_flags = SA_ONSTACK;
    for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM}) ::sigaction(signal, &action, nullptr);
}

class Mutator {
  public:
    Mutator(const FuzzTarget& target, std::uint64_t seed) : target_(target), random_(seed) {}

    std::string mutated() {
        std::string text = pick(target_.corpus);
        for (std::size_t i = below(4) + 1; i > 0; --i) change(text);
        if (target_.mend && below(4) != 0) target_.mend(text);
        return text;
    }

  private:
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }
    const std::string& pick(const std::vector<std::string>& from) { return from[below(from.size())]; }
    std::size_t place(const std::string& text) { return text.empty() ? 0 : below(text.size()); }

    void change(std::string& text) {
        const std::size_t at = place(text);
        const std::size_t length = below(8) + 1;
        switch (below(7)) {
            case 0:
                if (!text.empty()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
                break;
            case 1: text.insert(at, pick(target_.tokens)); break;
            case 2: text.replace(at, std::min(length, text.size() - at), pick(target_.tokens)); break;
            case 3: text.erase(at, length); break;
            case 4: text.insert(at, 1, static_cast<char>(random_())); break;
            case 5: {
                const std::string& other = pick(target_.corpus);
                text.insert(at, other.substr(place(other), below(60)));
                break;
            }
            default: text.resize(at); break;
        }
    }

    const FuzzTarget& target_;
    std::mt19937_64 random_;
};

std::uint64_t replay(const FuzzTarget& target) {
    std::uint64_t accepted = 0;
    for (const std::string& known : target.corpus) {
        current = &known;
        accepted += target.execute(known);
    }
    for (const std::string& large : target.replayed) {
        current = &large;
        accepted += target.execute(large);
    }
    if (accepted == target.good) return accepted;
    throw InternalError("expected {} good files in the corpus, found {}", target.good, accepted);
}

int run(const FuzzTarget& target, std::uint64_t executions, std::uint64_t seed) {
    Mutator mutator(target, seed);
    std::uint64_t accepted = 0;
    std::string input;
    try {
        ::alarm(kHangSeconds);
        accepted = replay(target);
        current = &input;
        for (std::uint64_t i = 0; i < executions; ++i) {
            if (i % kExecutionsAnAlarm == 0) ::alarm(kHangSeconds);
            input = mutator.mutated();
            accepted += target.execute(input);
        }
    } catch (const std::exception& error) {
        std::string hex;
        if (current != nullptr) {
            for (const char c : *current) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
        }
        fmt::print(stderr, "{}: {}\ninput {}\n", type_name_of(error), error.what(), hex);
        return 1;
    }
    current = nullptr;
    fmt::print("{} executions, seed {}: {} accepted, the others refused\n", executions + target.corpus.size(), seed,
               accepted);
    return accepted > executions / 1000 ? 0 : 1;
}

}  // namespace

std::filesystem::path fuzz_directory() {
    const std::filesystem::path memory = "/dev/shm";
    std::error_code error;
    return std::filesystem::is_directory(memory, error) ? memory : std::filesystem::temp_directory_path();
}

int fuzz(const FuzzTarget& target, int argc, char** argv) {
    if (argc < 2) {
        fmt::print(stderr, "expected EXECUTIONS [SEED]\n");
        return 64;
    }
    watch_for_crashes();
    return run(target, std::strtoull(argv[1], nullptr, 10), argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
}

}  // namespace kiban::testing
