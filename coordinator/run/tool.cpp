// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/tool.h"

#include <cstdlib>
#include <system_error>

#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

class ToolDirectory {
  public:
    explicit ToolDirectory(const std::filesystem::path& run_dir) {
        std::string name = (run_dir / ".tool-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw IoError("cannot make a directory in '{}'", run_dir.string());
        path_ = name;
    }
    ~ToolDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    ToolDirectory(const ToolDirectory&) = delete;
    ToolDirectory& operator=(const ToolDirectory&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

}  // namespace

AttemptEnd run_tool(const std::string& name, const std::filesystem::path& run_dir, const LaunchConfig& launch,
                    AttemptMode& mode) {
    StopSignals signals;
    const ToolDirectory tool(run_dir);
    return Attempt({.run_dir = tool.path(),
                    .log_dir = tool.path() / "logs",
                    .run_id = name,
                    .attempt = 1,
                    .launch = launch,
                    .keep_lease = [] {},
                    .tick = [](const Membership&) {}},
                   mode, signals)
        .run();
}

}  // namespace kiban::coordinator
