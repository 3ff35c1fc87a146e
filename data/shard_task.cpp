// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "data/digest.h"
#include "data/duplicates.h"
#include "data/shard.h"
#include "data/staging.h"
#include "data/tasks.h"
#include "data/units.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

struct Range {  // tokens [first, first + count) of a staged unit
    std::uint64_t unit = 0;
    std::uint64_t first = 0;
    std::uint64_t count = 0;
};

StagedUnit open_unit(const std::filesystem::path& corpus, std::uint64_t unit) {
    auto staged = StagedUnit::open(staged_unit_file(corpus, unit));
    if (!staged) throw IoError("cannot read staged unit '{}': it is gone", staged_unit_file(corpus, unit).string());
    return std::move(*staged);
}

// Which tokens of which units make the shard, and the documents in them.
class Gathering {
  public:
    Gathering(const std::filesystem::path& corpus, std::uint64_t duplicate_ranges)
        : corpus_(corpus), duplicates_(corpus, duplicate_ranges) {}

    void add(const nlohmann::json& part) {
        const auto unit = part.at("unit").get<std::uint64_t>();
        const auto held_out = part.at("held_out").get<std::uint8_t>();
        const auto skip = part.at("skip").get<std::uint64_t>();
        const auto end = skip + part.at("take").get<std::uint64_t>();
        const auto whole_document = ids_from_hex(part.at("document").get<std::string>());
        std::uint64_t position = 0;  // within the unit
        std::uint64_t selected = 0;  // within its documents of this split
        std::uint64_t number = 0;
        for (StagedDocument document : open_unit(corpus_, unit).documents()) {
            if (document.held_out == held_out && !duplicates_.contains(unit, number)) {
                const std::uint64_t from = std::max(selected, skip);
                const std::uint64_t to = std::min(selected + document.tokens, end);
                if (document.part != 0) document.id = whole_document.at(0);
                if (from < to) {
                    add_document(document, unit, from > selected || document.continued != 0);
                    add_range({unit, position + from - selected, to - from});
                }
                selected += document.tokens;
            }
            position += document.tokens;
            ++number;
        }
    }

    std::uint64_t tokens() const { return tokens_; }

    ShardDocuments take_documents() {
        documents_.offsets.push_back(tokens_);
        return std::move(documents_);
    }

    void next_tokens(std::span<std::uint32_t> ids) {
        while (!ids.empty()) {
            const Range& range = ranges_.at(range_);
            if (!unit_ || unit_id_ != range.unit) {
                unit_.emplace(open_unit(corpus_, range.unit));
                unit_id_ = range.unit;
            }
            const auto part =
                ids.first(static_cast<std::size_t>(std::min<std::uint64_t>(ids.size(), range.count - read_)));
            unit_->read_tokens(range.first + read_, part);
            ids = ids.subspan(part.size());
            read_ += part.size();
            if (read_ < range.count) continue;
            ++range_;
            read_ = 0;
        }
    }

  private:
    void add_document(const StagedDocument& document, std::uint64_t unit, bool continues) {
        if (continues && documents_.size() > 0) return;  // goes on from the part before, which is in this shard
        documents_.first_continues = documents_.first_continues || continues;
        documents_.offsets.push_back(tokens_);
        documents_.ids.push_back(document.id);
        documents_.units.push_back(static_cast<std::uint32_t>(unit));
        documents_.files.push_back(document.file);
        documents_.records.push_back(document.offset);
    }

    void add_range(const Range& range) {
        tokens_ += range.count;
        if (!ranges_.empty() && ranges_.back().unit == range.unit &&
            ranges_.back().first + ranges_.back().count == range.first) {
            ranges_.back().count += range.count;
        } else {
            ranges_.push_back(range);
        }
    }

    std::filesystem::path corpus_;
    Duplicates duplicates_;
    ShardDocuments documents_;
    std::uint64_t tokens_ = 0;
    std::vector<Range> ranges_;
    std::size_t range_ = 0;   // next_tokens() stands in this one
    std::uint64_t read_ = 0;  // and has given so much of it
    std::optional<StagedUnit> unit_;
    std::uint64_t unit_id_ = 0;
};

nlohmann::json result_of(std::uint64_t shard, const std::filesystem::path& file, std::uint64_t tokens,
                         std::uint64_t bytes, std::span<const std::uint64_t> block_xxh3) {
    return {{"shard", shard},
            {"tokens", tokens},
            {"bytes", bytes},
            {"sha256", sha256_of_file(file)},
            {"blocks", fmt::format("{:016x}", fmt::join(block_xxh3, ""))}};
}

// A shard that is published is complete; it is read in full, since its result is still to be known.
nlohmann::json result_of_published(const std::filesystem::path& file, const nlohmann::json& task) {
    const Shard shard(file);
    shard.verify();
    const auto tokens = task.at("tokens").get<std::uint64_t>();
    if (shard.tokens() != tokens) {
        throw DataError(
            "token shard '{}' has {} tokens, expected {}; delete its directory and prepare the corpus again",
            file.string(), shard.tokens(), tokens);
    }
    return result_of(task.at("shard").get<std::uint64_t>(), file, tokens, shard.bytes(), shard.block_xxh3());
}

nlohmann::json gather(const std::filesystem::path& corpus, const nlohmann::json& task) {
    const auto shard = task.at("shard").get<std::uint64_t>();
    const Tokenizer tokenizer = tokenizer_from_json(task.at("tokenizer"), corpus);
    Gathering gathering(corpus, task.at("duplicate_ranges").get<std::uint64_t>());
    for (const nlohmann::json& part : task.at("parts")) gathering.add(part);
    ShardContent content;
    content.tokenizer = tokenizer.name();
    content.tokenizer_sha256 = tokenizer.sha256();
    content.config_sha256 = task.at("config_sha256").get<std::string>();
    content.vocabulary = tokenizer.vocabulary();
    content.end_of_document = tokenizer.end_of_document();
    content.tokens = task.at("tokens").get<std::uint64_t>();
    KIBAN_CHECK(content.tokens == gathering.tokens(), "{} tokens for a shard of {}", gathering.tokens(),
                content.tokens);
    content.documents = gathering.take_documents();
    content.next_tokens = [&](std::span<std::uint32_t> ids) { gathering.next_tokens(ids); };
    Temporary temporary(staging_directory(corpus), "shard");
    const WrittenShard written = write_shard(temporary.path(), content);
    nlohmann::json result = result_of(shard, temporary.path(), content.tokens, written.bytes, written.block_xxh3);
    temporary.publish(corpus / shard_name(shard), "data.shard");
    return result;
}

nlohmann::json make_shard(const std::filesystem::path& corpus, const nlohmann::json& task) {
    const std::filesystem::path file = corpus / shard_name(task.at("shard").get<std::uint64_t>());
    if (monitoring::anything_at(file)) return result_of_published(file, task);
    try {
        return gather(corpus, task);
    } catch (const IoError&) {
        // Another process may have finished the corpus and removed what was staged; then the shard is there.
        if (!monitoring::anything_at(file)) throw;
        return result_of_published(file, task);
    }
}

}  // namespace

std::filesystem::path shard_result_file(const std::filesystem::path& corpus, std::uint64_t shard) {
    return staging_directory(corpus) / fmt::format("shard-{:05}.json", shard);
}

std::string shard_name(std::uint64_t shard) { return fmt::format("shard-{:05}.h5", shard); }

nlohmann::json run_shard(const nlohmann::json& task) {
    const std::filesystem::path corpus = decode_name(task.at("directory").get<std::string>());
    const auto shard = task.at("shard").get<std::uint64_t>();
    const nlohmann::json result = make_shard(corpus, task);
    try {
        monitoring::make_directories(staging_directory(corpus));
        publish_through(staging_directory(corpus), shard_result_file(corpus, shard), result.dump(),
                        "data.shard_result");
    } catch (const IoError&) {
        if (!monitoring::anything_at(published_manifest(corpus))) throw;  // otherwise nobody needs it any more
    }
    return result;
}

}  // namespace kiban::data
