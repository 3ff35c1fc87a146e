// SPDX-License-Identifier: Apache-2.0
#include "monitoring/exposition.h"

#include <prometheus/metric_type.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "monitoring/error.h"
#include "monitoring/utf8.h"

namespace kiban::monitoring {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

bool is_letter(char character) {
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') || character == '_';
}
bool is_digit(char character) { return character >= '0' && character <= '9'; }

// Prometheus refuses a whole scrape for one name that is none.
bool is_label_name(std::string_view name) {
    return !name.empty() && is_letter(name.front()) && !name.starts_with("__") &&
           std::all_of(name.begin(), name.end(), [](char c) { return is_letter(c) || is_digit(c); });
}
bool is_metric_name(std::string_view name) {
    return !name.empty() && !is_digit(name.front()) &&
           std::all_of(name.begin(), name.end(), [](char c) { return is_letter(c) || is_digit(c) || c == ':'; });
}

class Reader {
  public:
    explicit Reader(std::string_view text) : text_(text) {}

    std::vector<MetricFamily> read() {
        while (next_line()) {
            if (!is_utf8(line_)) refuse("UTF-8");
            if (line_.starts_with("# HELP ")) {
                read_help();
            } else if (line_.starts_with("# TYPE ")) {
                read_type();
            } else if (!line_.empty() && line_.front() != '#') {
                read_sample();
            }
        }
        return std::move(families_);
    }

  private:
    [[noreturn]] void refuse(const char* expected) const {
        throw DataError("metrics text, line {}: expected {}, found '{}'", number_, expected, line_.substr(0, 80));
    }

    bool next_line() {
        if (text_.empty()) return false;
        const std::size_t end = std::min(text_.find('\n'), text_.size());
        line_ = text_.substr(0, end);
        text_.remove_prefix(std::min(end + 1, text_.size()));
        rest_ = line_;
        ++number_;
        return true;
    }

    std::string_view take_until(std::string_view any_of) {
        const std::size_t end = std::min(rest_.find_first_of(any_of), rest_.size());
        const std::string_view word = rest_.substr(0, end);
        rest_.remove_prefix(end);
        return word;
    }

    bool take(char character) {
        if (rest_.empty() || rest_.front() != character) return false;
        rest_.remove_prefix(1);
        return true;
    }

    void begin_family(std::string_view name) {
        if (!is_metric_name(name)) refuse("a metric's name: letters, digits, '_' and ':', no digit first");
        if (!names_.emplace(name).second) refuse("each family once");
        families_.emplace_back();
        families_.back().name = name;
        families_.back().type = MetricType::Untyped;
    }

    void read_help() {
        rest_.remove_prefix(7);
        begin_family(take_until(" "));
        take(' ');
        families_.back().help = std::string(rest_);
    }

    void read_type() {
        rest_.remove_prefix(7);
        const std::string_view name = take_until(" ");
        take(' ');
        if (families_.empty() || families_.back().name != name) begin_family(name);  // it has no HELP
        if (!families_.back().metric.empty()) refuse("the TYPE before the samples");
        MetricType& type = families_.back().type;
        if (rest_ == "counter") {
            type = MetricType::Counter;
        } else if (rest_ == "gauge") {
            type = MetricType::Gauge;
        } else if (rest_ == "histogram") {
            type = MetricType::Histogram;
        } else if (rest_ != "untyped") {
            refuse("counter, gauge, histogram or untyped");
        }
    }

    std::string read_label_value() {
        std::string value;
        while (!rest_.empty() && rest_.front() != '"') {
            char character = rest_.front();
            rest_.remove_prefix(1);
            if (character == '\\') {
                if (rest_.empty()) refuse("a character after the backslash");
                character = rest_.front() == 'n' ? '\n' : rest_.front();
                rest_.remove_prefix(1);
            }
            value += character;
        }
        if (!take('"')) refuse("a label's value that ends");
        return value;
    }

    Labels read_labels() {
        Labels labels;
        if (!take('{')) return labels;
        while (!take('}')) {
            const std::string name(take_until("=}"));
            if (name.empty() || !take('=') || !take('"')) refuse("labels of the form name=\"value\"");
            if (!is_label_name(name)) refuse("a label's name: letters, digits and '_', no digit and no '__' first");
            const auto is_this = [&](const ClientMetric::Label& label) { return label.name == name; };
            if (std::any_of(labels.begin(), labels.end(), is_this)) refuse("each label once");
            labels.push_back({name, read_label_value()});
            take(',');
        }
        return labels;
    }

    double number_of(std::string_view text) const {
        if (text == "+Inf" || text == "Inf") return std::numeric_limits<double>::infinity();
        if (text == "-Inf") return -std::numeric_limits<double>::infinity();
        if (text == "NaN" || text == "Nan") return std::numeric_limits<double>::quiet_NaN();
        double value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc() || end != text.data() + text.size()) refuse("a number");
        return value;
    }

    void read_sample() {
        const std::string_view name = take_until("{ ");
        Labels labels = read_labels();
        if (!take(' ')) refuse("a value");
        const double value = number_of(take_until(" "));
        if (families_.empty()) refuse("a family before its samples");
        MetricFamily& family = families_.back();
        if (family.type == MetricType::Histogram) return add_to_histogram(family, name, std::move(labels), value);
        if (name != family.name) refuse("a sample of the family before");
        ClientMetric metric;
        metric.label = std::move(labels);
        metric.counter.value = metric.gauge.value = metric.untyped.value = value;
        family.metric.push_back(std::move(metric));
    }

    // Its samples stand together: buckets in ascending order, sum and count.
    void add_to_histogram(MetricFamily& family, std::string_view name, Labels labels, double value) const {
        if (!name.starts_with(family.name)) refuse("a sample of the family before");
        const std::string_view part = name.substr(family.name.size());
        std::optional<double> bound;
        const auto is_bound = [](const ClientMetric::Label& label) { return label.name == "le"; };
        if (const auto found = std::find_if(labels.begin(), labels.end(), is_bound); found != labels.end()) {
            bound = number_of(found->value);
            labels.erase(found);
        }
        if (family.metric.empty() || family.metric.back().label != labels) {
            family.metric.emplace_back();
            family.metric.back().label = std::move(labels);
        }
        ClientMetric::Histogram& histogram = family.metric.back().histogram;
        if (part == "_sum") {
            histogram.sample_sum = value;
        } else if (part == "_count") {
            histogram.sample_count = count_of(value);
        } else if (part == "_bucket" && bound) {
            histogram.bucket.push_back({count_of(value), *bound});
        } else {
            refuse("a bucket, sum or count");
        }
    }

    std::uint64_t count_of(double value) const {
        if (!(value >= 0) || value > 9e15) refuse("a count");
        return static_cast<std::uint64_t>(value);
    }

    std::string_view text_;
    std::string_view line_;
    std::string_view rest_;
    std::size_t number_ = 0;
    std::vector<MetricFamily> families_;
    std::set<std::string, std::less<>> names_;
};

}  // namespace

std::vector<prometheus::MetricFamily> read_exposition(std::string_view text) { return Reader(text).read(); }

}  // namespace kiban::monitoring
