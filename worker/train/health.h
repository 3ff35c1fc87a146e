// SPDX-License-Identifier: Apache-2.0
// The health of the network at an evaluation: norms of the update before it, activations on its first micro-batch,
// added up over all workers. What the workers share out does not matter, but for the rounding of sums.
//
// Between evaluations it does nothing.
#pragma once

#include <cstdint>

#include "coordinator/job/model_config.h"
#include "coordinator/protocol/messages.h"
#include "worker/model/activation_observer.h"
#include "worker/optim/update_watch.h"
#include "worker/parallel/mesh.h"

namespace kiban::worker {

class HealthWatch {
  public:
    HealthWatch(const coordinator::ModelConfig& model, const Mesh& mesh);

    /// For the update of a step that is evaluated: zeros.
    UpdateNorms* of_update();
    /// For the first micro-batch of an evaluation: one that has seen nothing. Null where that is read by another data
    /// worker.
    ActivationObserver* of_activations();
    /// Communicates: what all workers saw since then.
    coordinator::Health merged(std::uint64_t step) const;

  private:
    Mesh mesh_;
    UpdateNorms norms_;
    ActivationObserver observer_;
};

}  // namespace kiban::worker
