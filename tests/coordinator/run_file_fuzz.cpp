// SPDX-License-Identifier: Apache-2.0
// run_file_fuzz EXECUTIONS [SEED]: run files. Each text is either refused by a ConfigError or resolves to a file that
// resolves to itself.
#include "coordinator/config/run_file.h"
#include "monitoring/error.h"
#include "tests/support/fuzz.h"

namespace {

using namespace kiban;
using coordinator::parse_run_file;

std::vector<std::string> corpus() {
    return {
        "[[data.sources]]\npath = 'x'\n",
        "[run]\nname = \"a.b-c\"\nseed = 7\n[data]\nsequence_length = 64\nholdout = { fraction = 0.1, by = \"tail\" }\n"
        "[[data.sources]]\npath = \"x/*.jsonl\"\nweight = 2\nformat = \"jsonl\"\ntext_field = \"t\"\n"
        "[[data.sources]]\npath = \"y\"\n[launch]\nthreads_per_worker = 1\n",
        "[model]\nlayout = \"llama\"\nlayers = 3\nd_model = 64\nheads = 4\nkv_heads = 2\n[train]\nbatch_rows = 16\n"
        "micro_batch_rows = 4\nsteps = 50\nreduction = \"fixed\"\nclip_norm = 0\n[train.optimizer]\nname = \"muon\"\n"
        "betas = [0.9, 0.95]\nlearning_rate = 1e-3\n[train.schedule]\nname = \"wsd\"\nwarmup_steps = 5\ndecay_steps = "
        "9\n"
        "[parallel]\nzero = 1\ntensor = 2\n[launch]\nworkers = 4\nthreads_per_worker = 1\n"
        "[[data.sources]]\npath = 'x'\n",
        "[checkpoint]\ninterval_steps = \"auto\"\nkeep = 2\nmilestone_steps = 100\n[monitoring]\nlisten = "
        "\"127.0.0.1:0\"\n"
        "[data]\ntokenizer = \"bpe:300\"\n[[data.sources]]\npath = 'x'\n[launch]\nthreads_per_worker = 1\n",
        "train.steps = 5\ntrain.steps = 6\n",
        "[train]\nsteps = 1979-05-27T07:32:00Z\n",
        "[train]\nstepz = 4\n",
        "[data]\nsources = 5\n",
        "run = [[[[[]]]]]\n",
        "x = \"\"\"\n\\uD800\n",
    };
}

bool execute(const std::string& text) {
    try {
        const auto read = parse_run_file(text, "/base", "f");
        const std::string resolved = coordinator::to_toml(read);
        const auto again = parse_run_file(resolved, "/elsewhere", "again");
        KIBAN_CHECK(coordinator::to_toml(again) == resolved, "resolves to another file:\n{}\nthen\n{}", resolved,
                    coordinator::to_toml(again));
        KIBAN_CHECK(coordinator::all_changes(read, again).empty(), "differs from itself");
        return true;
    } catch (const ConfigError&) {
        return false;
    }
}

}  // namespace

int main(int argc, char** argv) {
    const testing::FuzzTarget target{
        .corpus = corpus(),
        .tokens = {"0",
                   "-1",
                   "1",
                   "1e308",
                   "1e999",
                   "inf",
                   "nan",
                   "-0.0",
                   "9223372036854775807",
                   "9223372036854775808",
                   "0x7fff",
                   "1_000",
                   "true",
                   "\"\"",
                   "''",
                   "'''",
                   "\"\"\"",
                   "\n",
                   " = ",
                   ".",
                   "[",
                   "]",
                   "[[",
                   "]]",
                   "{",
                   "}",
                   "#",
                   "\\u0000",
                   "\\U0010FFFF",
                   "steps",
                   "heads",
                   "[train]\n",
                   "[model]\n",
                   "\"auto\"",
                   "\"bpe:1\"",
                   "\"a.json\"",
                   "workers = 3\n",
                   "../",
                   "\xC3\x28",
                   "[[data.sources]]\npath = 'z'\n"},
        .good = 4,
        .execute = execute,
        .replayed = {"x = " + std::string(200000, '['), "x" + std::string(100000, '.') + "y = 1\n",
                     "x = " + std::string(100000, '{')}};
    return testing::fuzz(target, argc, argv);
}
