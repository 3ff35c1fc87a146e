// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>

#include <algorithm>

#include "worker/device/tensors.h"
#include "worker/kernels/aten/kernels.h"

namespace kiban::worker::aten {

using at::Tensor;

namespace {

struct Rows {
    Tensor logits;   // [rows, V]
    Tensor targets;  // [rows, 1], 0 where masked
    Tensor masked;   // [rows, 1], undefined when none is
};

Rows rows_of(std::int64_t vocabulary, const float* logits, std::span<const std::int64_t> targets) {
    Rows rows;
    rows.logits = view(logits, {static_cast<std::int64_t>(targets.size()), vocabulary});
    rows.targets = on_device(targets).unsqueeze_(1);
    if (std::find_if(targets.begin(), targets.end(), [](std::int64_t target) { return target < 0; }) == targets.end())
        return rows;
    rows.masked = rows.targets.lt(0);
    rows.targets.clamp_min_(0);
    return rows;
}

// Sums of e^x in double, of which the loss is a small difference.
struct Exponentials {
    Tensor values;          // e^(x - most), in place where told to
    Tensor sum, logsumexp;  // [rows, 1], double
};

Exponentials exponentials_of(const Tensor& logits, bool in_place) {
    const Tensor most = logits.amax(1, /*keepdim=*/true);
    Exponentials e;
    e.values = (in_place ? logits.sub_(most) : logits - most).exp_();
    e.sum = e.values.sum(1, /*keepdim=*/true, at::kDouble);
    e.logsumexp = e.sum.log().add_(most.to(at::kDouble));
    return e;
}

void write_losses(const Rows& rows, const Exponentials& e, const Tensor& at_target, std::span<double> losses) {
    Tensor loss = e.logsumexp - at_target.to(at::kDouble);
    if (rows.masked.defined()) loss.masked_fill_(rows.masked, 0);
    to_host(loss, losses);
}

}  // namespace

std::int64_t cross_entropy(std::int64_t vocabulary, const float* logits, std::span<const std::int64_t> targets,
                           std::span<double> losses) {
    const Rows rows = rows_of(vocabulary, logits, targets);
    const Tensor at_target = rows.logits.gather(1, rows.targets);
    write_losses(rows, exponentials_of(rows.logits, false), at_target, losses);
    Tensor first_choice = at_target.ge(rows.logits.amax(1, true));
    if (rows.masked.defined()) first_choice.masked_fill_(rows.masked, false);
    return first_choice.sum().item<std::int64_t>();
}

void cross_entropy_with_gradient(std::int64_t vocabulary, float scale, float* logits,
                                 std::span<const std::int64_t> targets, std::span<double> losses, double z_loss) {
    const Rows rows = rows_of(vocabulary, logits, targets);
    const Tensor at_target = rows.logits.gather(1, rows.targets);
    const Exponentials e = exponentials_of(rows.logits, true);
    write_losses(rows, e, at_target, losses);
    const Tensor softmax_scale = e.logsumexp.mul(2.0 * z_loss).add_(1.0).mul_(static_cast<double>(scale));
    rows.logits.mul_(softmax_scale.div_(e.sum).to(at::kFloat));
    rows.logits.scatter_(1, rows.targets, rows.logits.gather(1, rows.targets).sub_(scale));
    if (rows.masked.defined()) rows.logits.masked_fill_(rows.masked, 0);
}

}  // namespace kiban::worker::aten
