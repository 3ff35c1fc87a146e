// SPDX-License-Identifier: Apache-2.0
#include "coordinator/cli/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace kiban::coordinator {
namespace {

volatile std::sig_atomic_t leave = 0;

void on_leave(int /*signal*/) { leave = 1; }
void on_size(int /*signal*/) {}  // only ends a wait

void say(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
}

void handle(int signal, void (*handler)(int)) {
    struct sigaction action {};
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);  // without SA_RESTART: it ends a wait
}

}  // namespace

Terminal::Terminal() {
    leave = 0;
    handle(SIGINT, on_leave);
    handle(SIGTERM, on_leave);
    handle(SIGWINCH, on_size);
    say("\033[?1049h\033[?25l\033[?7l");  // and what is too wide is cut
}

Terminal::~Terminal() {
    say("\033[?7h\033[?25h\033[?1049l");
    for (const int signal : {SIGINT, SIGTERM, SIGWINCH}) handle(signal, SIG_DFL);
}

Screen Terminal::screen() const {
    Screen screen;
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        screen.columns = size.ws_col;
        screen.lines = size.ws_row;
    }
    const char* type = std::getenv("TERM");
    screen.color = std::getenv("NO_COLOR") == nullptr && (type == nullptr || std::string_view(type) != "dumb");
    return screen;
}

// Line over line, each cleared behind its text, so that nothing flickers.
void Terminal::show(const std::vector<std::string>& lines) const {
    std::string page = "\033[H";
    for (std::size_t i = 0; i < lines.size(); ++i) {
        page += lines[i];
        page += i + 1 < lines.size() ? "\033[K\r\n" : "\033[K\033[J";
    }
    say(page);
}

bool Terminal::wait(double seconds) const {
    if (leave == 0) ::poll(nullptr, 0, static_cast<int>(seconds * 1000));
    return leave == 0;
}

}  // namespace kiban::coordinator
