// SPDX-License-Identifier: Apache-2.0
// exposition_fuzz EXECUTIONS [SEED]: the metrics that a run left in its directory. Each text is refused by a DataError,
// or is metrics that are the same after being written and read again.
#include <prometheus/text_serializer.h>

#include "monitoring/error.h"
#include "monitoring/exposition.h"
#include "monitoring/utf8.h"
#include "tests/support/fuzz.h"

namespace {

using namespace kiban;

const std::string kGauge =
    "# HELP a_b metres of two\n# TYPE a_b gauge\na_b{run=\"r\",rank=\"0\"} 1.5\na_b{run=\"r\"} -Inf\n";
const std::string kCounter =
    "# HELP c_total d\n# TYPE c_total counter\nc_total{run=\"\\\"q\\\\\\n\xE7\x9B\xA4\"} 12 1700000000\n";
const std::string kHistogram =
    "# HELP h s\n# TYPE h histogram\nh_count{run=\"r\"} 3\nh_sum{run=\"r\"} 0.5\nh_bucket{run=\"r\",le=\"0.1\"} 1\n"
    "h_bucket{run=\"r\",le=\"+Inf\"} 3\n";

bool execute(const std::string& input) {
    const prometheus::TextSerializer serializer;
    std::string once;
    try {
        once = serializer.Serialize(monitoring::read_exposition(input));
    } catch (const DataError&) {
        return false;
    }
    KIBAN_CHECK(monitoring::is_utf8(once), "it is no text");
    const std::string twice = serializer.Serialize(monitoring::read_exposition(once));
    KIBAN_CHECK(once == twice, "other metrics came back: '{}' and '{}'", once, twice);
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    return kiban::testing::fuzz(
        {.corpus = {"", kGauge, kCounter, kHistogram, kGauge + kCounter + kHistogram, "a 1\n",
                    "# HELP a b\n# TYPE a gauge\na{x=\"\xC3(\"} 1\n"},
         .tokens = {"# HELP ", "# TYPE ", " gauge\n", " histogram\n", "{", "}", "=\"", "\",", "\\", "_bucket", "_sum",
                    "_count", "le=\"", "NaN", "+Inf", "__name__", "\n", "\xE7"},
         .good = 5,
         .execute = execute},
        argc, argv);
}
