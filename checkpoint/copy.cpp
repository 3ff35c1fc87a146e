// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/copy.h"

#include <algorithm>
#include <span>
#include <vector>

#include "checkpoint/block_reader.h"
#include "checkpoint/publish_staged.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;

void copy_file(const Manifest& manifest, std::size_t index, BlockReader& blocks, const fs::path& to) {
    const ManifestFile& source = manifest.files[index];
    monitoring::File file = monitoring::File::create(to / source.name);
    file.preallocate(source.bytes);
    std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(source.bytes, kCrcBlockBytes)));
    for (std::uint64_t done = 0; done < source.bytes;) {
        const auto block = std::span(buffer).first(
            static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), source.bytes - done)));
        blocks.read(index, done, block);
        file.write_at(done, block);
        done += block.size();
    }
    file.sync("ckpt.copy");
    file.close();
}

}  // namespace

CheckpointInfo copy_checkpoint(const fs::path& from, const fs::path& run_dir, std::uint32_t attempt,
                               const nlohmann::json& state, const std::function<bool()>& is_current) {
    Manifest manifest = load_committed(from).manifest;
    const fs::path staging = begin_checkpoint(run_dir, manifest.step, attempt, manifest.shard_bytes());
    try {
        {
            BlockReader blocks(from, manifest);
            for (std::size_t i = 0; i < manifest.files.size(); ++i) copy_file(manifest, i, blocks, staging);
        }
        manifest.version = kFormatVersion;
        manifest.attempt = attempt;
        manifest.state = state;
        return publish_staged(run_dir, staging, manifest, is_current);
    } catch (...) {
        abandon_checkpoint(staging);
        throw;
    }
}

}  // namespace kiban::checkpoint
