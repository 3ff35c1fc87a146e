// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/reader.h"

#include <map>
#include <mutex>

#include "checkpoint/block_reader.h"
#include "checkpoint/manifest.h"
#include "monitoring/error.h"

namespace kiban::checkpoint {

struct CheckpointReader::Impl {
    explicit Impl(const std::filesystem::path& checkpoint)
        : directory(checkpoint), manifest(load_committed(checkpoint).manifest), blocks(checkpoint, manifest) {
        for (std::size_t i = 0; i < manifest.tensors.size(); ++i) {
            infos.push_back(manifest.tensors[i].info);
            index.emplace(infos.back().id, i);
        }
    }

    const ManifestTensor& tensor(const TensorId& id) const {
        const auto found = index.find(id);
        if (found == index.end()) {
            throw CheckpointError("checkpoint '{}' has no tensor {}; it has {} tensors", directory.string(),
                                  to_string(id), infos.size());
        }
        return manifest.tensors[found->second];
    }

    std::filesystem::path directory;
    Manifest manifest;
    std::vector<TensorInfo> infos;
    std::map<TensorId, std::size_t> index;
    std::mutex mutex;  // of `blocks`
    BlockReader blocks;
};

CheckpointReader::CheckpointReader(const std::filesystem::path& checkpoint)
    : impl_(std::make_unique<Impl>(checkpoint)) {}
CheckpointReader::~CheckpointReader() = default;
CheckpointReader::CheckpointReader(CheckpointReader&&) noexcept = default;

std::uint64_t CheckpointReader::step() const { return impl_->manifest.step; }
std::uint32_t CheckpointReader::attempt() const { return impl_->manifest.attempt; }
const nlohmann::json& CheckpointReader::state() const { return impl_->manifest.state; }
const std::vector<TensorInfo>& CheckpointReader::tensors() const { return impl_->infos; }
bool CheckpointReader::has(const TensorId& id) const { return impl_->index.contains(id); }
std::uint64_t CheckpointReader::fingerprint_of(const TensorId& id) const { return impl_->tensor(id).fingerprint; }

void CheckpointReader::read(const TensorId& id, const Box& box, void* to) const {
    const ManifestTensor& tensor = impl_->tensor(id);
    if (!lies_inside(box, tensor.info.shape)) {
        throw CheckpointError("cannot read box {} of tensor {} in checkpoint '{}': its shape is {}", to_string(box),
                              to_string(id), impl_->directory.string(), to_string(tensor.info.shape));
    }
    const std::size_t size = element_bytes(tensor.info.dtype);
    auto* output = static_cast<std::byte*>(to);
    const std::lock_guard lock(impl_->mutex);
    try {
        for (const ManifestBox& stored : tensor.boxes) {
            const auto part = intersect(box, stored.box);
            if (!part) continue;
            for_each_run(
                *part, stored.box, box, [&](std::int64_t first_in, std::int64_t first_out, std::int64_t elements) {
                    impl_->blocks.read(stored.file, stored.file_offset + static_cast<std::size_t>(first_in) * size,
                                       {output + static_cast<std::size_t>(first_out) * size,
                                        static_cast<std::size_t>(elements) * size});
                });
        }
    } catch (const CheckpointError& fault) {
        throw CheckpointError("cannot read tensor {} box {}: {}", to_string(id), to_string(box), fault.what());
    }
}

}  // namespace kiban::checkpoint
