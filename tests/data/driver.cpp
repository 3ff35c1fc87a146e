// SPDX-License-Identifier: Apache-2.0
// Prepares a corpus in a process of its own, so that a test can kill it, starve it of disk or run several at once.
// Arguments: base directory, corpora directory, source path, jobs to do at most (0: all). Prints the tasks it did and
// the digest. With KIBAN_TEST_CLEAN in the environment documents are cleaned, compared and anonymised.
#include <cstdlib>
#include <iostream>

#include "data/prepare.h"
#include "monitoring/error.h"

int main(int argc, char** argv) {
    using namespace kiban::data;
    if (argc != 5) return 64;
    DataConfig config;
    config.holdout = {0.25, HoldoutBy::document};
    config.unit_bytes = 100'000;
    config.shard_tokens = 600'000;
    config.sources.emplace_back().path = argv[3];
    if (std::getenv("KIBAN_TEST_CLEAN") != nullptr) {
        config.clean.normalise = "text";
        config.clean.deduplicate = "near";
        config.clean.anonymise.all = "redact";
        config.clean.contamination.files = "evaluation.txt";
    }
    int tasks = 0;
    try {
        Preparation preparation(config, argv[1], argv[2]);
        while (const auto task = preparation.next_task()) {
            preparation.complete(task->at("id").get<std::uint64_t>(), run_task(*task));
            if (++tasks == std::atoi(argv[4])) return 0;
        }
        std::cout << tasks << " tasks, digest " << Manifest::load(preparation.manifest_file()).digest() << "\n";
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
        return kiban::exit_code_of(error);
    }
}
