// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/wishes.h"

#include <algorithm>

namespace kiban::coordinator {

void SaveWishes::went_back_to(std::uint64_t step) {
    for (Wish& wish : wishes_) wish.step = std::min(wish.step, step);
}

std::vector<std::string> SaveWishes::take_up_to(std::uint64_t step) {
    std::vector<std::string> taken;
    for (const Wish& wish : wishes_) {
        if (wish.step <= step) taken.push_back(wish.id);
    }
    std::erase_if(wishes_, [step](const Wish& wish) { return wish.step <= step; });
    return taken;
}

}  // namespace kiban::coordinator
