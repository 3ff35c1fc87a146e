// SPDX-License-Identifier: Apache-2.0
// The exit codes of `kiban` and `kiban-worker`, owned here; slurm/README.md explains what to do about each.
#pragma once

namespace kiban {

enum ExitCode : int {
    kExitDone = 0,
    kExitUsage = 64,          // the command line could not be understood
    kExitData = 65,           // a corpus cannot be read, or holds nothing to train on
    kExitInternal = 70,       // a broken invariant of Kiban itself
    kExitIo = 74,             // a checkpoint or another file cannot be written, read or trusted
    kExitRequeue = 75,        // saved (or the coordinator was lost): start the same command again
    kExitConfiguration = 78,  // the run file, the world size or the machine does not fit
    kExitNoProgress = 93,     // restarted again and again without a newer checkpoint
};

}  // namespace kiban
