// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/console.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <utility>

namespace kiban::coordinator {
namespace {

class ConsoleSink : public spdlog::sinks::base_sink<std::mutex> {
  public:
    explicit ConsoleSink(std::shared_ptr<Console> console) : console_(std::move(console)) {}

  protected:
    void sink_it_(const spdlog::details::log_msg& message) override {
        spdlog::memory_buf_t buffer;
        formatter_->format(message, buffer);
        console_->line(fmt::to_string(buffer), message.level >= spdlog::level::warn);
    }
    void flush_() override {}

  private:
    std::shared_ptr<Console> console_;
};

}  // namespace

Console::~Console() { end_progress(); }

void Console::clear() {
    if (live_ && !shown_.empty()) std::fputs("\r\x1b[K", stdout);
    std::fflush(stdout);
}

void Console::progress(const std::string& text) {
    const std::lock_guard lock(mutex_);
    clear();
    if (live_) shown_ = text;
    std::fputs(live_ ? text.c_str() : (text + "\n").c_str(), stdout);
    std::fflush(stdout);
}

void Console::end_progress() {
    const std::lock_guard lock(mutex_);
    if (!shown_.empty()) std::fputs("\n", stdout);
    shown_.clear();
    std::fflush(stdout);
}

void Console::line(const std::string& text, bool is_warning) {
    const std::lock_guard lock(mutex_);
    clear();
    std::FILE* out = is_warning ? stderr : stdout;
    std::fputs((text + "\n").c_str(), out);
    std::fflush(out);
    std::fputs(shown_.c_str(), stdout);
    std::fflush(stdout);
}

void show_log_on(std::shared_ptr<Console> console) {
    auto sink = std::make_shared<ConsoleSink>(std::move(console));
    sink->set_formatter(
        std::make_unique<spdlog::pattern_formatter>("%H:%M:%S %v", spdlog::pattern_time_type::local, ""));
    spdlog::default_logger()->sinks().push_back(std::move(sink));
}

}  // namespace kiban::coordinator
