// SPDX-License-Identifier: Apache-2.0
// A model whose every element is a closed form of (tensor, step, index), so that what a checkpoint should hold is known
// on any layout; and the loop that saves it with N writers in one process. tests/checkpoint/referee.py holds the same
// closed form.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/commit.h"
#include "checkpoint/placement.h"
#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "tests/support/message_of.h"

namespace kiban::checkpoint::testing {

/// All dtypes, 0 to 3 dimensions, one empty tensor, sizes that nothing divides.
std::vector<TensorInfo> small_model();
/// Three of them, for tests that save hundreds of times.
std::vector<TensorInfo> tiny_model();

/// The element bits of (tensor, step) at a flat index, in the low bytes.
std::uint64_t element_bits(const TensorInfo& tensor, std::uint64_t step, std::int64_t index);
/// A box of it, row-major.
std::vector<std::byte> box_bytes(const TensorInfo& tensor, std::uint64_t step, const Box& box);

/// The boxes of a tensor that writer `rank` of `ranks` owns.
using Layout = std::function<std::vector<Box>(const TensorInfo&, int rank, int ranks)>;
std::vector<Box> flat_layout(const TensorInfo& tensor, int rank, int ranks);  // ZeRO: even parts of the flat tensor
std::vector<Box> first_dim_layout(const TensorInfo& tensor, int rank, int ranks);  // rows
std::vector<Box> last_dim_layout(const TensorInfo& tensor, int rank, int ranks);   // columns

struct Save {
    std::filesystem::path run_dir;
    std::uint64_t step = 0;
    std::uint32_t attempt = 1;
    int writers = 2;
    Layout layout = flat_layout;
    std::vector<TensorInfo> model = small_model();
    bool in_background = false;  // by a BackgroundWriter with a pool smaller than the shard
};
RunState state_of(const Save& save);
/// The curve of steps 1 to `last`, in closed form (that of referee.py).
std::vector<monitoring::CurveRow> curve_rows(std::uint64_t last);
/// All columns as text, so that equal text is equal bits.
std::string curve_text(const std::vector<monitoring::CurveRow>& rows);
std::uint64_t model_bytes(const std::vector<TensorInfo>& model);
ShardReport write_shard_of(const Save& save, const std::filesystem::path& staging, int rank);
std::vector<ShardReport> write_shards(const Save& save, const std::filesystem::path& staging);
/// begin, write shards and curve, commit; abandons the staging directory when that throws, as the coordinator does.
CheckpointInfo write_checkpoint(const Save& save);

/// Reads every box of the layout and returns the tensors in which an element or the sum of fingerprints is not the
/// closed form.
std::vector<std::string> wrong_tensors(const CheckpointReader& reader, const std::vector<TensorInfo>& model,
                                       const Layout& layout, int ranks);

/// A directory that goes when the test ends; by default in the system's place for temporary files.
class Scratch {
  public:
    explicit Scratch(const std::filesystem::path& parent = std::filesystem::temp_directory_path());
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

/// Standard output and error of a shell command, and its status as of waitpid.
struct CommandResult {
    int status = 0;
    std::string output;
};
CommandResult run_command(const std::string& command);

void flip_bit(const std::filesystem::path& file, std::uint64_t byte, int bit);
void put_text(const std::filesystem::path& file, const std::string& text);
std::size_t entries_in(const std::filesystem::path& directory);  // 0 when missing

}  // namespace kiban::checkpoint::testing
