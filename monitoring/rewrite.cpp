// SPDX-License-Identifier: Apache-2.0
#include "monitoring/rewrite.h"

#include <fmt/format.h>
#include <unistd.h>

#include <span>

#include "monitoring/file.h"

namespace kiban::monitoring {

// The process's own name, so that one that was killed leaves at most one file.
void rewrite(const std::filesystem::path& name, std::string_view content) {
    const path temporary = name.parent_path() / fmt::format(".{}.{}.tmp", name.filename().string(), ::getpid());
    remove_file(temporary);
    File out = File::create(temporary);
    out.append(std::as_bytes(std::span(content)));
    out.close();
    replace(temporary, name);
}

}  // namespace kiban::monitoring
