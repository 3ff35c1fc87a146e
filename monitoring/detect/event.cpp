// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/event.h"

#include <fmt/format.h>

#include <ostream>

namespace kiban::monitoring::detect {

std::string describe(const Event& event) {
    const std::string since =
        event.since_step < event.step ? fmt::format(" (since step {})", event.since_step) : std::string();
    return fmt::format("step {}: {} of {}{}: {}", event.step, word_of(event.kind), word_of(event.series), since,
                       event.detail);
}

void write_events(std::ostream& out, const std::vector<Event>& events) {
    out << "step,tokens,kind,series,since_step,value,size,detail\n";
    for (const Event& event : events) {
        out << fmt::format("{},{},{},{},{},{},{},\"{}\"\n", event.step, event.tokens, word_of(event.kind),
                           word_of(event.series), event.since_step, event.value, event.size, event.detail);
    }
}

}  // namespace kiban::monitoring::detect
