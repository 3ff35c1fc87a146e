// SPDX-License-Identifier: Apache-2.0
// The world of a test that runs under mpirun (tests/support/mpi_main.cpp). Valid while tests run.
#pragma once

#include "worker/comm/group.h"

namespace kiban::worker {

const Group& test_world();
int test_hosts();  // on which its ranks are

}  // namespace kiban::worker
