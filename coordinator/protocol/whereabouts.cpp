// SPDX-License-Identifier: Apache-2.0
#include "coordinator/protocol/whereabouts.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

constexpr std::uint64_t kMagic = 0x31'54'41'4e'41'42'49'4b;  // "KIBANAT1"
constexpr std::size_t kBytes = 64;

}  // namespace

struct WhereaboutsFile::Record {
    std::uint64_t magic;
    std::uint64_t step;
    std::uint64_t position;
    std::array<char, 24> phase;
};

std::filesystem::path whereabouts_file(const std::filesystem::path& log_directory, int rank) {
    return log_directory / fmt::format("worker-{}.at", rank);
}

// The bytes are there before they are mapped, so that a full disk is an error here and no signal later.
WhereaboutsFile::WhereaboutsFile(const std::filesystem::path& file) {
    static_assert(sizeof(Record) <= kBytes);
    monitoring::remove_file(file);
    monitoring::File made = monitoring::File::create(file);
    const std::array<std::byte, kBytes> nothing{};
    made.append(nothing);
    void* mapped = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, made.descriptor(), 0);
    if (mapped == MAP_FAILED) throw IoError("cannot map '{}': {}", file.string(), std::strerror(errno));
    record_ = static_cast<Record*>(mapped);
    record_->magic = kMagic;
}

WhereaboutsFile::~WhereaboutsFile() { ::munmap(record_, kBytes); }

void WhereaboutsFile::enter(const char* phase, std::uint64_t step) noexcept {
    std::strncpy(record_->phase.data(), phase, record_->phase.size() - 1);
    record_->step = step;
}

void WhereaboutsFile::set_position(std::uint64_t position) noexcept { record_->position = position; }

std::optional<Whereabouts> read_whereabouts(const std::filesystem::path& file) {
    struct {
        std::uint64_t magic, step, position;
        std::array<char, 24> phase;
    } record{};
    try {
        const auto text = monitoring::read_text_if_exists(file);
        if (!text || text->size() != kBytes) return std::nullopt;
        std::memcpy(&record, text->data(), sizeof record);
    } catch (const IoError&) {
        return std::nullopt;
    }
    record.phase.back() = '\0';
    if (record.magic != kMagic) return std::nullopt;
    return Whereabouts{.phase = record.phase.data(), .step = record.step, .position = record.position};
}

}  // namespace kiban::coordinator
