// SPDX-License-Identifier: Apache-2.0
#include "data/tar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <vector>

#include "monitoring/error.h"

namespace kiban::data {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::uint64_t kMostExtensionBytes = 1u << 20;
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 62;

// Fields of a header block: first byte and length.
struct Field {
    std::size_t at;
    std::size_t bytes;
};
constexpr Field kName{0, 100};
constexpr Field kSize{124, 12};
constexpr Field kChecksum{148, 8};
constexpr std::size_t kType = 156;
constexpr Field kMagic{257, 5};
constexpr Field kPrefix{345, 155};

using Block = std::array<std::byte, kBlock>;

std::string_view text_of(const Block& block, Field field) {
    const std::string_view all(reinterpret_cast<const char*>(block.data()) + field.at, field.bytes);
    return all.substr(0, all.find('\0'));
}

// Octal digits, or (GNU) a big-endian number whose first bit is set.
std::optional<std::uint64_t> number_of(const Block& block, Field field) {
    std::uint64_t value = 0;
    if ((block[field.at] & std::byte{0x80}) != std::byte{0}) {
        for (std::size_t i = 1; i < field.bytes; ++i) {
            if (value > kMostBytes >> 8) return std::nullopt;
            value = value << 8 | std::to_integer<std::uint64_t>(block[field.at + i]);
        }
        return value;
    }
    std::string_view digits = text_of(block, field);
    while (digits.starts_with(' ')) digits.remove_prefix(1);
    while (digits.ends_with(' ')) digits.remove_suffix(1);
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
    if (error != std::errc{} || stop != digits.data() + digits.size()) return std::nullopt;
    return value;
}

bool is_zero(const Block& block) {
    return std::ranges::all_of(block, [](std::byte byte) { return byte == std::byte{0}; });
}

bool has_its_checksum(const Block& block) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kBlock; ++i) {
        const bool inside = i >= kChecksum.at && i < kChecksum.at + kChecksum.bytes;
        sum += inside ? ' ' : std::to_integer<std::uint64_t>(block[i]);
    }
    return number_of(block, kChecksum) == sum;
}

std::string name_of(const Block& block) {
    const std::string name(text_of(block, kName));
    const bool ustar = text_of(block, kMagic).starts_with("ustar");
    // GNU's own format has other things where ustar has a prefix, and says "ustar  ".
    const bool gnu = block[kMagic.at + kMagic.bytes] == std::byte{' '};
    const std::string prefix(ustar && !gnu ? text_of(block, kPrefix) : std::string_view());
    return prefix.empty() ? name : prefix + "/" + name;
}

std::uint64_t padding_of(std::uint64_t bytes) { return (kBlock - bytes % kBlock) % kBlock; }

}  // namespace

bool is_tar(const std::filesystem::path& name) {
    const std::filesystem::path stem = codec_of(name) == Codec::none ? name : name.stem();
    return name.extension() == ".tgz" || stem.extension() == ".tar";
}

std::optional<TarMember> TarReader::next() {
    pass(left_ + padding_);
    left_ = padding_ = 0;
    Extension extension;
    Block block;
    while (read_header(block)) {
        const auto size = number_of(block, kSize);
        if (!size || *size > kMostBytes) refuse("its size is no number");
        const char type = static_cast<char>(block[kType]);
        if (type == 'x' || type == 'L') {
            const std::string text = read_extension(*size);
            if (type == 'x') parse_pax(text, extension);
            if (type == 'L') extension.name = text.substr(0, text.find('\0'));
            continue;
        }
        if (type == 'K' || type == 'g') {  // of links, and of all members: nothing that is needed
            pass(*size + padding_of(*size));
            continue;
        }
        if (type == 'S') refuse("it is a sparse file, which is not supported");
        const std::uint64_t bytes = extension.bytes.value_or(*size);
        if (type == '0' || type == '\0' || type == '7') {
            left_ = bytes;
            padding_ = padding_of(bytes);
            return TarMember{extension.name.value_or(name_of(block)), offset_, bytes};
        }
        const bool has_content = type != '1' && type != '2';  // links may state their target's size
        if (has_content) pass(bytes + padding_of(bytes));
        extension = {};
    }
    return std::nullopt;
}

std::size_t TarReader::read(std::span<std::byte> bytes) {
    const auto part = bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), left_)));
    read_exactly(part);
    left_ -= part.size();
    return part.size();
}

// False at the end mark, a block of zeros.
bool TarReader::read_header(std::span<std::byte> bytes) {
    Block block;
    read_exactly(block);
    std::ranges::copy(block, bytes.begin());
    if (is_zero(block)) {
        check_end();
        return false;
    }
    if (!has_its_checksum(block)) refuse("its header is damaged");
    return true;
}

void TarReader::read_exactly(std::span<std::byte> bytes) {
    const std::size_t got = archive_.read(bytes);
    offset_ += got;
    if (got < bytes.size()) refuse("the archive is cut off");
}

std::string TarReader::read_extension(std::uint64_t bytes) {
    if (bytes > kMostExtensionBytes) refuse(fmt::format("it has {} bytes of names", bytes));
    std::string text(static_cast<std::size_t>(bytes), '\0');
    read_exactly(std::as_writable_bytes(std::span(text)));
    pass(padding_of(bytes));
    return text;
}

// Records "LENGTH KEY=VALUE\n", where LENGTH counts all of it.
void TarReader::parse_pax(const std::string& records, Extension& extension) const {
    std::string_view rest = records;
    while (!rest.empty()) {
        std::size_t length = 0;
        const auto [stop, error] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
        const auto digits = static_cast<std::size_t>(stop - rest.data());
        if (error != std::errc{} || length > rest.size() || length < digits + 3 || rest[length - 1] != '\n')
            refuse("its extended header is damaged");
        const std::string_view record = rest.substr(digits + 1, length - digits - 2);
        rest.remove_prefix(length);
        const std::size_t equals = record.find('=');
        if (equals == std::string_view::npos) refuse("its extended header is damaged");
        const std::string_view key = record.substr(0, equals);
        const std::string_view value = record.substr(equals + 1);
        if (key.starts_with("GNU.sparse.")) refuse("it is a sparse file, which is not supported");
        if (key == "path") extension.name = std::string(value);
        if (key != "size") continue;
        std::uint64_t bytes = 0;
        const auto [end, bad] = std::from_chars(value.data(), value.data() + value.size(), bytes);
        if (bad != std::errc{} || end != value.data() + value.size() || bytes > kMostBytes)
            refuse("its size is no number");
        extension.bytes = bytes;
    }
}

void TarReader::pass(std::uint64_t bytes) {
    std::vector<std::byte> chunk(static_cast<std::size_t>(std::min<std::uint64_t>(bytes, 1u << 20)));
    while (bytes > 0) {
        const auto part =
            std::span(chunk).first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes, chunk.size())));
        read_exactly(part);
        bytes -= part.size();
    }
}

// To the end of the input, so that a compressed one is checked to its own end.
void TarReader::check_end() {
    std::vector<std::byte> chunk(64 * kBlock);
    while (const std::size_t got = archive_.read(chunk)) {
        const auto part = std::span(chunk).first(got);
        if (std::ranges::any_of(part, [](std::byte byte) { return byte != std::byte{0}; }))
            refuse("something follows the end of the archive");
        offset_ += got;
    }
}

void TarReader::refuse(const std::string& reason) const {
    throw DataError("cannot read '{}': {} (before its byte {})", name_, reason, offset_);
}

}  // namespace kiban::data
