// SPDX-License-Identifier: Apache-2.0
// What the model tells whoever keeps its parameters: which bucket (coordinator/job/layout.h) it is about to use, and
// which it has done with. The model knows nothing of why.
//
// Around one micro-batch: before_forward and after_forward of each bucket in order of use; then, from the last to the
// first, before_backward, and after_backward when the micro-batch adds no more to the bucket's gradients. A bucket that
// is used twice (a tied embedding) is told so twice in forward and once in backward. Evaluation has forward alone.
#pragma once

namespace kiban::worker {

class BucketHooks {
  public:
    virtual ~BucketHooks() = default;
    virtual void before_forward(int bucket) = 0;
    virtual void after_forward(int bucket) = 0;
    virtual void before_backward(int bucket) = 0;
    virtual void after_backward(int bucket) = 0;
};

}  // namespace kiban::worker
