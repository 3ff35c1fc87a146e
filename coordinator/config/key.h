// SPDX-License-Identifier: Apache-2.0
// One key of the run file: its name, how a TOML value gets into its member and back, what it may hold, what a change
// means on resume. Private to config/.
//
// The member's type and the rule choose the conversion; nothing is converted silently (an integer for a real number is
// the one exception). Keys are immutable; any thread.
#pragma once

#include <fmt/format.h>
#include <toml++/toml.h>

#include <array>
#include <concepts>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "checkpoint/config.h"

namespace kiban::coordinator {

enum class Change {
    fixed,      // another value makes another run: refused on resume
    resumable,  // may change between starts; journaled
    live,       // also while the run runs (`kiban set`, `kiban extend`); journaled
};

// --- Rules: what a value may be ---

struct Number {
    double least = -std::numeric_limits<double>::infinity();
    double most = std::numeric_limits<double>::infinity();
    bool above_least = false;  // the bound itself is not allowed
    bool below_most = false;

    bool holds(double value) const;
};
constexpr Number at_least(double least) { return {least}; }
constexpr Number above(double least) { return {least, std::numeric_limits<double>::infinity(), true}; }
constexpr Number between(double least, double most) { return {least, most}; }
constexpr Number from_to_below(double least, double most) { return {least, most, false, true}; }

struct Text {};  // any, without NUL: names and paths go to the operating system

struct Words {  // one of these
    std::vector<std::string> words;
};

struct StepsOrAuto {};  // a number of steps of at least 0, or the word "auto"

template <typename E>
struct Names {  // the words for an enumeration
    std::vector<std::pair<std::string, E>> names;
};

// --- Values: from TOML (false: not what the rule wants), to TOML, and what to expect, for messages and the reference
// ---

bool accept(const toml::node& node, const Number& rule, double& value);
bool accept(const toml::node& node, const Number& rule, std::array<double, 2>& value);
bool accept(const toml::node& node, const Text& rule, std::string& value);
bool accept(const toml::node& node, const Text& rule, std::filesystem::path& value);
bool accept(const toml::node& node, const Words& rule, std::string& value);
bool accept(const toml::node& node, const StepsOrAuto& rule, checkpoint::StepInterval& value);

bool accept_integer(const toml::node& node, const Number& rule, std::int64_t least, std::int64_t most,
                    std::int64_t& value);

template <std::integral T>
bool accept(const toml::node& node, const Number& rule, T& value) {
    constexpr auto kMost = std::cmp_less(std::numeric_limits<T>::max(), std::numeric_limits<std::int64_t>::max())
                               ? static_cast<std::int64_t>(std::numeric_limits<T>::max())
                               : std::numeric_limits<std::int64_t>::max();
    std::int64_t integer = 0;
    if (!accept_integer(node, rule, static_cast<std::int64_t>(std::numeric_limits<T>::min()), kMost, integer))
        return false;
    value = static_cast<T>(integer);
    return true;
}

template <typename E>
bool accept(const toml::node& node, const Names<E>& rule, E& value) {
    const auto word = node.value_exact<std::string>();
    for (const auto& [name, meaning] : rule.names) {
        if (word == name) {
            value = meaning;
            return true;
        }
    }
    return false;
}

std::string string_text(std::string_view text);  // a TOML basic string
std::string number_text(double value);           // shortest text that reads back to the same bits, and as a real number

template <typename V, typename Rule>
std::string value_text(const V& value, const Rule& rule) {
    if constexpr (std::is_enum_v<V>) {
        for (const auto& [name, meaning] : rule.names) {
            if (meaning == value) return string_text(name);
        }
        return "";
    } else if constexpr (std::is_same_v<V, std::filesystem::path>) {
        return string_text(value.string());
    } else if constexpr (std::is_same_v<V, std::string>) {
        return string_text(value);
    } else if constexpr (std::is_same_v<V, double>) {
        return number_text(value);
    } else if constexpr (std::is_same_v<V, std::array<double, 2>>) {
        return fmt::format("[{}, {}]", number_text(value[0]), number_text(value[1]));
    } else if constexpr (std::is_same_v<V, checkpoint::StepInterval>) {
        return value.automatic ? string_text("auto") : std::to_string(value.steps);
    } else {
        return std::to_string(value);
    }
}

std::string range_text(const Number& rule);  // "", "at least 1", "above 0 and below 1"
std::string one_of_text(const std::vector<std::string>& words);

template <typename V, typename Rule>
std::string expected_text(const Rule& rule) {
    if constexpr (std::is_same_v<Rule, Number>) {
        const char* kind = std::is_same_v<V, double> ? "a number"
                           : std::is_integral_v<V>   ? "an integer"
                                                     : "two numbers";
        const std::string range = range_text(rule);
        return range.empty() ? kind : std::string(kind) + " " + range;
    } else if constexpr (std::is_same_v<Rule, Words>) {
        return one_of_text(rule.words);
    } else if constexpr (std::is_same_v<Rule, StepsOrAuto>) {
        return "an integer of at least 0, or 'auto'";
    } else if constexpr (std::is_enum_v<V>) {
        std::vector<std::string> words;
        for (const auto& [name, meaning] : rule.names) words.push_back(name);
        return one_of_text(words);
    } else {
        return "a string";
    }
}

// --- Keys ---

template <typename Target>
struct Key {
    std::string name;  // dotted, from the top of the run file (or of a source)
    Change change = Change::fixed;
    std::string unit;
    std::string reason;
    std::string expected;
    std::vector<std::string> words;  // for the nearest one; empty: not chosen from words
    bool textual = false;            // a bare word in --set is its value
    std::function<bool(const toml::node&, Target&)> set;
    std::function<std::string(const Target&)> text;  // as TOML
};

template <typename Rule>
inline constexpr bool kIsText = !std::is_same_v<Rule, Number> && !std::is_same_v<Rule, StepsOrAuto>;

/// `get` gives the member: for a Target&, a reference; for a const Target&, a const one.
template <typename Target, typename Get, typename Rule>
Key<Target> key(const char* name, Get get, Rule rule, Change change, const char* unit, const char* reason) {
    using V = std::remove_cvref_t<decltype(get(std::declval<Target&>()))>;
    Key<Target> made{name, change, unit, reason, expected_text<V>(rule), {}, kIsText<Rule>, {}, {}};
    if constexpr (std::is_same_v<Rule, Words>) made.words = rule.words;
    if constexpr (std::is_same_v<Rule, StepsOrAuto>) made.words = {"auto"};
    if constexpr (std::is_enum_v<V>) {
        for (const auto& [word, meaning] : rule.names) made.words.push_back(word);
    }
    made.set = [get, rule](const toml::node& node, Target& target) { return accept(node, rule, get(target)); };
    made.text = [get, rule](const Target& target) { return value_text(get(target), rule); };
    return made;
}

}  // namespace kiban::coordinator
