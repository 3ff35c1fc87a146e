// SPDX-License-Identifier: Apache-2.0
#include "coordinator/config/key.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace kiban::coordinator {
namespace {

// A real number may be written as an integer.
std::optional<double> real_of(const toml::node& node) {
    if (const auto real = node.value_exact<double>()) return real;
    if (const auto integer = node.value_exact<std::int64_t>()) return static_cast<double>(*integer);
    return std::nullopt;
}

}  // namespace

bool Number::holds(double value) const {
    if (!std::isfinite(value)) return false;
    return (above_least ? value > least : value >= least) && (below_most ? value < most : value <= most);
}

bool accept(const toml::node& node, const Number& rule, double& value) {
    const auto real = real_of(node);
    if (!real || !rule.holds(*real)) return false;
    value = *real;
    return true;
}

bool accept(const toml::node& node, const Number& rule, std::array<double, 2>& value) {
    const toml::array* array = node.as_array();
    if (array == nullptr || array->size() != value.size()) return false;
    std::array<double, 2> read{};
    for (std::size_t i = 0; i < read.size(); ++i) {
        if (!accept((*array)[i], rule, read[i])) return false;
    }
    value = read;
    return true;
}

bool accept(const toml::node& node, const Text&, std::string& value) {
    const auto text = node.value_exact<std::string>();
    if (!text || text->find('\0') != std::string::npos) return false;
    value = *text;
    return true;
}

bool accept(const toml::node& node, const Text& rule, std::filesystem::path& value) {
    std::string text;
    if (!accept(node, rule, text)) return false;
    value = text;
    return true;
}

bool accept(const toml::node& node, const Words& rule, std::string& value) {
    const auto text = node.value_exact<std::string>();
    if (!text || std::find(rule.words.begin(), rule.words.end(), *text) == rule.words.end()) return false;
    value = *text;
    return true;
}

bool accept(const toml::node& node, const StepsOrAuto&, checkpoint::StepInterval& value) {
    const bool automatic = node.value_exact<std::string>() == "auto";
    std::uint64_t steps = checkpoint::StepInterval{}.steps;
    if (!automatic && !accept(node, at_least(0), steps)) return false;
    value = {.steps = steps, .automatic = automatic};
    return true;
}

bool accept_integer(const toml::node& node, const Number& rule, std::int64_t least, std::int64_t most,
                    std::int64_t& value) {
    const auto integer = node.value_exact<std::int64_t>();
    if (!integer || *integer < least || *integer > most || !rule.holds(static_cast<double>(*integer))) return false;
    value = *integer;
    return true;
}

std::string string_text(std::string_view text) {
    std::string out = "\"";
    for (const char character : text) {
        const auto byte = static_cast<unsigned char>(character);
        if (character == '"' || character == '\\') {
            out += '\\';
            out += character;
        } else if (byte < 0x20 || byte == 0x7f) {
            out += fmt::format("\\u{:04X}", byte);
        } else {
            out += character;
        }
    }
    return out + '"';
}

std::string number_text(double value) {
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".en") == std::string::npos) text += ".0";
    return text;
}

std::string range_text(const Number& rule) {
    std::vector<std::string> bounds;
    if (std::isfinite(rule.least))
        bounds.push_back(fmt::format("{} {}", rule.above_least ? "above" : "of at least", rule.least));
    if (std::isfinite(rule.most))
        bounds.push_back(fmt::format("{} {}", rule.below_most ? "below" : "at most", rule.most));
    return fmt::format("{}", fmt::join(bounds, " and "));
}

std::string one_of_text(const std::vector<std::string>& words) {
    return words.size() == 1 ? fmt::format("'{}'", words[0]) : fmt::format("one of '{}'", fmt::join(words, "', '"));
}

}  // namespace kiban::coordinator
