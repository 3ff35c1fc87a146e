// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/plan_activations.h"

#include <algorithm>

#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

constexpr std::int64_t kFloat = 4;
constexpr std::int64_t kBf16 = 2;
constexpr std::int64_t kLogitBytes = std::int64_t{128} << 20;  // of one chunk (worker/model/functions_linear.cpp)
constexpr std::int64_t kTileRows = 64;                         // worker/kernels/attention.cpp
constexpr std::int64_t kNormRows = 32;                         // worker/kernels/norm.cpp

// Bytes of each tensor of a pass over one micro-batch.
struct Sizes {
    Sizes(const PlannedStage& stage, std::uint64_t rows) {
        const ModelConfig& model = stage.input.model;
        const std::int64_t all_tokens = stage.tokens(rows);
        const std::int64_t tokens = stage.tokens_here(rows);
        const std::int64_t width = model.d_model;
        const std::int64_t packed = (model.heads + 2 * model.resolved_kv_heads()) * model.head_size();
        const std::int64_t parts = stage.cut.tensor;
        bf16 = stage.bf16();
        const std::int64_t element = bf16 ? kBf16 : kFloat;
        here = kFloat * tokens * width;
        all = kFloat * all_tokens * width;
        statistics = kFloat * tokens * 2;
        multiplied = bf16 ? kBf16 * all_tokens * width : 0;
        kept_input = bf16 ? multiplied : all;
        qkv = element * all_tokens * packed / parts;
        attended = element * all_tokens * width / parts;
        logsumexp = kFloat * all_tokens * model.heads / parts;
        active = element * all_tokens * model.resolved_hidden() / parts;
        hidden = stage.gpt2() ? active : 2 * active;
        const std::int64_t threads = stage.input.threads_per_worker;
        scores = kFloat * kTileRows * stage.input.sequence_length * threads;
        if (bf16) head = kFloat * stage.input.sequence_length * model.head_size() * threads;
        norm_sums = kFloat * 2 * width * ((tokens + kNormRows - 1) / kNormRows);
        losses = 8 * tokens;
        order = 16 * tokens;
        const std::int64_t row = kFloat * stage.input.vocabulary;
        logits = row * std::clamp<std::int64_t>(kLogitBytes / row, 1, tokens);
    }

    bool bf16 = false;
    std::int64_t here, all;   // [tokens of one tensor rank, D], [all tokens, D]
    std::int64_t multiplied;  // bf16: all, rounded
    std::int64_t kept_input;  // of a matrix behind a norm, for its backward pass
    std::int64_t statistics;  // of a norm
    std::int64_t qkv;         // packed, of the heads here
    std::int64_t attended;    // output of attention, of the heads here
    std::int64_t logsumexp;   // of its rows
    std::int64_t hidden;      // llama: [gate; up]
    std::int64_t active;      // after GELU or SwiGLU
    std::int64_t scores;      // attention tiles of all threads
    std::int64_t head = 0;    // bf16: one of q, k, v, out of a head, widened by each thread
    std::int64_t norm_sums;   // partial sums of a norm's backward pass
    std::int64_t losses;      // a double a token
    std::int64_t order;       // of the tokens, sorted, in the embedding's backward pass
    std::int64_t logits;      // one chunk
};

class Tape {
  public:
    void take(std::int64_t bytes) {
        now_ += bytes;
        peak_ = std::max(peak_, now_);
    }
    void give(std::int64_t bytes) { now_ -= bytes; }
    void pass(std::int64_t bytes) {  // taken and given at once
        take(bytes);
        give(bytes);
    }
    std::int64_t now() const { return now_; }
    std::int64_t peak() const { return peak_; }

  private:
    std::int64_t now_ = 0;
    std::int64_t peak_ = 0;
};

// The halves of worker/model/block.cpp. Forward halves find their input there and leave it; backward halves find the
// gradient of their output and leave that of their input, and give what the forward half kept, its input included.
class BlockPasses {
  public:
    BlockPasses(const PlannedStage& stage, std::uint64_t rows, Tape& tape)
        : sizes_(stage, rows), cut_(stage.cut.tensor > 1), rotary_(!stage.gpt2()), tape_(tape) {}

    const Sizes& sizes() const { return sizes_; }

    /// `keep`: for a backward pass. The normed input stays to the end of the block: see leave().
    void attention_forward(bool keep) {
        normed_linear(keep, sizes_.qkv);
        tape_.take(sizes_.attended + sizes_.logsumexp);
        tape_.pass(sizes_.scores + 4 * sizes_.head);
        if (!keep) tape_.give(sizes_.qkv + sizes_.logsumexp);
        linear_to_all();
        if (!keep) tape_.give(sizes_.attended);
    }

    void mlp_forward(bool keep) {
        normed_linear(keep, sizes_.hidden);
        tape_.take(sizes_.active);
        linear_to_all();
        if (!keep) tape_.give(sizes_.hidden + sizes_.active);
        leave(keep);
    }

    /// The normed input of a half, which is saved where it is what a matrix is multiplied with.
    void leave(bool keep) {
        if (!keep || cut_ || sizes_.bf16) tape_.give(sizes_.here);
    }

    /// `held`: whoever called this pass holds the gradient of the output.
    void mlp_backward(bool held) {
        from_all(sizes_.active);
        tape_.give(sizes_.active);  // saved
        tape_.take(sizes_.hidden);
        tape_.give(sizes_.active + sizes_.hidden);  // its gradient; saved
        normed_linear_backward(sizes_.hidden, held);
    }

    void attention_backward() {
        from_all(sizes_.attended);
        tape_.take(sizes_.qkv);
        tape_.pass(2 * sizes_.scores + 8 * sizes_.head);
        tape_.give(2 * sizes_.attended + sizes_.qkv + sizes_.logsumexp);  // gradient and saved
        if (rotary_) tape_.pass(sizes_.qkv);
        normed_linear_backward(sizes_.qkv, false);
    }

    /// Backward of a norm whose input is saved.
    void norm_backward() {
        tape_.take(sizes_.here + sizes_.norm_sums);
        tape_.give(sizes_.norm_sums + sizes_.statistics);
    }

  private:
    // Norm, the gathering of all tokens where the matrices are cut, rounding in bf16, a matrix.
    void normed_linear(bool keep, std::int64_t output) {
        tape_.take(sizes_.statistics + sizes_.here);
        if (!keep) tape_.give(sizes_.statistics);
        if (cut_) tape_.take(sizes_.all);
        tape_.take(sizes_.multiplied + output);
        if (cut_ && (!keep || sizes_.bf16)) tape_.give(sizes_.all);
        if (!keep) tape_.give(sizes_.multiplied);
    }

    // A matrix back to D features; where it is cut, its terms are summed and the own tokens kept.
    void linear_to_all() {
        if (cut_) tape_.take(2 * sizes_.all);
        tape_.take(sizes_.here);
        if (cut_) tape_.give(2 * sizes_.all);
    }

    void from_all(std::int64_t input) {
        if (cut_) tape_.take(sizes_.all);
        tape_.take(sizes_.multiplied + input);
        tape_.give(sizes_.multiplied);
        if (cut_) tape_.give(sizes_.all);
    }

    void normed_linear_backward(std::int64_t output, bool held) {
        tape_.take(sizes_.all);
        tape_.give(output + sizes_.kept_input);  // gradient; saved
        if (cut_) {
            tape_.take(sizes_.all + sizes_.here);
            tape_.give(2 * sizes_.all);
        }
        norm_backward();
        tape_.give(2 * sizes_.here);  // the gradient of the normed input; the input
        if (!held) tape_.give(sizes_.here);
    }

    Sizes sizes_;
    bool cut_;
    bool rotary_;
    Tape& tape_;
};

class StagePasses {
  public:
    StagePasses(const PlannedStage& stage, std::uint64_t rows, Tape& tape)
        : stage_(stage),
          block_(stage, rows, tape),
          sizes_(block_.sizes()),
          how_(stage.input.train.activation_checkpointing),
          tape_(tape) {}

    void forward() {
        if (!stage_.embeds()) tape_.take(sizes_.here);  // as it was received, to the end of the pass
        tape_.take(sizes_.here);
        for (std::int64_t layer = 0; layer < stage_.layers.size(); ++layer) block_forward();
        if (stage_.scores()) head_forward(true);
        if (!stage_.embeds()) tape_.give(sizes_.here);
    }

    void backward() {
        if (stage_.scores()) {
            block_.norm_backward();
            tape_.give(2 * sizes_.here + sizes_.losses);  // the gradient that head_loss made; the norm's input
        } else {
            tape_.take(2 * sizes_.here);  // as it was received, and as a tensor: both to the end of the pass
        }
        bool held = !stage_.scores();
        for (std::int64_t layer = 0; layer < stage_.layers.size(); ++layer) {
            block_backward(held);
            held = false;
        }
        if (!stage_.scores()) tape_.give(3 * sizes_.here);  // and the output
        if (stage_.embeds()) {
            tape_.pass(sizes_.order);
            tape_.give(sizes_.here);
            return;
        }
        // Input and gradient stay until the next gradient is on its way.
        tape_.take(sizes_.here);
        if (sent_) tape_.give(2 * sizes_.here);
        sent_ = true;
    }

    void evaluate() {
        if (!stage_.embeds()) tape_.take(sizes_.here);
        tape_.take(sizes_.here);
        for (std::int64_t layer = 0; layer < stage_.layers.size(); ++layer) {
            unkept_block();
            tape_.give(sizes_.here);
        }
        if (stage_.scores()) head_forward(false);
    }

    /// What stays after a backward pass.
    std::int64_t sent_bytes() const { return sent_ ? 2 * sizes_.here : 0; }

  private:
    void unkept_block() {
        block_.attention_forward(false);
        block_.mlp_forward(false);
        tape_.give(sizes_.here);  // between the halves
        block_.leave(false);
    }

    void block_forward() {
        if (how_ == ActivationCheckpointing::full) return unkept_block();
        block_.attention_forward(true);
        block_.mlp_forward(how_ == ActivationCheckpointing::none);
        block_.leave(true);
    }

    // Recomputed outputs, and the gradients that a recomputation starts from, live as long as it.
    void block_backward(bool held) {
        const bool full = how_ == ActivationCheckpointing::full;
        const bool again = how_ != ActivationCheckpointing::none;
        if (full) block_.attention_forward(true);
        if (again) block_.mlp_forward(true);
        if (full) block_.leave(true);
        block_.mlp_backward(held || again);
        if (full) block_.attention_backward();
        if (again) tape_.give(sizes_.here);
        if (again && !held) tape_.give(sizes_.here);
        if (!full) block_.attention_backward();
    }

    void head_forward(bool keep) {
        tape_.take(sizes_.losses + sizes_.statistics + sizes_.here);
        const std::int64_t rounded = sizes_.bf16 ? sizes_.here / kFloat * kBf16 : 0;
        tape_.take(rounded + sizes_.logits);
        if (keep) tape_.take(sizes_.here);  // the gradient of the normed input
        tape_.give(rounded + sizes_.logits + sizes_.here);
    }

    const PlannedStage& stage_;
    BlockPasses block_;
    const Sizes& sizes_;
    ActivationCheckpointing how_;
    Tape& tape_;
    bool sent_ = false;
};

}  // namespace

PassMemory pass_memory(const PlannedStage& stage) {
    const TrainConfig& train = stage.input.train;
    Tape step;
    StagePasses passes(stage, train.micro_batch_rows, step);
    for (std::int64_t i = 0; i < stage.under_way(); ++i) passes.forward();
    const std::int64_t kept = step.now();
    for (int i = 0; i < std::min<std::int64_t>(2, stage.micro_batches); ++i) {
        passes.backward();  // the second time, a gradient is still on its way to the stage before
        const std::int64_t left = (kept / stage.under_way()) * (stage.under_way() - 1) + passes.sent_bytes();
        KIBAN_CHECK(step.now() == left, "plan a backward pass: expected it to leave {} bytes, found {}", left,
                    step.now());
        if (stage.under_way() == stage.micro_batches) break;
        passes.forward();
    }
    Tape evaluation;
    StagePasses(stage, train.eval_micro_batch_rows, evaluation).evaluate();
    return {.kept = static_cast<std::uint64_t>(kept),
            .peak = static_cast<std::uint64_t>(std::max(step.peak(), evaluation.peak()))};
}

}  // namespace kiban::coordinator
