// SPDX-License-Identifier: Apache-2.0
// kiban inspect CHECKPOINT|SHARD|MANIFEST: what is inside, for a person.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"
#include "coordinator/cli/readable.h"
#include "data/manifest.h"
#include "data/shard.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

struct InspectOptions {
    fs::path path;
    bool run_file = false;
};

std::uint64_t bytes_of(const checkpoint::TensorInfo& tensor) {
    return static_cast<std::uint64_t>(checkpoint::num_elements(tensor.shape)) * checkpoint::element_bytes(tensor.dtype);
}

void print_state(const nlohmann::json& state) {
    fmt::print("state\n");
    for (const auto& [key, value] : state.items()) {
        if (key == "run_file") continue;
        fmt::print("  {:<20} {}\n", key, value.is_string() ? value.get<std::string>() : value.dump());
    }
}

// layers.2 before layers.10: runs of digits compare as numbers.
bool natural_less(const std::string& a, const std::string& b) {
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
        if (is_digit(a[i]) && is_digit(b[j])) {
            const std::size_t i_end = std::min(a.find_first_not_of("0123456789", i), a.size());
            const std::size_t j_end = std::min(b.find_first_not_of("0123456789", j), b.size());
            const auto digits = std::pair(i_end - i, a.substr(i, i_end - i));
            const auto others = std::pair(j_end - j, b.substr(j, j_end - j));
            if (digits != others) return digits < others;
            i = i_end;
            j = j_end;
        } else {
            if (a[i] != b[j]) return a[i] < b[j];
            ++i;
            ++j;
        }
    }
    return a.size() < b.size();
}

// One line a tensor; what the optimizer keeps of it stands on the same line.
void print_tensors(const std::vector<checkpoint::TensorInfo>& tensors) {
    struct Line {
        std::vector<std::string> kinds;
        std::string dtype;
        std::string shape;
        std::uint64_t bytes = 0;
    };
    std::map<std::string, Line, decltype(&natural_less)> lines(&natural_less);
    std::size_t width = 4;
    std::uint64_t total = 0;
    for (const checkpoint::TensorInfo& tensor : tensors) {
        Line& line = lines[tensor.id.name];
        line.kinds.insert(tensor.id.kind == "param" ? line.kinds.begin() : line.kinds.end(), tensor.id.kind);
        line.dtype = checkpoint::name_of(tensor.dtype);
        line.shape = shape_text(tensor.shape);
        line.bytes += bytes_of(tensor);
        total += bytes_of(tensor);
        width = std::max(width, tensor.id.name.size());
    }
    fmt::print("{} tensors, {}\n", tensors.size(), bytes_text(total));
    for (const auto& [name, line] : lines) {
        fmt::print("  {:<{}}  {:<5} {:<16} {:>10}  {}\n", name, width, line.dtype, line.shape, bytes_text(line.bytes),
                   fmt::join(line.kinds, " "));
    }
}

void inspect_checkpoint(const fs::path& directory, bool run_file) {
    const checkpoint::CheckpointReader reader(directory);
    if (run_file) {
        fmt::print("{}", reader.state().at("run_file").get<std::string>());
        return;
    }
    fmt::print("checkpoint {}\nstep {}, attempt {}\n", directory.string(), reader.step(), reader.attempt());
    print_state(reader.state());
    fmt::print("the resolved run file is shown by --run-file\n");
    print_tensors(reader.tensors());
}

// Text that a terminal may show: control characters and broken UTF-8 become dots.
std::string harmless(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = static_cast<unsigned char>(text[i]);
        std::size_t length = byte < 0x80 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC2 ? 2 : 0;
        bool good = length != 0 && i + length <= text.size() && byte < 0xF5 && byte != 0x7F &&
                    (byte >= 0x20 || byte == '\n' || byte == '\t');
        for (std::size_t j = 1; good && j < length; ++j)
            good = (static_cast<unsigned char>(text[i + j]) & 0xC0) == 0x80;
        if (good && length == 2 && byte == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0)
            good = false;  // C1 controls
        if (!good) length = 1;
        out += good ? text.substr(i, length) : ".";
        i += length;
    }
    return out;
}

data::Tokenizer tokenizer_of(const data::Shard& shard, const fs::path& file) {
    if (shard.tokenizer() == "bytes") return data::Tokenizer("bytes");
    const fs::path beside = file.parent_path() / data::Tokenizer::kept_as(shard.tokenizer());
    auto tokenizer = data::Tokenizer::from_file(beside, shard.tokenizer());
    if (tokenizer.sha256() == shard.tokenizer_sha256()) return tokenizer;
    throw DataError("cannot decode '{}' with '{}': expected digest {}, found {}", file.string(), beside.string(),
                    shard.tokenizer_sha256(), tokenizer.sha256());
}

void inspect_token_shard(const fs::path& file) {
    constexpr std::uint64_t kTokensShown = 400;
    const data::Shard shard(file);
    const data::ShardDocuments documents = shard.documents();
    fmt::print(
        "token shard {}\n  {:<12} {}\n  {:<12} {} of a vocabulary of {}\n  {:<12} {}{}\n  {:<12} {}\n  {:<12} {}\n",
        file.string(), "tokenizer", shard.tokenizer(), "tokens", count_text(shard.tokens()), shard.vocabulary(),
        "documents", count_text(documents.size()),
        documents.first_continues ? ", the first continues one of the shard before" : "", "bytes",
        bytes_text(shard.bytes()), "blocks", shard.block_xxh3().size());
    if (shard.tokens() == 0) return;
    const auto ids = shard.read(0, std::min(shard.tokens(), kTokensShown));
    const std::string text = harmless(tokenizer_of(shard, file).decode(ids));
    if (documents.size() > 0) fmt::print("  {:<12} {}\n", "first id", data::to_hex(std::span(documents.ids).first(1)));
    fmt::print("first text\n");
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        fmt::print("  | {}\n", text.substr(begin, end - begin));
        begin = end + 1;
    }
}

void inspect_tokenizer(const fs::path& file) {
    const auto tokenizer = data::Tokenizer::from_file(file);
    const data::BpeDefinition& definition = tokenizer.bpe()->definition();
    fmt::print("tokenizer {}\n  {:<12} {}\n  {:<12} {}\n  {:<12} {}{}\n", file.string(), "digest", tokenizer.sha256(),
               "vocabulary", tokenizer.vocabulary(), "merges", count_text(definition.merges.size()),
               definition.ignore_merges ? ", not for pieces that are tokens" : "");
    for (const std::string& pattern : definition.patterns) {
        const bool scanner = data::SplitterFactory({pattern}).has_scanner();
        fmt::print("  {:<12} {}  ({})\n", "pattern", harmless(pattern), scanner ? "scanner" : "regular expression");
    }
    for (const data::AddedToken& token : definition.added) {
        fmt::print("  {:<12} {} {}{}\n", token.special ? "special" : "added", token.id, harmless(token.text),
                   token.id == tokenizer.end_of_document() ? "  (ends documents)" : "");
    }
}

std::string account_text(const data::SourceAccount& account) {
    std::string text;
    for (const auto& [key, value] :
         {std::pair("licence", &account.licence), std::pair("legal basis", &account.legal_basis),
          std::pair("to be used until", &account.retain_until), std::pair("sensitivity", &account.sensitivity)}) {
        if (!value->empty()) text += fmt::format("{}{} {}", text.empty() ? "  (" : ", ", key, harmless(*value));
    }
    return text.empty() ? text : text + ")";
}

void inspect_manifest(const fs::path& file) {
    const data::Manifest manifest = data::Manifest::load(file);
    fmt::print("corpus {}\n  {:<12} {}\n  {:<12} {} (vocabulary {})\n", file.string(), "digest", manifest.digest(),
               "tokenizer", manifest.tokenizer, manifest.vocabulary);
    fmt::print("{} sources\n", manifest.sources.size());
    for (const data::ManifestSource& source : manifest.sources) {
        fmt::print("  {}{}\n    {} documents, {} of input, {} tokens to train on, {} held out\n", source.name,
                   account_text(source.account), count_text(source.documents), bytes_text(source.input_bytes),
                   count_text(source.train.tokens), count_text(source.holdout.tokens));
    }
    fmt::print("{} shards\n", manifest.shards.size());
    for (const data::ManifestShard& shard : manifest.shards) {
        fmt::print("  {}  {} tokens, {}\n", shard.file, count_text(shard.tokens), bytes_text(shard.bytes));
    }
}

void inspect_directory(const fs::path& path, bool run_file) {
    if (is_checkpoint(path)) return inspect_checkpoint(path, run_file);
    if (fs::exists(path / "manifest.json")) return inspect_manifest(path / "manifest.json");
    const auto checkpoints = checkpoint::list_checkpoints(named_run(path).root());
    if (checkpoints.empty()) throw CheckpointError("run '{}' has no checkpoint yet", path.string());
    inspect_checkpoint(checkpoints.front().directory, run_file);
}

void inspect(const InspectOptions& options) {
    const fs::path path = fs::absolute(options.path).lexically_normal();
    if (!fs::exists(path))
        throw IoError("cannot inspect '{}': there is no such file or directory", options.path.string());
    if (fs::is_directory(path)) return inspect_directory(path, options.run_file);
    if (is_checkpoint(path.parent_path())) return inspect_checkpoint(path.parent_path(), options.run_file);
    if (path.extension() == ".h5") return inspect_token_shard(path);
    if (path.filename().string().ends_with("tokenizer.json")) return inspect_tokenizer(path);
    if (path.extension() == ".json") return inspect_manifest(path);
    throw UsageError(
        "cannot inspect '{}': expected a checkpoint directory, a run directory, a token shard (.h5), a corpus manifest "
        "(.json) or a tokenizer.json",
        options.path.string());
}

}  // namespace

void add_inspect_command(CLI::App& app, int& /*exit_code*/) {
    CLI::App* command =
        app.add_subcommand("inspect", "what is inside a checkpoint, a token shard, a corpus manifest or a tokenizer");
    auto options = std::make_shared<InspectOptions>();
    command
        ->add_option("PATH", options->path,
                     "checkpoint or run directory (its newest checkpoint), token shard, manifest, tokenizer.json")
        ->required();
    command->add_flag("--run-file", options->run_file, "only the resolved run file of the checkpoint, as TOML");
    command->callback([options] { inspect(*options); });
}

}  // namespace kiban::coordinator
