// SPDX-License-Identifier: Apache-2.0
// Operators who wait for a checkpoint, and the step that it must hold at least. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kiban::coordinator {

class SaveWishes {
  public:
    /// Request `id` came after `step`.
    void add(const std::string& id, std::uint64_t step) { wishes_.push_back({id, step}); }
    /// An attempt begins at `step`: what came after it is done again, and is no part of any wish.
    void went_back_to(std::uint64_t step);
    /// The requests that a checkpoint of `step` fulfils.
    std::vector<std::string> take_up_to(std::uint64_t step);
    bool empty() const { return wishes_.empty(); }

  private:
    struct Wish {
        std::string id;
        std::uint64_t step = 0;
    };
    std::vector<Wish> wishes_;
};

}  // namespace kiban::coordinator
