// SPDX-License-Identifier: Apache-2.0
// Runs of words that stand in evaluation files, to be looked for in the texts to train on (Brown et al. 2020, appendix
// C: 13 words).
//
// Words are those of data/clean/word_hashes.h. Two runs are taken as the same when their 64-bit hashes are.
#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kiban::data {

struct EvaluationFile {
    std::string name;             // as the run file would write it
    std::uint64_t documents = 0;  // of which runs are looked for
    std::uint64_t too_short = 0;  // documents of fewer words than a run has: they cannot be found
    std::uint64_t runs = 0;       // different ones

    bool operator==(const EvaluationFile&) const = default;
};

class NgramSet {
  public:
    /// `words` of a run, at least 1.
    explicit NgramSet(std::uint64_t words) : words_(words) {}
    /// What to_bytes() gave. DataError names `file` when it is something else.
    static NgramSet load(const std::filesystem::path& file);

    /// Files first, in order; then their documents, in any order.
    std::size_t add_file(std::string name);
    void add_document(std::size_t file, std::string_view text);
    /// After the last document and before anything is looked for.
    void close();

    std::string to_bytes() const;
    std::uint64_t words() const { return words_; }
    const std::vector<EvaluationFile>& files() const { return files_; }

    /// The files with which the text shares a run, in order.
    std::vector<std::size_t> shared_with(std::string_view text) const;

  private:
    struct Entry {
        std::uint64_t hash = 0;
        std::uint64_t file = 0;
        auto operator<=>(const Entry&) const = default;
    };

    void make_filter();
    bool may_hold(std::uint64_t hash) const;

    std::uint64_t words_;
    std::vector<EvaluationFile> files_;
    std::vector<Entry> entries_;         // sorted, each once
    std::vector<std::uint64_t> filter_;  // a bit for the upper bits of each hash: most runs are told off by it
    int shift_ = 0;
};

}  // namespace kiban::data
