// SPDX-License-Identifier: Apache-2.0
// checkpoint_manifest_fuzz EXECUTIONS [SEED]: MANIFEST.json, with the run state in it. Each text is either refused by a
// CheckpointError or a manifest that is the same after being written and read again, as is its state.
#include "checkpoint/manifest.h"
#include "checkpoint/state.h"
#include "monitoring/error.h"
#include "tests/support/fuzz.h"

namespace {

using namespace kiban;
using checkpoint::Manifest;

std::string state_text() {
    checkpoint::RunState state;
    state.step = 12;
    state.run_file = "[run]\nname = \"x\"\n";
    state.data_digest = "ab12";
    state.tokenizer = "bytes";
    state.reduction = "fixed";
    return checkpoint::to_json(state).dump();
}

std::string manifest(const std::string& files, const std::string& tensors, const std::string& more = "") {
    return R"({"format":"kiban-checkpoint","version":2,"step":12,"attempt":3,"files":[)" + files + R"(],"tensors":[)" +
           tensors + R"(],"state":)" + state_text() + more + "}";
}

constexpr const char* kShard = R"({"name":"shard-00000.h5","bytes":4096,"block_crcs":[7]})";
constexpr const char* kTensor =
    R"({"name":"w","kind":"param","dtype":"f32","shape":[4],"fingerprint":"000000000000000a","boxes":[)"
    R"({"file":0,"offset":[0],"extent":[3],"file_offset":1024,"fingerprint":"0000000000000007"},)"
    R"({"file":0,"offset":[3],"extent":[1],"file_offset":2048,"fingerprint":"0000000000000003"}]})";

std::vector<std::string> corpus() {
    const std::string columns = R"({"step":0,"tokens":16,"loss":32,"learning_rate":48,"grad_norm":64,"eval_loss":80,)"
                                R"("step_seconds":96,"wall_time":112,"attempt":128})";
    const std::string curve = R"({"name":"curve.h5","bytes":4096,"block_crcs":[9]})";
    return {
        manifest("", ""),
        manifest(kShard, kTensor),
        manifest(std::string(kShard) + "," + curve, kTensor,
                 R"(,"curve":{"file":1,"rows":2,"columns":)" + columns + "}"),
        manifest(kShard,
                 R"({"name":"s","kind":"step","dtype":"f32","shape":[],"fingerprint":"0000000000000001","boxes":)"
                 R"([{"file":0,"offset":[],"extent":[],"file_offset":0,"fingerprint":"0000000000000001"}]})"),
        manifest(kShard, R"({"name":"w","kind":"param","dtype":"f32","shape":[9223372036854775807,2],"fingerprint":)"
                         R"("0000000000000000","boxes":[]})"),
        "[]",
        R"({"format":"kiban-checkpoint","version":3})",
        "{\"format\":\"\xC3\x28\"}",
    };
}

bool execute(const std::string& text) {
    try {
        const Manifest read = Manifest::parse(text, "m");
        const std::string written = read.text();
        KIBAN_CHECK(Manifest::parse(written, "again").text() == written, "another manifest came back");
        try {
            const auto state = checkpoint::to_json(checkpoint::run_state_from_json(read.state));
            KIBAN_CHECK(checkpoint::to_json(checkpoint::run_state_from_json(state)) == state,
                        "another state came back");
        } catch (const CheckpointError&) {
            return true;  // a sound manifest of a state that is none
        }
        return true;
    } catch (const CheckpointError&) {
        return false;
    }
}

}  // namespace

int main(int argc, char** argv) {
    const testing::FuzzTarget target{
        .corpus = corpus(),
        .tokens = {"0",
                   "-1",
                   "1e9",
                   "18446744073709551615",
                   "18446744073709551616",
                   "9223372036854775807",
                   "null",
                   "true",
                   "[]",
                   "{}",
                   "[0,0]",
                   "[1,1]",
                   "\"f32\"",
                   "\"bf16\"",
                   "\"shape\":",
                   "\"offset\":",
                   "\"extent\":",
                   "\"curve\":",
                   "\"files\":",
                   "\"shard-00001.h5\"",
                   "\"../x\"",
                   "[",
                   "]",
                   "{",
                   "}",
                   ",",
                   ":",
                   "\"",
                   "\\u0000",
                   "\\ud800",
                   "1.5",
                   "4194305"},
        .good = 4,
        .execute = execute,
        .replayed = {manifest("", "", ",\"more\":" + std::string(200000, '[') + std::string(200000, ']'))}};
    return testing::fuzz(target, argc, argv);
}
