// SPDX-License-Identifier: Apache-2.0
// Files of word counts: written, read as streams, merged.
#include <algorithm>
#include <array>
#include <cstring>
#include <queue>

#include "data/bpe/words.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

constexpr std::array<char, 8> kMagic = {'K', 'I', 'B', 'A', 'N', 'W', 'C', '1'};
constexpr std::size_t kBufferBytes = 256u << 10;
constexpr std::size_t kFilesAtOnce = 256;      // open at a time
constexpr std::size_t kCountsTold = 1u << 20;  // words this frequent or more are never left out

struct Head {  // before each word
    std::uint64_t count = 0;
    std::uint32_t bytes = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(Head) == 16);

struct Footer {
    std::uint64_t words = 0;
    std::uint64_t result_bytes = 0;
    std::array<char, 8> magic = kMagic;
};

[[noreturn]] void refuse(const std::filesystem::path& name) {
    throw IoError("cannot read word counts '{}': they are damaged; delete the directory '{}' and start again",
                  name.string(), name.parent_path().string());
}

class CountWriter {
  public:
    explicit CountWriter(const std::filesystem::path& name) : file_(monitoring::File::create(name)) {
        put(kMagic.data(), kMagic.size());
    }

    void add(std::string_view word, std::uint64_t count) {
        const Head head{count, static_cast<std::uint32_t>(word.size()), 0};
        put(&head, sizeof(head));
        put(word.data(), word.size());
        ++words_;
        if (buffer_.size() >= kBufferBytes) flush();
    }

    void finish(const nlohmann::json& result) {
        const std::string text = result.dump();
        put(text.data(), text.size());
        const Footer footer{words_, text.size(), kMagic};
        put(&footer, sizeof(footer));
        flush();
        file_.sync("data.words");
        file_.close();
    }

  private:
    void put(const void* bytes, std::size_t count) { buffer_.append(static_cast<const char*>(bytes), count); }

    void flush() {
        file_.append(std::as_bytes(std::span(buffer_)));
        buffer_.clear();
    }

    monitoring::File file_;
    std::string buffer_;
    std::uint64_t words_ = 0;
};

class CountReader {
  public:
    explicit CountReader(const std::filesystem::path& name) : name_(name), file_(monitoring::File::open_read(name)) {
        Footer footer;
        if (file_.size() < kMagic.size() + sizeof(footer)) refuse(name_);
        file_.read_at(file_.size() - sizeof(footer), std::as_writable_bytes(std::span(&footer, 1)));
        const std::uint64_t room = file_.size() - kMagic.size() - sizeof(footer);
        if (footer.magic != kMagic || footer.result_bytes > room) refuse(name_);
        words_left_ = footer.words;
        at_ = kMagic.size();
        end_ = at_ + room - footer.result_bytes;
        result_.resize(static_cast<std::size_t>(footer.result_bytes));
        file_.read_at(end_, std::as_writable_bytes(std::span(result_)));
    }

    nlohmann::json result() const {
        auto result = nlohmann::json::parse(result_, nullptr, false);
        if (result.is_discarded()) refuse(name_);
        return result;
    }

    /// False at the end; then word() and count() are those of the next one.
    bool next() {
        if (words_left_ == 0) {
            if (at_ != end_ || used_ != buffer_.size()) refuse(name_);
            return false;
        }
        --words_left_;
        Head head;
        std::memcpy(&head, take(sizeof(head)).data(), sizeof(head));
        if (head.bytes == 0 || head.bytes > kWordBytes) refuse(name_);
        std::string_view word = take(head.bytes);
        if (!(std::string_view(word_) < word)) refuse(name_);
        word_ = word;
        count_ = head.count;
        return true;
    }

    const std::string& word() const { return word_; }
    std::uint64_t count() const { return count_; }

  private:
    /// Valid until the next call.
    std::string_view take(std::size_t bytes) {
        if (buffer_.size() - used_ < bytes) {
            buffer_.erase(0, used_);
            used_ = 0;
            const std::size_t kept = buffer_.size();
            buffer_.resize(kept + static_cast<std::size_t>(std::min<std::uint64_t>(kBufferBytes, end_ - at_)));
            const auto room = std::span(buffer_).subspan(kept);
            file_.read_at(at_, std::as_writable_bytes(room));
            at_ += room.size();
            if (buffer_.size() < bytes) refuse(name_);
        }
        const std::string_view taken = std::string_view(buffer_).substr(used_, bytes);
        used_ += bytes;
        return taken;
    }

    std::filesystem::path name_;
    monitoring::File file_;
    std::string result_;
    std::string buffer_;
    std::size_t used_ = 0;
    std::uint64_t at_ = 0;  // of the file: what is not in the buffer yet
    std::uint64_t end_ = 0;
    std::uint64_t words_left_ = 0;
    std::string word_;
    std::uint64_t count_ = 0;
};

using Visit = std::function<void(std::string_view, std::uint64_t)>;

void merge_files(std::span<const std::filesystem::path> files, const Visit& visit) {
    std::vector<CountReader> readers;
    readers.reserve(files.size());
    const auto later = [&](std::size_t a, std::size_t b) { return readers[a].word() > readers[b].word(); };
    std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(later)> queue(later);
    for (const std::filesystem::path& file : files) {
        readers.emplace_back(file);
        if (readers.back().next()) queue.push(readers.size() - 1);
    }
    std::string word;
    std::uint64_t count = 0;
    while (!queue.empty()) {
        const std::size_t first = queue.top();
        queue.pop();
        if (readers[first].word() != word) {
            if (count > 0) visit(word, count);
            word = readers[first].word();
            count = 0;
        }
        count += readers[first].count();
        if (readers[first].next()) queue.push(first);
    }
    if (count > 0) visit(word, count);
}

void write_table(const WordTable& table, const std::filesystem::path& name, const nlohmann::json& result) {
    CountWriter writer(name);
    table.for_each_sorted([&](std::string_view word, std::uint64_t count) { writer.add(word, count); });
    writer.finish(result);
}

void write_sum(std::span<const std::filesystem::path> files, const std::filesystem::path& name,
               const nlohmann::json& result) {
    CountWriter writer(name);
    merge_files(files, [&](std::string_view word, std::uint64_t count) { writer.add(word, count); });
    writer.finish(result);
}

// How many words with each count there are, and what they cost.
struct Histogram {
    std::vector<std::uint64_t> words = std::vector<std::uint64_t>(kCountsTold);
    std::vector<std::uint64_t> text_bytes = std::vector<std::uint64_t>(kCountsTold);
    std::vector<std::uint64_t> cost = std::vector<std::uint64_t>(kCountsTold);

    void add(std::string_view word, std::uint64_t count) {
        const auto bin = static_cast<std::size_t>(std::min<std::uint64_t>(count, kCountsTold - 1));
        ++words[bin];
        text_bytes[bin] += word.size() * count;
        cost[bin] += training_bytes(word.size());
    }
};

}  // namespace

UnitWords::UnitWords(std::filesystem::path staging, std::size_t most_bytes)
    : staging_(std::move(staging)), most_bytes_(most_bytes) {}

UnitWords::~UnitWords() = default;

void UnitWords::add(std::string_view piece) {
    table_.add(piece);
    if (table_.memory_bytes() > most_bytes_) spill();
}

void UnitWords::spill() {
    spilled_.push_back(std::make_unique<Temporary>(staging_, "words"));
    write_table(table_, spilled_.back()->path(), nullptr);
    table_.clear();
}

void UnitWords::publish(const std::filesystem::path& name, const nlohmann::json& result) {
    Temporary temporary(staging_, "words");
    if (spilled_.empty()) {
        write_table(table_, temporary.path(), result);
    } else {
        spill();
        std::vector<std::filesystem::path> files;
        for (const auto& file : spilled_) files.push_back(file->path());
        write_sum(files, temporary.path(), result);
    }
    temporary.publish(name, "data.words");
}

std::optional<nlohmann::json> word_counts_result(const std::filesystem::path& name) {
    if (!monitoring::anything_at(name)) return std::nullopt;
    return CountReader(name).result();
}

MergedWords merge_word_counts(std::vector<std::filesystem::path> files, const std::filesystem::path& staging,
                              std::uint64_t most_bytes) {
    std::vector<std::unique_ptr<Temporary>> temporaries;
    while (files.size() > kFilesAtOnce) {
        std::vector<std::filesystem::path> merged;
        for (std::size_t first = 0; first < files.size(); first += kFilesAtOnce) {
            temporaries.push_back(std::make_unique<Temporary>(staging, "merged"));
            merged.push_back(temporaries.back()->path());
            write_sum(std::span(files).subspan(first, std::min(kFilesAtOnce, files.size() - first)), merged.back(),
                      nullptr);
        }
        files = std::move(merged);
    }
    Histogram histogram;
    merge_files(files, [&](std::string_view word, std::uint64_t count) { histogram.add(word, count); });
    MergedWords result;
    std::uint64_t cost = 0;
    for (const std::uint64_t bin : histogram.cost) cost += bin;
    for (; cost > most_bytes; ++result.least_count) {
        if (result.least_count == kCountsTold - 1) {
            throw DataError("cannot train a tokenizer in {} bytes of memory: its {} most frequent words need {}",
                            most_bytes, histogram.words.back(), cost);
        }
        cost -= histogram.cost[result.least_count];
        result.left_out += histogram.words[result.least_count];
        result.left_out_bytes += histogram.text_bytes[result.least_count];
    }
    merge_files(files, [&](std::string_view word, std::uint64_t count) {
        if (count >= result.least_count) result.words.add(word, count);
    });
    return result;
}

}  // namespace kiban::data
