// SPDX-License-Identifier: Apache-2.0
// safetensors_fuzz EXECUTIONS [SEED]: the parser of safetensors headers, which come from anywhere. Each file is either
// refused by a CheckpointError or holds tensors that tile its data exactly and survive being written and read again.
#include <set>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "monitoring/error.h"
#include "tests/support/fuzz.h"

namespace {

using namespace kiban;
using checkpoint::SafeTensor;

std::string as_file(const std::string& header, std::size_t data) {
    std::string length(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
    return length + header + std::string(data, 'x');
}

std::vector<std::string> corpus() {
    return {
        as_file("{}", 0),
        as_file(R"({"__metadata__":{"format":"pt","note":"\u00e9\n"}}   )", 0),
        as_file(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24),
        as_file(
            R"({"b":{"dtype":"BF16","shape":[4],"data_offsets":[4,12]},"a":{"dtype":"I32","shape":[],"data_offsets":[0,4]}})",
            12),
        as_file(
            R"({"z":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"y":{"dtype":"F64","shape":[1,1,1],"data_offsets":[0,8]}})",
            8),
        as_file(R"({"a":{"dtype":"F16","shape":[18446744073709551615],"data_offsets":[0,2]}})", 2),
        as_file(R"({"a":{"dtype":"F16","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
        as_file(
            R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
            6),
        as_file(
            R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[6,10]}})",
            10),
        as_file(
            R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
            8),
        as_file(R"([{"a":[[[[[[[[[[[[{}]]]]]]]]]]]]}])", 0),
        as_file(R"({"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4],"more":{}}})", 4),
        std::string(8, '\xFF') + "{}",
        std::string(7, '\0'),
        as_file(std::string("{}\0}", 4), 0),
        as_file("{\"\xC3\x28\":{}}", 0),
    };
}

// Pieces that a parser is likely to trip over.
const std::vector<std::string>& tokens() {
    static const std::vector<std::string> all = {"0",
                                                 "1",
                                                 "-1",
                                                 "18446744073709551615",
                                                 "18446744073709551616",
                                                 "9223372036854775807",
                                                 "4294967296",
                                                 "1e999",
                                                 "null",
                                                 "true",
                                                 "\"dtype\":",
                                                 "\"shape\":",
                                                 "\"data_offsets\":",
                                                 "\"__metadata__\":",
                                                 "\"F32\"",
                                                 "\"F8_E4M3\"",
                                                 "\"BOOL\"",
                                                 "\"F31\"",
                                                 "[",
                                                 "]",
                                                 "{",
                                                 "}",
                                                 ",",
                                                 ":",
                                                 "\"",
                                                 "\\u0000",
                                                 "\\ud800",
                                                 " ",
                                                 "\n",
                                                 "[0,0]",
                                                 "[0,4]",
                                                 "{}",
                                                 "[[[[[["};
    return all;
}

// The header ends at some '}', and its length says so.
void right_length(std::string& text) {
    const std::size_t end = text.rfind('}');
    if (end == std::string::npos || end < 8) return;
    const std::size_t header = end + 1 - 8;
    for (std::size_t i = 0; i < 8; ++i) text[i] = static_cast<char>(header >> (8 * i) & 0xFF);
}

checkpoint::SafetensorsHeader parse(const std::string& file) {
    const auto bytes = std::as_bytes(std::span<const char>(file));
    const std::uint64_t length = checkpoint::safetensors_header_bytes(bytes, file.size(), "x");
    return checkpoint::parse_safetensors_header(std::string_view(file).substr(8, length), file.size() - 8 - length,
                                                "x");
}

// Whether it was accepted. InternalError when what was accepted is not of the format.
bool execute(const std::string& file) {
    checkpoint::SafetensorsHeader header;
    try {
        header = parse(file);
    } catch (const CheckpointError&) {
        return false;
    }
    std::uint64_t end = 0;
    std::set<std::string> names;
    for (const SafeTensor& tensor : header.tensors) {
        __extension__ unsigned __int128 bytes = checkpoint::safetensors_element_bytes(tensor.dtype).value();
        for (const std::int64_t size : tensor.shape) bytes *= static_cast<std::uint64_t>(size);
        KIBAN_CHECK(tensor.begin == end && tensor.end - tensor.begin == bytes && names.insert(tensor.name).second,
                    "tensor '{}'", tensor.name);
        end = tensor.end;
    }
    KIBAN_CHECK(header.data_begin + end == file.size(), "{} bytes belong to no tensor", file.size() - end);
    std::vector<SafeTensor> tensors = header.tensors;
    const auto again = parse(checkpoint::safetensors_header_text(tensors, header.metadata) + std::string(end, 'x'));
    KIBAN_CHECK(again.tensors.size() == tensors.size() && again.metadata == header.metadata, "another header");
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        KIBAN_CHECK(again.tensors[i].shape == header.tensors[i].shape && again.tensors[i].end == header.tensors[i].end,
                    "another tensor '{}'", tensors[i].name);
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    return testing::fuzz({.corpus = corpus(),
                          .tokens = tokens(),
                          .good = 5,
                          .execute = execute,
                          .replayed = {as_file("{\"a\":" + std::string(200000, '['), 0)},
                          .mend = right_length},
                         argc, argv);
}
