// SPDX-License-Identifier: Apache-2.0
// As commands.h: the commands through which models leave for other programs and come from them.
#pragma once

namespace CLI {
class App;
}

namespace kiban::coordinator {

void add_export_command(CLI::App& app, int& exit_code);
void add_import_command(CLI::App& app, int& exit_code);

}  // namespace kiban::coordinator
