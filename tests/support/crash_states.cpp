// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>
#include <set>

#include "tests/support/model_file_system.h"

namespace kiban::testing {
namespace {

using Kind = FileOperation::Kind;

enum class Fate { lost, whole, half, zeros };  // half and zeros: of a write only

bool is_about_names(Kind kind) { return kind == Kind::link || kind == Kind::move || kind == Kind::unlink; }
bool is_about_data(Kind kind) { return kind == Kind::write || kind == Kind::preallocate || kind == Kind::truncate; }

std::vector<Fate> fates_of(const FileOperation& operation) {
    if (operation.kind != Kind::write) return {Fate::lost, Fate::whole};
    return {Fate::lost, Fate::whole, Fate::half, Fate::zeros};
}

// Numbers of the operations that no sync before the crash covers. A move is durable once its target is.
std::vector<std::size_t> pending_in(const Trace& trace, std::size_t operations) {
    std::vector<std::size_t> pending;
    for (std::size_t i = 0; i < operations; ++i) {
        const FileOperation& now = trace[i];
        if (is_about_names(now.kind) || is_about_data(now.kind)) pending.push_back(i);
        std::erase_if(pending, [&](std::size_t earlier) {
            const FileOperation& before = trace[earlier];
            return now.kind == Kind::sync ? is_about_data(before.kind) && before.inode == now.inode
                                          : now.kind == Kind::sync_directory && is_about_names(before.kind) &&
                                                before.directory == now.inode;
        });
    }
    return pending;
}

void apply_with_fate(FileTree& tree, const FileOperation& operation, Fate fate) {
    if (fate == Fate::whole) return tree.apply(operation);
    FileOperation part = operation;
    if (fate == Fate::half) part.bytes.resize(part.bytes.size() / 2);
    if (fate == Fate::zeros) std::ranges::fill(part.bytes, std::byte{0});
    if (fate != Fate::lost) tree.apply(part);
}

// What no fate changes.
FileTree disk_before_pending(const Trace& trace, std::size_t operations, const std::vector<std::size_t>& pending) {
    FileTree tree;
    const std::size_t first = pending.empty() ? operations : pending.front();
    for (std::size_t i = 0; i < first; ++i) tree.apply(trace[i]);
    return tree;
}

// `tree`: disk_before_pending.
FileTree disk_of(FileTree tree, const Trace& trace, std::size_t operations, const std::vector<std::size_t>& pending,
                 const std::vector<Fate>& fates) {
    if (pending.empty()) return tree;
    for (std::size_t i = pending.front(), next = 0; i < operations; ++i) {
        const bool undecided = next < pending.size() && pending[next] == i;
        apply_with_fate(tree, trace[i], undecided ? fates[next] : Fate::whole);
        if (undecided) ++next;
        // An inode whose name is lost exists all the same, should a later operation be about it.
        if (trace[i].inode != 0) tree.nodes[trace[i].inode].directory |= trace[i].makes_directory;
    }
    return tree;
}

// Fates by their numbers, so that a choice is a number in mixed radix.
class Choices {
  public:
    Choices(const Trace& trace, const std::vector<std::size_t>& pending) {
        for (const std::size_t i : pending) options_.push_back(fates_of(trace[i]));
    }

    /// All of them when there are at most `most`.
    std::set<std::vector<Fate>> choose(std::size_t most) const {
        std::size_t count = 1;
        for (const auto& options : options_) count = std::min(most + 1, count * options.size());
        std::set<std::vector<Fate>> chosen;
        if (count <= most) {
            for (std::size_t number = 0; number < count; ++number) chosen.insert(numbered(number));
            return chosen;
        }
        for (const Fate extreme : {Fate::lost, Fate::whole}) {
            std::vector<Fate> fates(options_.size(), extreme);
            chosen.insert(fates);
            for (std::size_t i = 0; i < fates.size(); ++i) {
                for (const Fate other : options_[i]) {
                    fates[i] = other;
                    chosen.insert(fates);
                }
                fates[i] = extreme;
            }
        }
        std::mt19937_64 engine(options_.size());
        for (std::size_t tries = 0; chosen.size() < most && tries < 4 * most; ++tries) chosen.insert(random(engine));
        return chosen;
    }

  private:
    std::vector<Fate> numbered(std::size_t number) const {
        std::vector<Fate> fates;
        for (const auto& options : options_) {
            fates.push_back(options[number % options.size()]);
            number /= options.size();
        }
        return fates;
    }
    std::vector<Fate> random(std::mt19937_64& engine) const {
        std::vector<Fate> fates;
        for (const auto& options : options_) fates.push_back(options[engine() % options.size()]);
        return fates;
    }

    std::vector<std::vector<Fate>> options_;
};

}  // namespace

std::size_t for_each_disk_after_crash(const Trace& trace, std::size_t operations, std::size_t most,
                                      const std::function<void(const FileTree&)>& visit) {
    const auto pending = pending_in(trace, operations);
    const FileTree before = disk_before_pending(trace, operations, pending);
    std::vector<FileTree> visited;
    for (const auto& fates : Choices(trace, pending).choose(most)) {
        FileTree tree = disk_of(before, trace, operations, pending, fates);
        if (std::ranges::find(visited, tree) != visited.end()) continue;
        visit(tree);
        visited.push_back(std::move(tree));
    }
    return visited.size();
}

}  // namespace kiban::testing
