// SPDX-License-Identifier: Apache-2.0
#include "coordinator/config/run_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

#include "coordinator/config/changes.h"
#include "coordinator/config/key_table.h"
#include "coordinator/config/nearest.h"
#include "coordinator/config/run_file_defaults.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

std::string found_text(const toml::node& node) {
    if (const auto text = node.value_exact<std::string>()) return fmt::format("the string {}", string_text(*text));
    if (const auto integer = node.value_exact<std::int64_t>()) return fmt::format("{}", *integer);
    if (const auto real = node.value_exact<double>()) return number_text(*real);
    if (const auto truth = node.value_exact<bool>()) return *truth ? "true" : "false";
    if (node.is_table()) return "a table";
    if (node.is_array()) return fmt::format("an array of {}", node.as_array()->size());
    return "a date or time";
}

// Walks a TOML tree and puts each value into its member.
class Reader {
  public:
    Reader(RunFile& run_file, std::string name) : run_file_(run_file), name_(std::move(name)) {}

    void read_table(const std::string& section, const toml::table& table) {
        for (const auto& [key, node] : table) {
            read(section.empty() ? std::string(key.str()) : section + "." + std::string(key.str()), node);
        }
    }

    void read(const std::string& path, const toml::node& node) {
        if (path == kSources) return read_sources(node);
        if (path.starts_with(std::string(kSources) + ".")) return read_into_source(path, node);
        for (const auto& key : run_file_keys()) {
            if (key.name == path) return set(key, path, node, run_file_);
        }
        if (!is_section(path)) throw unknown(path, node);
        const toml::table* table = node.as_table();
        if (table == nullptr) throw ConfigError("{}: {} is a section, found {}", where(node), path, found_text(node));
        read_table(path, *table);
    }

  private:
    void read_sources(const toml::node& node) {
        const toml::array* array = node.as_array();
        if (array == nullptr)
            throw ConfigError("{}: {}: expected [[{}]] tables, found {}", where(node), kSources, kSources,
                              found_text(node));
        run_file_.data.sources.clear();
        for (std::size_t i = 0; i < array->size(); ++i) read_source(i, (*array)[i]);
    }

    void read_source(std::size_t index, const toml::node& node) {
        const std::string path = fmt::format("{}.{}", kSources, index);
        const toml::table* table = node.as_table();
        if (table == nullptr)
            throw ConfigError("{}: {}: expected a table, found {}", where(node), path, found_text(node));
        auto& sources = run_file_.data.sources;
        if (index == sources.size()) sources.emplace_back();
        for (const auto& [key, value] : *table)
            set_in_source(path + "." + std::string(key.str()), index, key.str(), value);
    }

    // data.sources.N or data.sources.N.KEY, as --set writes it.
    void read_into_source(const std::string& path, const toml::node& node) {
        const std::string_view rest = std::string_view(path).substr(std::string_view(kSources).size() + 1);
        std::size_t index = 0;
        const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), index);
        const std::string_view after = rest.substr(static_cast<std::size_t>(end - rest.data()));
        if (error != std::errc{} || (!after.empty() && after.front() != '.')) throw unknown(path, node);
        if (index > run_file_.data.sources.size()) {
            throw ConfigError("{}: {}: there are {} sources, numbered from 0; expected at most {}, which adds one",
                              where(node), path, run_file_.data.sources.size(), run_file_.data.sources.size());
        }
        if (after.empty()) return read_source(index, node);
        if (index == run_file_.data.sources.size()) run_file_.data.sources.emplace_back();
        set_in_source(path, index, after.substr(1), node);
    }

    void set_in_source(const std::string& path, std::size_t index, std::string_view name, const toml::node& node) {
        for (const auto& key : source_keys()) {
            if (key.name == name) return set(key, path, node, run_file_.data.sources[index]);
        }
        throw unknown(path, node);
    }

    template <typename Target>
    void set(const Key<Target>& key, const std::string& path, const toml::node& node, Target& target) const {
        if (key.set(node, target)) return;
        std::string hint;
        if (const auto word = node.value_exact<std::string>(); word && key.words.size() > 1) {
            hint = fmt::format("; did you mean '{}'?", nearest(*word, key.words));
        }
        throw ConfigError("{}: {}: expected {}, found {}{}", where(node), path, key.expected, found_text(node), hint);
    }

    ConfigError unknown(const std::string& path, const toml::node& node) const {
        return ConfigError("{}: unknown key '{}'; did you mean '{}'?", where(node), path,
                           nearest_key(path, known_names()));
    }

    std::string where(const toml::node& node) const {
        const auto& source = node.source();
        if (source.path && *source.path != name_) return *source.path;  // an override
        return source.begin ? fmt::format("'{}' line {}", name_, source.begin.line) : fmt::format("'{}'", name_);
    }

    RunFile& run_file_;
    std::string name_;
};

bool is_textual(const std::string& path) {
    for (const auto& key : run_file_keys()) {
        if (key.name == path) return key.textual;
    }
    if (!path.starts_with(std::string(kSources) + ".")) return false;
    const std::string last = path.substr(path.rfind('.') + 1);
    for (const auto& key : source_keys()) {
        if (key.name == last) return key.textual;
    }
    return false;
}

std::optional<toml::table> parse_value(const std::string& text, const std::string& source) {
    try {
        toml::table table = toml::parse("value = " + text, source);
        if (table.size() != 1 || !table.contains("value")) return std::nullopt;
        return table;
    } catch (const toml::parse_error&) {
        return std::nullopt;
    }
}

struct Override {
    std::string text;  // as on the command line
    std::string path;
    std::string value;
};

// Each key at most once: of two values one would be meant and the other one lost.
std::vector<Override> split_overrides(const std::vector<std::string>& texts) {
    std::vector<Override> overrides;
    for (const std::string& text : texts) {
        const std::size_t equals = text.find('=');
        if (equals == std::string::npos || equals == 0) {
            throw UsageError("--set '{}': expected KEY=VALUE, such as train.steps=200", text);
        }
        Override now{text, text.substr(0, equals), text.substr(equals + 1)};
        for (const Override& before : overrides) {
            if (before.path != now.path) continue;
            throw UsageError("the command line sets {} twice: to '{}' and to '{}'; leave one of them out", now.path,
                             before.value, now.value);
        }
        overrides.push_back(std::move(now));
    }
    return overrides;
}

void apply_override(Reader& reader, const Override& override_of_key, const char* origin = "--set") {
    const auto& [text, path, value] = override_of_key;
    const std::string source = fmt::format("{} '{}'", origin, text);
    auto table = parse_value(value, source);
    // A word needs no quotes on a command line, even one that reads as a number or a date.
    if (!table || (is_textual(path) && !table->get("value")->is_string()))
        table = parse_value(string_text(value), source);
    if (!table) throw ConfigError("{}: the value is not UTF-8 text", source);
    reader.read(path, *table->get("value"));
}

template <typename Target>
void write_keys(std::string& out, const std::string& section, const std::vector<Key<Target>>& keys,
                const Target& target) {
    for (const auto& key : keys) {
        const std::size_t dot = key.name.rfind('.');
        const std::string of = dot == std::string::npos ? "" : key.name.substr(0, dot);
        if (of == section)
            out += fmt::format("{} = {}\n", key.name.substr(dot == std::string::npos ? 0 : dot + 1), key.text(target));
    }
}

// Every key with its value, in the order of the table; sources by their number.
std::vector<std::pair<std::string, std::string>> values_of(const RunFile& run_file, bool only_fixed) {
    std::vector<std::pair<std::string, std::string>> values;
    for (const auto& key : run_file_keys()) {
        if (!only_fixed || key.change == Change::fixed) values.emplace_back(key.name, key.text(run_file));
    }
    for (std::size_t i = 0; i < run_file.data.sources.size(); ++i) {
        for (const auto& key : source_keys()) {
            if (only_fixed && key.change != Change::fixed) continue;
            values.emplace_back(fmt::format("{}.{}.{}", kSources, i, key.name), key.text(run_file.data.sources[i]));
        }
    }
    return values;
}

std::vector<std::string> changes(const RunFile& saved, const RunFile& now, bool only_fixed) {
    std::vector<std::string> lines;
    // One that is added behind the others takes nothing from them.
    const bool forbidden = now.data.sources.size() < saved.data.sources.size();
    if (only_fixed ? forbidden : saved.data.sources.size() != now.data.sources.size()) {
        lines.push_back(
            fmt::format("{}: saved {} of them, now {}", kSources, saved.data.sources.size(), now.data.sources.size()));
    }
    const auto before = values_of(saved, only_fixed);
    for (const auto& [name, value] : values_of(now, only_fixed)) {
        const auto old =
            std::find_if(before.begin(), before.end(), [&](const auto& entry) { return entry.first == name; });
        if (old != before.end() && old->second != value)
            lines.push_back(fmt::format("{}: saved {}, now {}", name, old->second, value));
    }
    return lines;
}

}  // namespace

fs::path RunFile::run_dir() const {
    return fs::absolute(base / (run.dir.empty() ? fs::path("runs") / run.name : run.dir)).lexically_normal();
}

fs::path RunFile::corpora_dir() const {
    if (data.corpora_dir.empty()) return run_dir().parent_path() / "corpora";
    return fs::absolute(base / data.corpora_dir).lexically_normal();
}

namespace {

struct RunFileText {
    std::string toml;
    fs::path base;
    std::string name;  // for messages
};

RunFile parse_keys(const std::vector<std::string>& defaults, const RunFileText& text,
                   const std::vector<std::string>& overrides) {
    RunFile run_file;
    Reader reader(run_file, text.name);
    for (const Override& entry : split_overrides(defaults)) apply_override(reader, entry, "the model's files:");
    try {
        reader.read_table("", toml::parse(text.toml, text.name));
    } catch (const toml::parse_error& error) {
        throw ConfigError("'{}' line {}: {}", text.name, error.source().begin.line, error.description());
    }
    for (const Override& entry : split_overrides(overrides)) apply_override(reader, entry);
    run_file.base = fs::absolute(text.base / run_file.base).lexically_normal();
    if (!run_file.base.has_filename()) run_file.base = run_file.base.parent_path();
    return run_file;
}

RunFile parse_over(const std::vector<std::string>& defaults, const RunFileText& text,
                   const std::vector<std::string>& overrides) {
    RunFile run_file = parse_keys(defaults, text, overrides);
    try {
        validate(run_file);
    } catch (const ConfigError& error) {
        throw ConfigError("'{}': {}", text.name, error.what());
    }
    return run_file;
}

RunFileText text_of(const fs::path& file) {
    std::error_code error;
    const auto status = fs::status(file, error);
    if (!fs::exists(status)) throw ConfigError("cannot read run file '{}': there is no such file", file.string());
    if (!fs::is_regular_file(status)) {
        throw ConfigError("cannot read run file '{}': expected a file, found something else", file.string());
    }
    return {monitoring::read_text(file), fs::absolute(file).parent_path(), file.string()};
}

}  // namespace

RunFile parse_saved_run_file(const std::string& toml, const fs::path& base, const std::string& name_for_messages) {
    return parse_keys({}, {toml, base, name_for_messages}, {});
}

RunFile parse_run_file(const std::string& toml, const fs::path& base, const std::string& name_for_messages,
                       const std::vector<std::string>& overrides) {
    return parse_over({}, {toml, base, name_for_messages}, overrides);
}

RunFile read_run_file(const fs::path& file, const std::vector<std::string>& overrides) {
    return parse_over({}, text_of(file), overrides);
}

RunFile read_run_file_over(const std::vector<std::string>& defaults, const fs::path& file,
                           const std::vector<std::string>& overrides) {
    const RunFileText settings_alone{"", fs::current_path(), "the settings"};
    return parse_over(defaults, file.empty() ? settings_alone : text_of(file), overrides);
}

std::string to_toml(const RunFile& run_file) {
    std::string out = "# The resolved run file: every key with its value. Reference: coordinator/RUN_FILE.md\n";
    std::string section;
    for (const auto& key : run_file_keys()) {
        const std::string of = key.name.substr(0, key.name.rfind('.'));
        if (of == section) continue;
        const bool leaves_data = section.starts_with("data") && !of.starts_with("data");
        if (leaves_data) {
            for (const auto& source : run_file.data.sources) {
                out += fmt::format("\n[[{}]]\n", kSources);
                write_keys(out, "", source_keys(), source);
            }
        }
        section = of;
        out += fmt::format("\n[{}]\n", section);
        write_keys(out, section, run_file_keys(), run_file);
    }
    return out;
}

std::vector<std::string> forbidden_changes(const RunFile& saved, const RunFile& now) {
    return changes(saved, now, true);
}

std::vector<std::string> all_changes(const RunFile& saved, const RunFile& now) { return changes(saved, now, false); }

std::string text_of_key(const RunFile& run_file, const std::string& key) {
    for (const auto& known : run_file_keys()) {
        if (known.name == key) return known.text(run_file);
    }
    return "";
}

std::vector<LiveChange> change_live(RunFile& run_file, const std::vector<std::string>& settings) {
    std::vector<std::string> live;
    for (const auto& key : run_file_keys()) {
        if (key.change == Change::live) live.push_back(key.name);
    }
    RunFile changed = run_file;
    Reader reader(changed, "the run file");
    std::vector<LiveChange> made;
    for (const Override& entry : split_overrides(settings)) {
        apply_override(reader, entry, "setting");
        if (std::find(live.begin(), live.end(), entry.path) == live.end()) {
            throw ConfigError(
                "{} does not change while a run runs; expected one of {}; stop the run and start it with "
                "--set {}",
                entry.path, fmt::join(live, ", "), entry.text);
        }
        made.push_back({entry.path, text_of_key(run_file, entry.path), text_of_key(changed, entry.path)});
    }
    validate(changed);
    run_file = std::move(changed);
    return made;
}

}  // namespace kiban::coordinator
