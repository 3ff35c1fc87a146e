// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/scrub.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "checkpoint/block_loader.h"
#include "checkpoint/manifest.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::checkpoint {

Scrub::Scrub(ScrubSetup setup) : setup_(std::move(setup)) {
    if (setup_.interval_seconds <= 0) return;
    KIBAN_CHECK(setup_.bytes_per_second > 0, "{} bytes per second", setup_.bytes_per_second);
    thread_ = std::thread([this] { run(); });
}

Scrub::~Scrub() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

std::vector<ScrubFinding> Scrub::take_findings() {
    const std::lock_guard lock(mutex_);
    return std::exchange(findings_, {});
}

void Scrub::put_back(ScrubFinding finding) {
    const std::lock_guard lock(mutex_);
    findings_.push_back(std::move(finding));
}

bool Scrub::wait(double seconds) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return ending_; });
}

void Scrub::run() {
    double pause = setup_.first_after_seconds < 0 ? setup_.interval_seconds : setup_.first_after_seconds;
    for (; wait(pause); pause = setup_.interval_seconds) {
        try {
            pass();
        } catch (const std::exception& error) {  // a run does not end for it
            monitoring::log_warning("cannot look through the checkpoints: {}", error.what());
        }
        ++passes_;
    }
}

void Scrub::pass() {
    for (const CheckpointInfo& info : list_checkpoints(setup_.run_dir)) {
        if (found_.contains(info.directory)) continue;
        std::string fault;
        try {
            read_checkpoint(info);
        } catch (const NewerFormatError&) {
            continue;
        } catch (const CheckpointError& error) {
            fault = error.what();
        } catch (const IoError& error) {  // it may pass: no reason to reject
            if (monitoring::anything_at(info.directory)) monitoring::log_warning("{}", error.what());
        }
        if (fault.empty() || !monitoring::anything_at(info.directory)) continue;
        found_.insert(info.directory);
        const std::lock_guard lock(mutex_);
        findings_.push_back({info, std::move(fault)});
    }
}

void Scrub::read_checkpoint(const CheckpointInfo& info) {
    const Manifest manifest = load_committed(info.directory).manifest;
    std::vector<std::byte> buffer(kCrcBlockBytes);
    for (const ManifestFile& listed : manifest.files) {
        const auto file = monitoring::File::open_read(info.directory / listed.name);
        for (std::size_t block = 0; block < listed.block_crcs.size(); ++block) {
            const std::uint64_t begin = block * kCrcBlockBytes;
            const auto part = std::span(buffer).first(
                static_cast<std::size_t>(std::min<std::uint64_t>(kCrcBlockBytes, listed.bytes - begin)));
            const std::uint32_t crc = read_with_crc(file, begin, part);
            bytes_read_ += part.size();
            if (crc != listed.block_crcs[block]) {
                throw CheckpointError("'{}' is damaged: block {} has CRC-32C {:08x}, expected {:08x}",
                                      file.name().string(), block, crc, listed.block_crcs[block]);
            }
            if (!wait(static_cast<double>(part.size()) / setup_.bytes_per_second)) return;
        }
    }
}

}  // namespace kiban::checkpoint
