// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/version.h"

namespace kiban::coordinator {

const char* version() { return KIBAN_VERSION; }

}  // namespace kiban::coordinator
