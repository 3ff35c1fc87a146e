// SPDX-License-Identifier: Apache-2.0
// Names of persons, customers, projects, from a list that the user gives: found as they are written there, and in
// capitals (of ASCII); a space stands for any white space, so that a name is found over the end of a line.
//
// A name ends where a word ends: "Ann" is not found in "Annex". Scripts without spaces between words have no such ends.
// Immutable, thread-safe; time per byte does not grow with the list, only with the length of what may be a name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/privacy/kind.h"

namespace kiban::data {

class NameList {
  public:
    static constexpr std::size_t kMostNameBytes = 256;

    /// One name a line, in UTF-8; what is blank around one is not part of it, blank lines are passed over. `where`
    /// names the list in errors. ConfigError: a name of less than 2 or more than kMostNameBytes bytes, another
    /// encoding, no name.
    NameList(std::string_view lines, const std::string& where);

    /// Of names that begin at the same place the longest; none within another.
    void find(std::string_view text, std::vector<Finding>& findings) const;
    std::size_t size() const { return listed_; }
    /// The first 16 hex digits of a digest of the lines: says that a list is the same.
    const std::string& id() const { return id_; }

  private:
    /// The end of the longest name that begins at `at`; `at` when there is none.
    std::size_t end_at(std::string_view text, std::size_t at) const;

    std::vector<std::string> names_;    // sorted, white space as one space; each also with ASCII capitals
    std::vector<std::uint32_t> first_;  // by the first two bytes, where their names begin in names_; 65537
    std::size_t listed_ = 0;
    std::string id_;
};

/// The list in `file`; null when that is empty. Errors as of the constructor; IoError when it cannot be read.
std::shared_ptr<const NameList> read_names(const std::string& file);

}  // namespace kiban::data
