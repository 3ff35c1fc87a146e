// SPDX-License-Identifier: Apache-2.0
#include "monitoring/expose.h"

#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "monitoring/error.h"
#include "monitoring/exposition.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::monitoring {
namespace {

namespace fs = std::filesystem;
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using Families = std::vector<MetricFamily>;
using Clock = std::chrono::steady_clock;

constexpr std::uintmax_t kMostBytes = 16 << 20;

double age_seconds(fs::file_time_type written) {
    return std::chrono::duration<double>(fs::file_time_type::clock::now() - written).count();
}

std::string run_of(const Families& families) {
    for (const MetricFamily& family : families) {
        for (const ClientMetric& metric : family.metric) {
            for (const ClientMetric::Label& label : metric.label) {
                if (label.name == "run") return label.value;
            }
        }
    }
    return {};
}

// What is known of one run directory.
struct Source {
    fs::file_time_type written;
    Clock::time_point renewed;  // as seen from here: clocks of other machines do not matter
    Families families;
    std::string run;
    bool readable = false;
    bool told = false;  // that it is not
};

}  // namespace

class ExposedRuns::Collector : public prometheus::Collectable {
  public:
    explicit Collector(std::vector<fs::path> roots) : roots_(std::move(roots)) {}

    Families Collect() const override {
        const std::lock_guard lock(mutex_);
        look();
        std::map<std::string, const Source*> served;  // by run
        std::map<std::string, double> states = {{"served", 0}, {"silent", 0}, {"hidden", 0}, {"unreadable", 0}};
        const auto now = Clock::now();
        for (const auto& [directory, source] : sources_) {
            if (!source.readable) {
                ++states["unreadable"];
            } else if (std::chrono::duration<double>(now - source.renewed).count() > kSilentSeconds) {
                ++states["silent"];
            } else if (const Source*& chosen = served[source.run]; chosen == nullptr) {
                chosen = &source;
            } else {
                ++states["hidden"];
                if (source.renewed > chosen->renewed) chosen = &source;
            }
        }
        states["served"] = static_cast<double>(served.size());
        return merged(served, states);
    }

  private:
    static Families merged(const std::map<std::string, const Source*>& served,
                           const std::map<std::string, double>& states) {
        std::map<std::string, MetricFamily> all;
        for (const auto& [run, source] : served) {
            for (const MetricFamily& family : source->families) {
                MetricFamily& merged = all[family.name];
                if (merged.name.empty()) {
                    merged = family;
                } else if (merged.type == family.type) {  // of another version: left out
                    merged.metric.insert(merged.metric.end(), family.metric.begin(), family.metric.end());
                }
            }
        }
        Families out;
        for (auto& [name, family] : all) out.push_back(std::move(family));
        MetricFamily& own = out.emplace_back();
        own.name = "kiban_exposed_runs";
        own.help = "Run directories that this service knows, by what became of them";
        own.type = prometheus::MetricType::Gauge;
        for (const auto& [state, count] : states) {
            ClientMetric& metric = own.metric.emplace_back();
            metric.label = {{"state", state}};
            metric.gauge.value = count;
        }
        return out;
    }

    void look() const {
        std::set<fs::path> there;
        for (const fs::path& root : roots_) {
            look_at(root, there);
            std::error_code error;
            for (fs::directory_iterator entry(root, error); !error && entry != fs::directory_iterator();
                 entry.increment(error)) {
                look_at(entry->path(), there);
            }
        }
        std::erase_if(sources_, [&](const auto& known) { return !there.contains(known.first); });
    }

    void look_at(const fs::path& directory, std::set<fs::path>& there) const {
        const fs::path file = directory / kMetricsFile;
        std::error_code error;
        const auto written = fs::last_write_time(file, error);
        if (error) return;  // not a run, or of a version that writes none
        there.insert(directory);
        const auto [known, is_new] = sources_.try_emplace(directory);
        Source& source = known->second;
        if (!is_new && source.written == written) return;
        // Seen for the first time it may be old; seen to change it is new.
        const auto age = is_new ? std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(std::max(0.0, age_seconds(written))))
                                : Clock::duration::zero();
        source.written = written;
        source.renewed = Clock::now() - age;
        read(file, source);
    }

    static void read(const fs::path& file, Source& source) {
        try {
            if (fs::file_size(file) > kMostBytes)
                throw DataError("'{}' has more than {} bytes", file.string(), kMostBytes);
            source.families = read_exposition(read_text(file));
            source.run = run_of(source.families);
            if (source.run.empty()) throw DataError("'{}' has no series with a label run", file.string());
            source.readable = true;
            source.told = false;
        } catch (const std::exception& error) {
            source.readable = false;
            if (!std::exchange(source.told, true)) log_warning("cannot serve '{}': {}", file.string(), error.what());
        }
    }

    std::vector<fs::path> roots_;
    mutable std::mutex mutex_;
    mutable std::map<fs::path, Source> sources_;
};

ExposedRuns::ExposedRuns(std::vector<fs::path> roots) {
    for (const fs::path& root : roots) {
        if (!directory_at(root))
            throw IoError("cannot serve the runs of '{}': there is no such directory", root.string());
    }
    collector_ = std::make_shared<Collector>(std::move(roots));
}

ExposedRuns::~ExposedRuns() = default;

std::string ExposedRuns::text() const { return prometheus::TextSerializer().Serialize(collector_->Collect()); }

std::shared_ptr<prometheus::Collectable> ExposedRuns::collectable() const { return collector_; }

}  // namespace kiban::monitoring
