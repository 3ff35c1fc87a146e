// SPDX-License-Identifier: Apache-2.0
#include "coordinator/cli/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace kiban::coordinator {
namespace {

std::array<volatile std::sig_atomic_t, NSIG> arrived{};

void on_signal(int signal) { arrived[static_cast<std::size_t>(signal)] = 1; }

bool take_arrived(int signal) {
    const bool was = arrived[static_cast<std::size_t>(signal)] != 0;
    arrived[static_cast<std::size_t>(signal)] = 0;
    return was;
}

void say(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
}

// Where it is no controlling terminal of ours there is no background.
bool in_front() {
    const pid_t front = ::tcgetpgrp(STDOUT_FILENO);
    return front < 0 || front == ::getpgrp();
}

sigset_t set_of(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}

}  // namespace

bool Terminal::is_there() {
    const char* type = std::getenv("TERM");
    const std::string_view name = type != nullptr ? type : "";
    return ::isatty(STDOUT_FILENO) == 1 && !name.empty() && name != "dumb";
}

// The signals are held back but for wait(), so that none is lost between two looks at what arrived. What whoever
// started this process ignores stays ignored.
Terminal::Terminal() {
    ::sigprocmask(SIG_SETMASK, nullptr, &mask_before_);
    mask_in_wait_ = mask_before_;
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
        const sigset_t one = set_of(kSignals[i]);
        ::sigprocmask(SIG_BLOCK, &one, nullptr);
        sigdelset(&mask_in_wait_, kSignals[i]);
        take_arrived(kSignals[i]);
        ::sigaction(kSignals[i], nullptr, &before_[i]);
        if (before_[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);
    }
    take();
}

Terminal::~Terminal() {
    give_back();
    for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
    ::sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
}

void Terminal::take() {
    if (taken_ || !in_front()) return;
    say("\033[?1049h\033[?25l\033[?7l");  // and what is too wide is cut
    taken_ = true;
}

void Terminal::give_back() {
    if (taken_) say("\033[?7h\033[?25h\033[?1049l");
    taken_ = false;
}

Screen Terminal::screen() const {
    Screen screen;
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        screen.columns = size.ws_col;
        screen.lines = size.ws_row;
    }
    screen.color = std::getenv("NO_COLOR") == nullptr;
    return screen;
}

// Line over line, each cleared behind its text, so that nothing flickers.
void Terminal::show(const std::vector<std::string>& lines) const {
    if (!taken_ || !in_front()) return;
    std::string page = "\033[H";
    for (std::size_t i = 0; i < lines.size(); ++i) {
        page += lines[i];
        page += i + 1 < lines.size() ? "\033[K\r\n" : "\033[K\033[J";
    }
    say(page);
}

// As if it had never been caught. Returns when the process goes on: at once where nobody could continue it, since the
// system then does not stop it.
void Terminal::die_or_stop_of(int signal) {
    give_back();
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    struct sigaction own {};
    const sigset_t one = set_of(signal);
    ::sigaction(signal, &action, &own);
    ::raise(signal);
    ::sigprocmask(SIG_UNBLOCK, &one, nullptr);
    ::sigprocmask(SIG_BLOCK, &one, nullptr);
    ::sigaction(signal, &own, nullptr);
}

bool Terminal::wait(double seconds) {
    double whole = 0;
    const double part = std::modf(seconds, &whole);
    const timespec time{.tv_sec = static_cast<time_t>(whole), .tv_nsec = static_cast<long>(part * 1e9)};
    ::ppoll(nullptr, 0, &time, &mask_in_wait_);
    if (take_arrived(SIGQUIT)) die_or_stop_of(SIGQUIT);
    if (take_arrived(SIGTSTP)) die_or_stop_of(SIGTSTP);
    take();  // not only after SIGCONT: a shell need not send one with `fg` to what runs in the background
    const bool interrupted = take_arrived(SIGINT);
    return !take_arrived(SIGTERM) && !interrupted;
}

}  // namespace kiban::coordinator
