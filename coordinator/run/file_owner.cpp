// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/file_owner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <random>

#include "monitoring/file.h"

namespace kiban::coordinator {

using nlohmann::json;

namespace {

std::string host_name() {
    std::array<char, 256> name{};
    ::gethostname(name.data(), name.size() - 1);
    return name.data();
}

// Of the file's text, which anybody may have written: a field may be missing, but not be something else.
bool is_owner(const json& content) {
    const auto may_be = [&content](const char* field, bool (json::*is)() const noexcept) {
        const auto found = content.find(field);
        return found == content.end() || ((*found).*is)();
    };
    return content.is_object() && may_be("host", &json::is_string) && may_be("process_space", &json::is_string) &&
           may_be("pid", &json::is_number_integer) && may_be("start_ticks", &json::is_number_integer);
}

}  // namespace

json fields_of_this_process() {
    std::random_device device;
    const ProcessId self = this_process();
    return {{"format", 1},
            {"host", host_name()},
            {"pid", self.pid},
            {"start_ticks", self.start_ticks},
            {"process_space", process_space()},
            {"nonce", fmt::format("{:08x}{:08x}", device(), device())}};
}

std::optional<FileOwner> owner_in(const json& content) {
    if (!is_owner(content)) return std::nullopt;
    FileOwner owner;
    owner.host = content.value("host", "");
    owner.space = content.value("process_space", "");
    owner.process = {content.value("pid", 0), content.value("start_ticks", std::uint64_t{0})};
    return owner;
}

std::optional<FileOwner> read_owner(const std::filesystem::path& file) {
    return owner_in(
        json::parse(monitoring::read_text_if_exists(file).value_or(""), nullptr, /*allow_exceptions=*/false));
}

}  // namespace kiban::coordinator
