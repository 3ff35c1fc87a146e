// SPDX-License-Identifier: Apache-2.0
// kiban status --watch: what is drawn, and the real program in a terminal of its own.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <limits>
#include <memory>
#include <regex>
#include <sstream>

#include "coordinator/cli/dashboard.h"
#include "coordinator/cli/sparkline.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/lease.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/status.h"
#include "tests/coordinator/kiban_process.h"
#include "tests/coordinator/made_run.h"

namespace kiban::coordinator {
namespace {

std::size_t columns_of(const std::string& text) {
    std::size_t columns = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\033') {
            while (text[i] != 'm') ++i;
        } else if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) {
            ++columns;
        }
    }
    return columns;
}

TEST(Sparkline, TheLowestValueIsLowAndTheHighestHigh) {
    EXPECT_EQ(sparkline({0, 1, 2, 3, 4, 5, 6, 7}, 8, false), "▁▂▃▄▅▆▇█");
    EXPECT_EQ(sparkline({5, 5, 5}, 8, false), "▁▁▁") << "no more columns than values";
    EXPECT_EQ(sparkline({}, 8, false), "");
    const double nan = std::numeric_limits<double>::quiet_NaN();
    EXPECT_EQ(sparkline({1, nan, 2}, 8, false), "▁ █");
}

TEST(Sparkline, ASpikeOfOneStepIsSeenWhereTheHighestIsAskedFor) {
    std::vector<double> values(10'000, 1.0);
    values[5'050] = 100;
    const std::string highest = sparkline(values, 10, true);
    EXPECT_EQ(highest, "▁▁▁▁▁█▁▁▁▁");
    std::vector<double> halves = {0, 0, 4, 4, 7, 9};
    EXPECT_EQ(sparkline(halves, 3, false), "▁▅█") << "means 0, 4, 8";
}

RunView training_view() {
    RunView view;
    view.life = Life::running;
    view.status.run = "demo";
    view.status.state = "training";
    view.status.attempt = 2;
    view.status.step = 500;
    view.status.steps = 1000;
    view.status.tokens = 512'000;
    view.status.loss = 2.5;
    view.status.eta_seconds = 120;
    view.status.tokens_per_second = 4096;
    view.status.checkpoint = "/r/ckpt/x";
    view.status.checkpoint_step = 450;
    view.status.phase = "learning";
    for (int rank = 0; rank < 40; ++rank)
        view.status.workers.push_back({rank, "node", 1, "forward", 500, 1u << 20, 1024, 0.5});
    return view;
}

std::vector<monitoring::CurveRow> falling(std::uint64_t steps) {
    std::vector<monitoring::CurveRow> rows;
    for (std::uint64_t step = 1; step <= steps; ++step) {
        monitoring::CurveRow row;
        row.step = step;
        row.tokens = 1024 * step;
        row.loss = 5.0 - 2.5 * static_cast<double>(step) / static_cast<double>(steps);
        row.grad_norm = 1;
        row.step_seconds = 0.25;
        rows.push_back(row);
    }
    return rows;
}

TEST(Dashboard, FitsEveryScreenAndSaysTheSame) {
    const std::vector<std::string> events(
        30, "2026-11-26T05:00:00Z restarted because of something that takes many words to tell");
    for (const std::size_t columns : {20u, 40u, 80u, 200u}) {
        for (const std::size_t lines : {1u, 5u, 24u, 100u}) {
            for (const bool color : {false, true}) {
                const auto page = dashboard(training_view(), "training", falling(500), events, {columns, lines, color});
                EXPECT_LE(page.size(), lines);
                for (const std::string& line : page) EXPECT_LE(columns_of(line), columns) << line;
                const bool escapes = fmt::format("{}", fmt::join(page, "")).find('\033') != std::string::npos;
                EXPECT_TRUE(color || !escapes);
            }
        }
    }
}

TEST(Dashboard, ShowsPositionCurvesWorkersAndTheLastEvents) {
    const std::vector<std::string> events = {"first", "second", "third"};
    const auto page = dashboard(training_view(), "training", falling(500), events, {80, 24, false});
    const std::string text = fmt::format("{}", fmt::join(page, "\n"));
    EXPECT_TRUE(contains(text, "demo  attempt 2, 0 restarts: training")) << text;
    EXPECT_TRUE(contains(text, "500 of 1 000  50.0 %  ██████████████░░░░░░░░░░░░░░  2 min 00 s left")) << text;
    EXPECT_TRUE(contains(text, "2.5000")) << text;
    EXPECT_TRUE(contains(text, " 2.5 to 4.995")) << text;
    EXPECT_TRUE(contains(text, "step 450, 50 steps ago")) << text;
    EXPECT_TRUE(contains(text, "worker 0")) << text;
    EXPECT_TRUE(contains(text, " more workers")) << text;
    EXPECT_TRUE(contains(text, "third")) << text;
    EXPECT_TRUE(contains(text, "Ctrl-C leaves; the run goes on")) << text;
}

TEST(Dashboard, SaysWhoStragglesWhatWasRefusedAndWhatWasDecided) {
    RunView view = training_view();
    view.status.workers.resize(2);
    view.status.workers[1].straggler = true;
    view.status.workers[1].own_seconds = 0.25;
    view.status.refused_steps = 3;
    view.status.decision = "restart: worker 1 was killed";
    const auto page = dashboard(view, "training", falling(500), {}, {80, 24, false});
    const std::string text = fmt::format("{}", fmt::join(page, "\n"));
    EXPECT_TRUE(contains(text, "worker 1   straggler (0.250 s a step)  node")) << text;
    EXPECT_FALSE(contains(text, "worker 0   straggler")) << text;
    EXPECT_TRUE(contains(text, "refused    3 steps")) << text;
    EXPECT_TRUE(contains(text, "decision   restart: worker 1 was killed")) << text;
}

TEST(Dashboard, TextFromOutsideMovesNoCursor) {
    RunView view = training_view();
    view.status.run = "de\033[2Jmo\n";
    const auto page = dashboard(view, "x\ry", {}, {}, {80, 24, false});
    for (const std::string& line : page) {
        for (const char byte : line) EXPECT_GE(static_cast<unsigned char>(byte), 0x20) << line;
    }
}

TEST(Dashboard, ControlCharactersOfEveryKindBecomeBlanksAndOtherTextStays) {
    RunView view = training_view();
    const auto first_line = [&](const std::string& name) {
        view.status.run = name;
        return dashboard(view, "training", {}, {}, {80, 24, false}).front();
    };
    const std::string rest = "  attempt 2, 0 restarts: training";
    EXPECT_EQ(first_line("a\x7F"
                         "b"),
              "a b" + rest)
        << "delete";
    EXPECT_EQ(first_line("a\xC2\x80"
                         "b\xC2\x9B"
                         "2J\xC2\x9F"
                         "c"),
              "a b 2J c" + rest)
        << "U+0080, U+009B, U+009F";
    EXPECT_EQ(first_line("\xC2\xA0\xC2\xB5\xE5\x9F\xBA\xF0\x9F\x99\x82"),
              "\xC2\xA0\xC2\xB5\xE5\x9F\xBA\xF0\x9F\x99\x82" + rest);
    EXPECT_EQ(first_line("a\x9B"
                         "2J\xE5\x9F"),
              "a 2J  " + rest)
        << "bytes that are no UTF-8";
}

// A program in a terminal of 80 by 24, and what its screen shows.
class InATerminal {
  public:
    explicit InATerminal(const std::filesystem::path& run_dir, const char* type = "xterm")
        : InATerminal(std::vector<std::string>{KIBAN_BIN_DIR "/kiban", "status", run_dir.string(), "--watch"}, type) {}
    explicit InATerminal(std::vector<std::string> command, const char* type = "xterm") {
        std::vector<char*> arguments;
        for (std::string& argument : command) arguments.push_back(argument.data());
        arguments.push_back(nullptr);
        winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
        child_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
        if (child_ == 0) {
            ::setenv("TERM", type, 1);
            ::unsetenv("NO_COLOR");
            ::execv(arguments[0], arguments.data());
            ::_exit(127);
        }
    }
    ~InATerminal() {
        if (child_ > 0) ::kill(child_, SIGKILL), ::waitpid(child_, nullptr, 0);
        ::close(terminal_);
    }

    // Reads until what was written since the last call holds `text`.
    bool wait_for(const std::string& text) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (!contains(written_, text)) {
            pollfd item{terminal_, POLLIN, 0};
            std::array<char, 4096> part{};
            if (std::chrono::steady_clock::now() > end || ::poll(&item, 1, 1000) < 0) return false;
            const ssize_t got =
                (item.revents & (POLLIN | POLLHUP)) != 0 ? ::read(terminal_, part.data(), part.size()) : 0;
            if (got < 0) return false;  // the program has left
            written_.append(part.data(), static_cast<std::size_t>(got));
        }
        const std::size_t end_of_text = written_.find(text) + text.size();
        last_seen_ = written_.substr(0, end_of_text);
        seen_ += last_seen_;
        written_.erase(0, end_of_text);
        return true;
    }
    void resize(unsigned short columns) const {
        winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
        ::ioctl(terminal_, TIOCSWINSZ, &size);
    }
    void type(const std::string& keys) const { (void)!::write(terminal_, keys.data(), keys.size()); }
    int exit_code() {
        int status = 0;
        ::waitpid(child_, &status, 0);
        child_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    const std::string& seen() const { return seen_; }
    // What came since the wait before last, up to the end of what the last one waited for.
    const std::string& last_seen() const { return last_seen_; }

  private:
    pid_t child_ = -1;
    int terminal_ = -1;
    std::string written_;
    std::string seen_;
    std::string last_seen_;
};

void claim_for_this_process(const MadeRun& made, std::uint64_t step) {
    const RunDirectory directory(made.run_dir);
    RunStatus status = *read_status(directory.status());
    status.state = "training";
    status.pid = ::getpid();
    status.step = step;
    write_status(directory.status(), status);
}

TEST(Watch, ATerminalShowsALivePageAndIsGivenBackAsItWas) {
    const MadeRun made;
    const Lease lease = Lease::acquire(made.run_dir);
    claim_for_this_process(made, 7);
    InATerminal terminal(made.run_dir);
    ASSERT_TRUE(terminal.wait_for("\033[?1049h\033[?25l")) << "another screen, no cursor";
    ASSERT_TRUE(terminal.wait_for("7\033[0m of 20  35.0 %"));
    ASSERT_TRUE(terminal.wait_for("Ctrl-C leaves"));
    EXPECT_TRUE(contains(terminal.seen(), "█")) << "a curve";
    claim_for_this_process(made, 11);
    ASSERT_TRUE(terminal.wait_for("11\033[0m of 20")) << "the page is drawn again";
    terminal.type("\x03");
    ASSERT_TRUE(terminal.wait_for("\033[?7h\033[?25h\033[?1049l")) << "given back";
    EXPECT_EQ(terminal.exit_code(), 0);
}

// Of the longest line of a page, without what is no text.
std::size_t widest_line(const std::string& page) {
    static const std::regex kControl("\033\\[[0-9;?]*[A-Za-z]|\r");
    std::size_t widest = 0;
    std::istringstream lines(std::regex_replace(page, kControl, ""));
    for (std::string line; std::getline(lines, line);) widest = std::max(widest, columns_of(line));
    return widest;
}

TEST(Watch, APageIsAsWideAsTheTerminalAndFollowsItsSize) {
    const MadeRun made;
    const Lease lease = Lease::acquire(made.run_dir);
    claim_for_this_process(made, 7);
    InATerminal terminal(made.run_dir);
    const auto next_page = [&] {  // whole: from its first line to the last
        ASSERT_TRUE(terminal.wait_for("\033[H"));
        ASSERT_TRUE(terminal.wait_for("\033[K\033[J"));
    };
    next_page();
    EXPECT_GT(widest_line(terminal.last_seen()), 60u) << terminal.last_seen();
    terminal.resize(40);
    for (int page = 0; page < 30; ++page) {  // some may have been on their way
        next_page();
        if (widest_line(terminal.last_seen()) <= 40) break;
    }
    EXPECT_EQ(widest_line(terminal.last_seen()), 40u) << terminal.last_seen();
}

TEST(Watch, AStoppedOneLeavesTheTerminalToTheShellAndTakesItAgainWhenItGoesOn) {
    const MadeRun made;
    const Lease lease = Lease::acquire(made.run_dir);
    claim_for_this_process(made, 7);
    InATerminal shell({"/bin/bash", "--norc", "--noprofile", "--noediting", "-i"});
    shell.type(
        fmt::format("unset HISTFILE; ulimit -c 0; " KIBAN_BIN_DIR "/kiban status {} --watch\n", made.run_dir.string()));
    ASSERT_TRUE(shell.wait_for("\033[?1049h\033[?25l"));
    ASSERT_TRUE(shell.wait_for("Ctrl-C leaves"));
    shell.type("\x1A");
    ASSERT_TRUE(shell.wait_for("\033[?7h\033[?25h\033[?1049l"));
    ASSERT_TRUE(shell.wait_for("Stopped"));
    shell.type("bg; echo in the $((3 * 5))th row\n");
    ASSERT_TRUE(shell.wait_for("in the 15th row"));
    shell.type("sleep 1.5; echo still $((4 * 4))\n");
    ASSERT_TRUE(shell.wait_for("still 16"));
    EXPECT_FALSE(contains(shell.last_seen(), "\033[H")) << "in the background it draws nothing: " << shell.last_seen();
    shell.type("fg\n");
    ASSERT_TRUE(shell.wait_for("\033[?1049h\033[?25l"));
    ASSERT_TRUE(shell.wait_for("Ctrl-C leaves"));
    shell.type("\x1C");
    ASSERT_TRUE(shell.wait_for("\033[?7h\033[?25h\033[?1049l")) << "Ctrl-\\ gives it back too";
    ASSERT_TRUE(shell.wait_for("Quit"));
    shell.type("exit 3\n");
    EXPECT_EQ(shell.exit_code(), 3);
}

TEST(Watch, WhereNobodyCouldContinueItItIsNotStopped) {
    const MadeRun made;
    const Lease lease = Lease::acquire(made.run_dir);
    claim_for_this_process(made, 7);
    InATerminal terminal(made.run_dir);  // no shell around it
    ASSERT_TRUE(terminal.wait_for("Ctrl-C leaves"));
    terminal.type("\x1A");
    ASSERT_TRUE(terminal.wait_for("\033[?1049l\033[?1049h"));
    ASSERT_TRUE(terminal.wait_for("Ctrl-C leaves"));
    terminal.type("\x03");
    ASSERT_TRUE(terminal.wait_for("\033[?1049l"));
    EXPECT_EQ(terminal.exit_code(), 0);
}

TEST(Watch, ATerminalThatCannotBeDrawnOnGetsPlainLines) {
    const MadeRun made;
    const Lease lease = Lease::acquire(made.run_dir);
    claim_for_this_process(made, 7);
    for (const char* type : {"dumb", ""}) {
        InATerminal terminal(made.run_dir, type);
        ASSERT_TRUE(terminal.wait_for("  step        7 of 20 (35.0 %)"));
        ASSERT_TRUE(terminal.wait_for("  step        7 of 20 (35.0 %)")) << "again each second";
        EXPECT_FALSE(contains(terminal.seen(), "\033")) << terminal.seen();
    }
}

// A process of its own that drives the run, and can end.
class Owner {
  public:
    explicit Owner(const std::filesystem::path& run_dir) : process_(::fork()) {
        if (process_ == 0) {
            const Lease lease = Lease::acquire(run_dir);
            while (true) ::pause();
        }
        while (!lease_owner(run_dir).alive) ::usleep(1000);
    }
    ~Owner() { end(); }
    void end() {
        if (process_ > 0) ::kill(process_, SIGKILL), ::waitpid(process_, nullptr, 0);
        process_ = -1;
    }

  private:
    pid_t process_;
};

TEST(Watch, WhenTheRunEndsItsLastStateStaysOnTheScreen) {
    const MadeRun made;
    Owner owner(made.run_dir);
    claim_for_this_process(made, 7);
    InATerminal terminal(made.run_dir);
    ASSERT_TRUE(terminal.wait_for("Ctrl-C leaves"));
    const RunDirectory directory(made.run_dir);
    RunStatus status = *read_status(directory.status());
    status.state = "done";
    write_status(directory.status(), status);
    owner.end();
    ASSERT_TRUE(terminal.wait_for("\033[?1049l"));
    ASSERT_TRUE(terminal.wait_for("step        20 of 20"));
    EXPECT_EQ(terminal.exit_code(), 0);
}

}  // namespace
}  // namespace kiban::coordinator
