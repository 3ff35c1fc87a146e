// SPDX-License-Identifier: Apache-2.0
#include "monitoring/curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "monitoring/curve_axis.h"
#include "monitoring/curve_format.h"
#include "monitoring/error.h"
#include "monitoring/fault.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::monitoring {
namespace {

constexpr std::uint64_t kVirtualEpochSeconds = 946'684'800;  // 2000-01-01T00:00:00Z

std::filesystem::path record_of(const std::filesystem::path& directory) { return directory / "curve.log"; }

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

struct CurveWriter::Impl {
    File file;
    std::uint64_t end = 0;         // bytes of whole entries
    std::vector<CurveRow> rows;    // the surviving history
    std::uint64_t first_step = 1;  // that may be appended: after the step from which the attempt goes on
    bool unmarked = false;         // rows were appended since the last durability mark

    std::uint64_t torn = 0;  // most bytes that a write of this object may have left half-done after `end`

    // A write that failed half-way is taken back, so that the next entry does not follow a torn one. What this object
    // did not write is another process's and stays.
    void write(const std::string& entry) {
        const std::uint64_t found = file.size();
        if (found < end || found > end + torn) {
            throw IoError(
                "cannot append to curve record '{}': expected {} bytes, found {}: another process writes it too",
                file.name().string(), end, found);
        }
        if (found != end) file.truncate(end);
        torn = entry.size();
        file.append(bytes_of(entry));
        end += entry.size();
        torn = 0;
    }

    // An owner that was overtaken may have ended its last entry after this object read the record.
    void adopt_what_others_wrote() {
        if (file.size() == end) return;
        const std::string content = read_text(file.name());
        DecodedRecord record = decode_record(bytes_of(content), file.name());
        end = record.intact_bytes;
        rows = std::move(record.curve.rows);
        if (end < content.size()) file.truncate(end);
    }

    std::uint64_t last_step() const { return rows.empty() ? 0 : rows.back().step; }

    void sync() {
        file.sync("curve.sync");
        if (unmarked) write(encode_durable_mark());
        unmarked = false;
    }
};

CurveWriter::CurveWriter(const std::filesystem::path& directory) {
    const std::filesystem::path name = record_of(directory);
    make_directories(directory);
    if (!anything_at(name)) publish(name, encode_curve_header());
    std::string content = read_text(name);
    DecodedRecord record = decode_record(bytes_of(content), name);
    if (record.version < kCurveVersion) {  // its entries are of this version too
        const std::string header = encode_curve_header();
        content.resize(record.intact_bytes);
        content.replace(0, header.size(), header);
        publish(name, content, "curve.upgrade");
    }
    impl_ = std::make_unique<Impl>(Impl{File::open_append(name), record.intact_bytes, std::move(record.curve.rows)});
    if (record.intact_bytes < content.size()) {
        log_warning("curve record '{}': cut {} bytes of an interrupted write after byte {}", name.string(),
                    content.size() - record.intact_bytes, record.intact_bytes);
        impl_->file.truncate(record.intact_bytes);
    }
    // What a process that was killed had written may still be in memory only, and is about to be built upon.
    impl_->file.sync("curve.sync");
}

CurveWriter::~CurveWriter() {
    if (!impl_) return;
    try {
        impl_->sync();
    } catch (const std::exception& error) {
        log_error("closing the curve record: {}", error.what());
    }
}

CurveWriter::CurveWriter(CurveWriter&&) noexcept = default;
CurveWriter& CurveWriter::operator=(CurveWriter&&) noexcept = default;

void CurveWriter::begin_attempt(std::uint32_t attempt, std::uint64_t from_step) {
    if (from_step > impl_->last_step()) {
        log_warning(
            "curve record '{}' ends at step {} and attempt {} goes on from step {}: the steps between are missing in "
            "it",
            impl_->file.name().string(), impl_->last_step(), attempt, from_step);
    }
    impl_->adopt_what_others_wrote();
    impl_->sync();
    impl_->write(encode_attempt(attempt, from_step));
    impl_->file.sync("curve.sync");
    auto& rows = impl_->rows;
    while (!rows.empty() && rows.back().step > from_step) rows.pop_back();
    impl_->first_step = from_step + 1;
}

void CurveWriter::append(const CurveRow& row) {
    KIBAN_CHECK(row.step >= impl_->first_step && row.step > impl_->last_step(),
                "step {} recorded after step {}: an attempt must begin in between", row.step,
                std::max(impl_->last_step(), impl_->first_step - 1));
    fault_point("curve.append", impl_->file.name());
    impl_->write(encode_row(row));
    impl_->rows.push_back(row);
    impl_->unmarked = true;
}

void CurveWriter::sync() { impl_->sync(); }

const std::vector<CurveRow>& CurveWriter::rows() const { return impl_->rows; }

void replace_curve(const std::filesystem::path& directory, const std::vector<CurveRow>& rows) {
    const std::filesystem::path name = record_of(directory);
    make_directories(directory);
    std::string content = encode_curve_header();
    for (const CurveRow& row : rows) content += encode_row(row);
    content += encode_durable_mark();
    if (anything_at(name)) {
        std::filesystem::path beside = directory / "curve.log.replaced";
        for (int number = 2; anything_at(beside); ++number)
            beside = directory / fmt::format("curve.log.replaced-{}", number);
        replace(name, beside);
        sync_directory(directory);
    }
    publish(name, content, "curve.replace");
}

Curve read_curve(const std::filesystem::path& directory) {
    const std::filesystem::path name = record_of(directory);
    // A coordinator that starts while this reads may cut a torn tail under it, which looks like damage until it is read
    // anew.
    for (int attempts_left = 2;; --attempts_left) {
        try {
            const auto content = read_text_if_exists(name);
            return content ? decode_record(bytes_of(*content), name).curve : Curve{};
        } catch (const IoError&) {
            if (attempts_left == 0) throw;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
    }
}

void write_csv(std::ostream& out, const std::vector<CurveRow>& rows, bool with_timing) {
    out << "step,tokens,loss,learning_rate,grad_norm,eval_loss,eval_accuracy"
        << (with_timing ? ",step_seconds,wall_time,attempt" : "") << '\n';
    fmt::memory_buffer line;
    for (const CurveRow& row : rows) {
        line.clear();
        auto to = std::back_inserter(line);
        fmt::format_to(to, "{},{},", row.step, row.tokens);
        if (!std::isnan(row.loss)) fmt::format_to(to, "{}", row.loss);
        fmt::format_to(to, ",{},{},", row.learning_rate, row.grad_norm);
        if (!std::isnan(row.eval_loss)) fmt::format_to(to, "{}", row.eval_loss);
        line.push_back(',');
        if (!std::isnan(row.eval_accuracy)) fmt::format_to(to, "{}", row.eval_accuracy);
        if (with_timing) fmt::format_to(to, ",{},{},{}", row.step_seconds, row.wall_time, row.attempt);
        line.push_back('\n');
        out.write(line.data(), static_cast<std::streamsize>(line.size()));
    }
}

namespace {

std::string label_value(std::string_view text) {
    std::string out;
    for (const char character : text) {
        if (character == '\n') {
            out += "\\n";
            continue;
        }
        if (character == '"' || character == '\\') out += '\\';
        out += character;
    }
    return out;
}

std::string open_metrics_number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
    return fmt::format("{}", value);
}

// Since 1970.
std::uint64_t milliseconds_of(const CurveRow& row, CurveAxis axis) {
    constexpr std::uint64_t kTokensOfAMillisecond = 100;
    const std::uint64_t since = axis == CurveAxis::step ? 1000 * row.step : row.tokens / kTokensOfAMillisecond;
    return 1000 * kVirtualEpochSeconds + since;
}

std::string time_text(std::uint64_t ms) {
    return ms % 1000 == 0 ? fmt::format("{}", ms / 1000) : fmt::format("{}.{:03}", ms / 1000, ms % 1000);
}

template <typename Value>
void write_family(std::ostream& out, const std::vector<CurveRow>& rows, const char* name, const char* help,
                  const std::string& labels, CurveAxis axis, Value value) {
    out << "# HELP " << name << ' ' << help << "\n# TYPE " << name << " gauge\n";
    std::string last;  // sample, at its time
    std::uint64_t last_ms = 0;
    for (const CurveRow& row : rows) {
        const auto sample = value(row);
        if (!sample) continue;
        const std::uint64_t ms = milliseconds_of(row, axis);
        if (ms != last_ms) out << last;
        last = fmt::format("{}{{{}}} {} {}\n", name, labels, open_metrics_number(*sample), time_text(ms));
        last_ms = ms;
    }
    out << last;
}

}  // namespace

void write_openmetrics(std::ostream& out, const std::vector<CurveRow>& rows, const std::string& run, CurveAxis axis) {
    using Sample = std::optional<double>;
    const std::string labels =
        fmt::format("run=\"{}\",axis=\"{}\"", label_value(run), axis == CurveAxis::step ? "step" : "tokens");
    write_family(out, rows, "kiban_train_loss_nats", "Mean loss per target token of the step", labels, axis,
                 [](const CurveRow& row) { return without_targets(row) ? Sample() : Sample(row.loss); });
    write_family(out, rows, "kiban_eval_loss_nats", "Mean loss per token on the holdout after the step",
                 labels + ",split=\"holdout\"", axis,
                 [](const CurveRow& row) { return std::isnan(row.eval_loss) ? Sample() : Sample(row.eval_loss); });
    write_family(out, rows, "kiban_eval_accuracy_ratio", "Share of the holdout's tokens that were said first",
                 labels + ",split=\"holdout\"", axis, [](const CurveRow& row) {
                     return std::isnan(row.eval_accuracy) ? Sample() : Sample(row.eval_accuracy);
                 });
    write_family(out, rows, "kiban_learning_rate", "Learning rate of the step", labels, axis,
                 [](const CurveRow& row) { return Sample(row.learning_rate); });
    write_family(out, rows, "kiban_grad_norm", "Global gradient norm of the step before clipping", labels, axis,
                 [](const CurveRow& row) { return without_targets(row) ? Sample() : Sample(row.grad_norm); });
    write_family(out, rows, "kiban_train_tokens_seen", "Target tokens trained, this step included", labels, axis,
                 [](const CurveRow& row) { return Sample(static_cast<double>(row.tokens)); });
    out << "# EOF\n";
}

void write_openmetrics(std::ostream& out, const std::vector<CurveRow>& rows, const std::string& run) {
    write_openmetrics(out, rows, run, CurveAxis::step);
}

}  // namespace kiban::monitoring
