// SPDX-License-Identifier: Apache-2.0
#include "tests/data/shuffled.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <random>

#include "data/prepare.h"

namespace kiban::data {

Shuffled prepare_shuffled(const DataConfig& config, const TempDirectory& directory, const std::string& corpora,
                          std::uint64_t seed) {
    std::mt19937_64 random(seed);
    Preparation preparation(config, directory.path(), directory / corpora);
    std::vector<nlohmann::json> held;
    Shuffled shuffled;
    while (!preparation.finished()) {
        while (held.size() < 1 + seed % 5) {
            auto task = preparation.next_task();
            if (!task) break;
            held.push_back(nlohmann::json::parse(task->dump()));
        }
        std::shuffle(held.begin(), held.end(), random);
        const nlohmann::json task = held.back();
        held.pop_back();
        const auto id = task.at("id").get<std::uint64_t>();
        if (random() % 4 == 0) {
            preparation.give_back(id);
            ++shuffled.given_back;
            if (random() % 2 == 0) continue;  // else its worker was only slow, and its result still arrives
        }
        preparation.complete(id, nlohmann::json::parse(run_task(task).dump()));
    }
    shuffled.files = contents(preparation.manifest_file().parent_path());
    return shuffled;
}

}  // namespace kiban::data
