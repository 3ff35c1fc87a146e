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

constexpr const char* kOwnFamily = "kiban_exposed_runs";

// The run that all series are of: those of another one would stand in for a run that is elsewhere, or twice.
std::string run_of(const Families& families) {
    std::optional<std::string> run;
    for (const MetricFamily& family : families) {
        if (family.name == kOwnFamily) throw DataError("'{}' is what `kiban expose` says of itself", kOwnFamily);
        for (const ClientMetric& metric : family.metric) {
            const auto is_run = [](const ClientMetric::Label& label) { return label.name == "run"; };
            const auto found = std::find_if(metric.label.begin(), metric.label.end(), is_run);
            if (found == metric.label.end() || found->value.empty())
                throw DataError("expected a label run on every series, found none on one of '{}'", family.name);
            if (!run) run = found->value;
            if (*run != found->value)
                throw DataError("expected series of one run, found '{}' and '{}'", *run, found->value);
        }
    }
    if (!run) throw DataError("expected the series of a run, found none");
    return *run;
}

// What the run last said that it was doing; empty when it did not say.
std::string state_of(const Families& families) {
    for (const MetricFamily& family : families) {
        if (family.name != "kiban_run_state") continue;
        for (const ClientMetric& metric : family.metric) {
            for (const ClientMetric::Label& label : metric.label)
                if (label.name == "state" && metric.gauge.value == 1) return label.value;
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
    std::string state;
    bool readable = false;
    // What was said of it in the log, so that it is said once.
    bool told_unreadable = false;
    bool told_lost = false;
    fs::path told_hidden_by;
};

}  // namespace

class ExposedRuns::Collector : public prometheus::Collectable {
  public:
    Collector(std::vector<fs::path> roots, double silent_seconds)
        : roots_(std::move(roots)), silent_seconds_(silent_seconds) {}

    Families Collect() const override {
        const std::lock_guard lock(mutex_);
        look();
        Counts counts = {{"served", 0}, {"hidden", 0}, {"ended", 0}, {"lost", 0}, {"unreadable", 0}};
        std::map<std::string, std::vector<fs::path>> live;  // directories by run
        for (auto& [directory, source] : sources_) {
            if (!source.readable) {
                ++counts["unreadable"];
            } else if (!is_silent(source)) {
                live[source.run].push_back(directory);
                source.told_lost = false;
            } else if (source.state == "done" || source.state == "failed") {
                ++counts["ended"];
            } else {
                ++counts["lost"];
                tell_lost(directory, source);
            }
        }
        std::vector<const Source*> served;
        for (const auto& [run, directories] : live) {
            served.push_back(&choose(run, directories));
            ++counts["served"];
            counts["hidden"] += static_cast<double>(directories.size() - 1);
        }
        std::erase_if(chosen_, [&](const auto& known) { return !live.contains(known.first); });
        return merged(served, counts);
    }

  private:
    using Counts = std::map<std::string, double>;  // of run directories, by what became of them

    bool is_silent(const Source& source) const {
        return std::chrono::duration<double>(Clock::now() - source.renewed).count() > silent_seconds_;
    }

    static void tell_lost(const fs::path& directory, Source& source) {
        if (std::exchange(source.told_lost, true)) return;
        log_warning(
            "the coordinator of '{}' is silent, and never said that run '{}' ended (it was {}): killed, or cut off; "
            "`kiban status {}` says which",
            directory.string(), source.run, source.state.empty() ? "in no state" : source.state, directory.string());
    }

    // Of live directories with one run name the one chosen before, for as long as it lives: a series that changed its
    // source with each renewal would jump between two curves. Else the one renewed last.
    const Source& choose(const std::string& run, const std::vector<fs::path>& directories) const {
        const auto renewed_before = [this](const fs::path& a, const fs::path& b) {
            return sources_.at(a).renewed < sources_.at(b).renewed;
        };
        fs::path& chosen = chosen_[run];
        if (std::find(directories.begin(), directories.end(), chosen) == directories.end())
            chosen = *std::max_element(directories.begin(), directories.end(), renewed_before);
        for (const fs::path& directory : directories) {
            if (directory == chosen || sources_.at(directory).told_hidden_by == chosen) continue;
            sources_.at(directory).told_hidden_by = chosen;
            log_warning(
                "two live runs are called '{}': '{}' is served, and '{}' is not until the first is silent; give one "
                "of them another run.name",
                run, chosen.string(), directory.string());
        }
        return sources_.at(chosen);
    }

    static Families merged(const std::vector<const Source*>& served, const Counts& counts) {
        std::map<std::string, MetricFamily> all;
        for (const Source* source : served) {
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
        own.name = kOwnFamily;
        own.help = "Run directories that this service knows, by what became of them";
        own.type = prometheus::MetricType::Gauge;
        for (const auto& [state, count] : counts) {
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

    void look_at(const fs::path& name, std::set<fs::path>& there) const {
        std::error_code error;
        const fs::path directory = fs::canonical(name, error);  // a link to a run directory is no second run
        if (error) return;
        const fs::path file = directory / kMetricsFile;
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
            source.state = state_of(source.families);
            source.readable = true;
            source.told_unreadable = false;
        } catch (const std::exception& error) {
            source.readable = false;
            if (!std::exchange(source.told_unreadable, true))
                log_warning("cannot serve '{}': {}", file.string(), error.what());
        }
    }

    std::vector<fs::path> roots_;
    double silent_seconds_;
    mutable std::mutex mutex_;
    mutable std::map<fs::path, Source> sources_;      // by directory
    mutable std::map<std::string, fs::path> chosen_;  // the directory that is served, by run
};

ExposedRuns::ExposedRuns(std::vector<fs::path> roots, double silent_seconds) {
    for (const fs::path& root : roots) {
        if (!directory_at(root))
            throw IoError("cannot serve the runs of '{}': there is no such directory", root.string());
    }
    collector_ = std::make_shared<Collector>(std::move(roots), silent_seconds);
}

ExposedRuns::~ExposedRuns() = default;

std::string ExposedRuns::text() const { return prometheus::TextSerializer().Serialize(collector_->Collect()); }

std::shared_ptr<prometheus::Collectable> ExposedRuns::collectable() const { return collector_; }

}  // namespace kiban::monitoring
