// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/row_walk.h"

#include <algorithm>

#include "coordinator/job/left_out.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

class Walk {
  public:
    explicit Walk(const RowRecord& record) : record_(record), step_(record.first_step) {}

    std::vector<RowSpan> done() {
        while (step_ < record_.step) advance();
        // A checkpoint may stand behind rows that the next step was refused with.
        while (position_ < record_.position && is_refused(next())) advance();
        if (position_ == record_.position) return std::move(spans_);
        throw DataError(
            "the record does not add up: {} steps of {} rows after step {}, with what the journal says was refused or "
            "left out, use the order up to row {}; the checkpoint of step {} says {}",
            record_.step - record_.first_step, record_.batch_rows, record_.first_step, position_, record_.step,
            record_.position);
    }

  private:
    std::uint64_t next() const { return next_position(position_, record_.batch_rows, record_.left_out); }

    bool is_refused(std::uint64_t position) const {
        return std::ranges::any_of(record_.refused, [&](const RefusedBatch& batch) {
            return batch.rows.first == position && batch.step == step_ + 1;
        });
    }

    void advance() {
        const std::uint64_t begin = next();
        if (begin > position_) add({.first = position_, .count = begin - position_}, RowFate::left_out);
        const bool refused = is_refused(begin);
        add({.first = begin, .count = record_.batch_rows}, refused ? RowFate::refused : RowFate::trained);
        if (!refused) ++step_;
    }

    void add(const data::RowRange& rows, RowFate fate) {
        spans_.push_back({.rows = rows, .fate = fate, .step = step_ + 1});
        position_ = rows.first + rows.count;
    }

    const RowRecord& record_;
    std::uint64_t step_;
    std::uint64_t position_ = 0;
    std::vector<RowSpan> spans_;
};

}  // namespace

std::vector<RowSpan> walk_rows(const RowRecord& record) { return Walk(record).done(); }

}  // namespace kiban::coordinator
