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
    if (!content.is_object()) return std::nullopt;
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
