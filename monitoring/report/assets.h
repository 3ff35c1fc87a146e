// SPDX-License-Identifier: Apache-2.0
// Style sheet and script of the report page: page.css and page.js of this folder, as they were when this was built.
// Private to monitoring/.
#pragma once

#include <cstddef>
#include <string_view>

namespace kiban::monitoring {

constexpr std::size_t kReportColors = 8;  // classes run-0 to run-7 of the style

extern const std::string_view kReportStyle;
extern const std::string_view kReportScript;

}  // namespace kiban::monitoring
