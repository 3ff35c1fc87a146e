// SPDX-License-Identifier: Apache-2.0
#include "coordinator/cli/dashboard.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "coordinator/cli/readable.h"
#include "coordinator/cli/sparkline.h"
#include "monitoring/utf8.h"

namespace kiban::coordinator {
namespace {

using Rows = std::vector<monitoring::CurveRow>;

constexpr const char* kBold = "1";
constexpr const char* kSoft = "2";
constexpr const char* kCurveColor = "36";
constexpr const char* kBarColor = "32";
constexpr std::size_t kLabel = 11;
constexpr std::size_t kValue = 12;
constexpr std::size_t kNarrowestCurve = 8;

// One line of a screen, cut where the screen ends. Every character is one column wide.
class Line {
  public:
    explicit Line(const Screen& screen) : screen_(screen) {}

    Line& add(const std::string& text, const char* style = nullptr) {
        if (left() == 0) return *this;
        const std::string cut = first_characters(text, left());
        used_ += characters(cut);
        text_ += style != nullptr && screen_.color ? fmt::format("\033[{}m{}\033[0m", style, cut) : cut;
        return *this;
    }
    Line& to_column(std::size_t column) { return column > used_ ? add(std::string(column - used_, ' ')) : add(" "); }
    std::size_t left() const { return screen_.columns - std::min(screen_.columns, used_); }
    const std::string& text() const { return text_; }

  private:
    static std::size_t characters(const std::string& text) {
        std::size_t count = 0;
        for (std::size_t at = 0; at < text.size(); at += monitoring::decode_utf8(text, at).bytes) ++count;
        return count;
    }
    // Nothing moves the cursor or speaks to the terminal: control characters (C0, delete, C1) become blanks, and so do
    // bytes that are no UTF-8, which an old terminal would take for such.
    static std::string first_characters(const std::string& text, std::size_t count) {
        std::string out;
        for (std::size_t at = 0; at < text.size() && count > 0; --count) {
            const monitoring::Character character = monitoring::decode_utf8(text, at);
            const bool is_control = character.code < 0x20 || (character.code >= 0x7F && character.code < 0xA0);
            const bool is_ill_formed = character.code == monitoring::kReplacement && character.bytes == 1;
            out += is_control || is_ill_formed ? " " : text.substr(at, character.bytes);
            at += character.bytes;
        }
        return out;
    }

    const Screen& screen_;
    std::string text_;
    std::size_t used_ = 0;
};

std::string bar(double share, std::size_t columns) {
    const auto full = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(columns));
    std::string out;
    for (std::size_t i = 0; i < columns; ++i) out += i < full ? "█" : "░";
    return out;
}

struct CurveLine {
    const char* label;
    std::string value;
    std::vector<double> values;
    bool highest = true;
};

std::string number(double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-"; }

std::vector<double> column_of(const Rows& rows, const std::function<double(const Rows&, std::size_t)>& value_of) {
    std::vector<double> values;
    values.reserve(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) values.push_back(value_of(rows, i));
    return values;
}

double rate_at(const Rows& rows, std::size_t i) {
    if (i == 0 || rows[i].step != rows[i - 1].step + 1 || !(rows[i].step_seconds > 0))
        return std::numeric_limits<double>::quiet_NaN();
    return static_cast<double>(rows[i].tokens - rows[i - 1].tokens) / rows[i].step_seconds;
}

std::vector<CurveLine> curves_of(const RunStatus& status, const Rows& rows) {
    std::vector<double> holdout = column_of(rows, [](const Rows& all, std::size_t i) { return all[i].eval_loss; });
    std::erase_if(holdout, [](double value) { return std::isnan(value); });
    const auto norm_at = [](const Rows& all, std::size_t i) { return monitoring::measured_norm(all[i]); };
    double norm = std::numeric_limits<double>::quiet_NaN();
    for (std::size_t i = rows.size(); i > 0 && std::isnan(norm); --i) norm = norm_at(rows, i - 1);
    std::vector<CurveLine> lines;
    lines.push_back(
        {"loss", number(status.loss), column_of(rows, [](const Rows& all, std::size_t i) { return all[i].loss; })});
    if (!holdout.empty()) lines.push_back({"holdout", number(holdout.back()), holdout});
    lines.push_back({"grad norm", number(norm), column_of(rows, norm_at)});
    lines.push_back({"learn rate", fmt::format("{:.2e}", status.learning_rate),
                     column_of(rows, [](const Rows& all, std::size_t i) { return all[i].learning_rate; }), false});
    lines.push_back({"tokens/s", status.tokens_per_second > 0 ? fmt::format("{:.0f}", status.tokens_per_second) : "-",
                     column_of(rows, rate_at), false});
    return lines;
}

std::string curve_text(const CurveLine& curve, const Screen& screen) {
    Line line(screen);
    line.add("  ").add(curve.label, kSoft).to_column(kLabel + 2).add(curve.value, kBold).to_column(kLabel + kValue);
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    for (const double value : curve.values) {
        if (!std::isfinite(value)) continue;
        low = std::min(low, value);
        high = std::max(high, value);
    }
    if (low > high) return line.text();
    const std::string range = fmt::format(" {:.4g} to {:.4g}", low, high);
    const std::size_t room = line.left() > range.size() ? line.left() - range.size() : 0;
    if (room >= kNarrowestCurve) line.add(sparkline(curve.values, room, curve.highest), kCurveColor).add(range, kSoft);
    return line.text();
}

std::string position_text(const RunStatus& status, const Screen& screen) {
    Line line(screen);
    line.add("  ").add("step", kSoft).to_column(kLabel + 2).add(count_text(status.step), kBold);
    if (status.steps > 0) {
        const double share = static_cast<double>(status.step) / static_cast<double>(status.steps);
        line.add(fmt::format(" of {}  {:.1f} %  ", count_text(status.steps), 100 * share));
        const std::string left = status.eta_seconds > 0 ? "  " + duration_text(status.eta_seconds) + " left" : "";
        const std::size_t room = line.left() > left.size() ? line.left() - left.size() : 0;
        line.add(bar(share, std::min<std::size_t>(room, 30)), kBarColor).add(left);
    }
    return line.text();
}

std::string checkpoint_text(const RunStatus& status, const Screen& screen) {
    Line line(screen);
    line.add("  ").add("checkpoint", kSoft).to_column(kLabel + 2);
    if (status.checkpoint.empty()) {
        line.add("none yet");
    } else {
        line.add(fmt::format("step {}", count_text(status.checkpoint_step)));
        if (status.step > status.checkpoint_step)
            line.add(fmt::format(", {} steps ago", count_text(status.step - status.checkpoint_step)));
    }
    if (status.checkpoint_queued) line.add(fmt::format("; step {} is being written", status.checkpoint_queued_step));
    return line.text();
}

std::string worker_text(const WorkerStatus& worker, const Screen& screen) {
    Line line(screen);
    line.add("  ").add(fmt::format("worker {}", worker.rank), kSoft).to_column(kLabel + 2);
    if (worker.straggler) line.add(fmt::format("straggler ({:.3f} s a step)  ", worker.own_seconds), kBold);
    line.add(fmt::format("{}  {} at step {}  {} resident  heard {} ago", worker.host, worker.phase,
                         count_text(worker.step), bytes_text(worker.resident_bytes),
                         duration_text(worker.heartbeat_age_seconds)));
    return line.text();
}

std::string plain(const char* label, const std::string& text, const Screen& screen) {
    return Line(screen).add("  ").add(label, kSoft).to_column(kLabel + 2).add(text).text();
}

// As many as there is room for: the first workers, the last events.
void add_workers(std::vector<std::string>& lines, const std::vector<WorkerStatus>& workers, std::size_t room,
                 const Screen& screen) {
    const std::size_t shown = workers.size() <= room ? workers.size() : (room > 0 ? room - 1 : 0);
    for (std::size_t i = 0; i < shown; ++i) lines.push_back(worker_text(workers[i], screen));
    if (shown < workers.size() && room > 0)
        lines.push_back(plain("", fmt::format("and {} more workers", workers.size() - shown), screen));
}

}  // namespace

std::vector<std::string> dashboard(const RunView& view, const std::string& state, const Rows& rows,
                                   const std::vector<std::string>& events, const Screen& screen) {
    const RunStatus& status = view.status;
    std::vector<std::string> lines;
    lines.push_back(Line(screen)
                        .add(status.run, kBold)
                        .add(fmt::format("  attempt {}, {} restarts: {}", status.attempt, status.restarts, state))
                        .text());
    if (status.state == "preparing" && status.tasks_total > 0)
        lines.push_back(
            plain("preparing", fmt::format("{} of {} tasks", status.tasks_done, status.tasks_total), screen));
    lines.push_back(position_text(status, screen));
    lines.push_back(plain("tokens", count_text(status.tokens), screen));
    for (const CurveLine& curve : curves_of(status, rows)) lines.push_back(curve_text(curve, screen));
    if (!status.phase.empty()) lines.push_back(plain("phase", status.phase, screen));
    lines.push_back(checkpoint_text(status, screen));
    if (!status.decision.empty()) lines.push_back(plain("decision", status.decision, screen));
    if (status.refused_steps > 0)
        lines.push_back(plain("refused", fmt::format("{} steps", count_text(status.refused_steps)), screen));
    if (!status.metrics.empty()) lines.push_back(plain("metrics", status.metrics, screen));
    const std::size_t free = screen.lines - std::min(screen.lines, lines.size() + 1);  // the last line is the help's
    add_workers(lines, status.workers, free - std::min(free, std::min<std::size_t>(free / 2, events.size())), screen);
    const std::size_t room = screen.lines - std::min(screen.lines, lines.size() + 1);
    for (std::size_t i = events.size() - std::min(room, events.size()); i < events.size(); ++i)
        lines.push_back(plain("event", events[i], screen));
    lines.resize(std::min(lines.size(), screen.lines - std::min<std::size_t>(screen.lines, 1)));
    lines.push_back(Line(screen).add("  Ctrl-C leaves; the run goes on", kSoft).text());
    return lines;
}

}  // namespace kiban::coordinator
