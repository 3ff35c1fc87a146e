// SPDX-License-Identifier: Apache-2.0
#include "monitoring/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <sstream>

namespace kiban::monitoring {
namespace {

double seconds_of(const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

std::optional<double> cpu_seconds() {
    rusage usage{};
    if (::getrusage(RUSAGE_SELF, &usage) != 0) return std::nullopt;
    return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

std::optional<double> resident_bytes() {
    std::ifstream file("/proc/self/statm");
    double total_pages = 0;
    double resident_pages = 0;
    if (!(file >> total_pages >> resident_pages)) return std::nullopt;
    return resident_pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

// proc(5): field 22 of /proc/self/stat in clock ticks since boot, and btime of /proc/stat.
std::optional<double> start_time_seconds() {
    std::ifstream file("/proc/self/stat");
    std::string text;
    std::getline(file, text);
    const auto end_of_command = text.rfind(')');
    if (end_of_command == std::string::npos) return std::nullopt;
    std::istringstream fields(text.substr(end_of_command + 1));
    std::string skipped;
    for (int field = 3; field < 22; ++field) fields >> skipped;
    double start_ticks = 0;
    if (!(fields >> start_ticks)) return std::nullopt;

    std::ifstream system("/proc/stat");
    double boot_seconds = 0;
    for (std::string line; std::getline(system, line);) {
        if (line.rfind("btime ", 0) == 0) std::istringstream(line.substr(6)) >> boot_seconds;
    }
    if (boot_seconds == 0) return std::nullopt;
    return boot_seconds + start_ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
    std::vector<prometheus::MetricFamily> families;
    const auto add = [&](const char* name, const char* help, prometheus::MetricType type, std::optional<double> value) {
        if (!value) return;
        prometheus::ClientMetric metric;
        metric.label = {{"run", run_}};
        metric.counter.value = *value;
        metric.gauge.value = *value;
        families.push_back({name, help, type, {metric}});
    };
    add("process_cpu_seconds_total", "Processor time of the coordinator", prometheus::MetricType::Counter,
        cpu_seconds());
    add("process_resident_memory_bytes", "Resident memory of the coordinator", prometheus::MetricType::Gauge,
        resident_bytes());
    add("process_start_time_seconds", "Start of the coordinator, since 1970", prometheus::MetricType::Gauge,
        start_time_seconds());
    return families;
}

}  // namespace kiban::monitoring
