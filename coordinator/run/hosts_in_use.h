// SPDX-License-Identifier: Apache-2.0
// Hosts that a run is started without, and how many workers the others leave it.
//
// A host that was left out stays so: for this coordinator, and for those that come within supervise.exclude_hours,
// which find it in the journal. Names are short ones (hosts.h).
#pragma once

#include <set>
#include <string>

#include "coordinator/config/run_file.h"
#include "coordinator/run/policy.h"
#include "coordinator/run/supervise.h"

namespace kiban::coordinator {

/// The largest number of workers from `least` to `most` with which the run file could be started: its axes, its
/// micro-batches and its reduction divide. 0: there is none. Pure.
int workers_that_fit(const RunFile& run_file, int most, int least);

/// How many workers to go on with where these hosts are left out: launch.workers where the others have room for them,
/// fewer, but supervise.min_workers at least, where they have not. 0: neither, or nobody knows what room there is.
int workers_without(const Session& session, const std::set<std::string>& out);

/// Makes the next attempt start without the hosts that the decision names, and with the workers that it names.
void leave_out_hosts(Session& session, const Decision& decision);

/// What earlier starts left out, as the journal has it. What is needed, since the others have no room, comes back.
void take_up_left_out_hosts(Session& session);

/// The run file as the user wrote it, whatever number of workers the run goes on with: what is written down for later.
RunFile as_asked(const Session& session);

}  // namespace kiban::coordinator
