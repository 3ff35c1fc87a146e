// SPDX-License-Identifier: Apache-2.0
#include "coordinator/config/key_table.h"

#include <algorithm>

namespace kiban::coordinator {
namespace {

constexpr Change kFixed = Change::fixed;
constexpr Change kResumable = Change::resumable;
constexpr Change kLive = Change::live;

// Bounds that keep products of sizes inside 63 bits; far above what is trained.
constexpr double kManyLayers = 1 << 14;
constexpr double kManyChannels = 1 << 20;
constexpr double kManyTokens = 1 << 24;
constexpr double kManyRows = 1 << 24;

const Names<data::HoldoutBy> kHoldoutBy{{{"tail", data::HoldoutBy::tail}, {"document", data::HoldoutBy::document}}};
const Names<data::Packing> kPackings{{{"concat", data::Packing::concat}, {"best-fit", data::Packing::best_fit}}};
const Names<AttentionScope> kAttentionScopes{{{"row", AttentionScope::row}, {"document", AttentionScope::document}}};
const Names<ModelLayout> kLayouts{{{"gpt2", ModelLayout::gpt2}, {"llama", ModelLayout::llama}}};
const Names<ScheduleName> kSchedules{{{"cosine", ScheduleName::cosine},
                                      {"wsd", ScheduleName::wsd},
                                      {"linear", ScheduleName::linear},
                                      {"constant", ScheduleName::constant}}};
const Names<DecayShape> kDecayShapes{{{"linear", DecayShape::linear}, {"sqrt", DecayShape::sqrt}}};

const Names<ActivationCheckpointing> kActivationCheckpointing{{{"none", ActivationCheckpointing::none},
                                                               {"selective", ActivationCheckpointing::selective},
                                                               {"full", ActivationCheckpointing::full}}};

// The member's path in RunFile is the key's name, so the two cannot disagree.
#define KIBAN_KEY(member) \
#member, [](auto& target) -> auto& { return target.member; }
#define KIBAN_RUN_KEY(member, ...) key<RunFile>(KIBAN_KEY(member), __VA_ARGS__)
#define KIBAN_SOURCE_KEY(member, ...) key<data::SourceConfig>(KIBAN_KEY(member), __VA_ARGS__)

// clang-format off
std::vector<Key<RunFile>> run_and_data_keys() {
    return {
        KIBAN_RUN_KEY(run.name, Text{}, kResumable, "", "label `run` of every metric; letters, digits and `._-`"),
        KIBAN_RUN_KEY(run.dir, Text{}, kResumable, "", "run directory, relative to the run file; empty: runs/NAME"),
        KIBAN_RUN_KEY(run.seed, at_least(0), kFixed, "", "initial weights and sample order are pure functions of it"),
        key<RunFile>("run.base", [](auto& target) -> auto& { return target.base; }, Text{}, kResumable, "",
                     "directory where relative paths start; empty: that of the run file"),
        KIBAN_RUN_KEY(data.tokenizer, Text{}, kFixed, "", "`bytes`: needs no training; `bpe:32768`: so many tokens, learned from the corpus without its holdout; or a tokenizer.json or SentencePiece .model"),
        KIBAN_RUN_KEY(data.sequence_length, between(2, kManyChannels), kFixed, "tokens",
                      "of one row; attention costs its square"),
        KIBAN_RUN_KEY(data.packing, kPackings, kFixed, "",
                      "concat: tokens one after the other, cut each row; `best-fit`: documents whole where they fit, longer ones cut, nothing predicted from one document to the next, the rest of a row padded"),
        KIBAN_RUN_KEY(data.forget, Text{}, kResumable, "", "file with the identities of documents that are to be forgotten, one a line, relative to the run file: from the next start on their tokens are not read; `kiban trace --document` says which checkpoints saw them"),
        KIBAN_RUN_KEY(data.corpora_dir, Text{}, kResumable, "",
                      "where token shards live, shared by runs; empty: `corpora` beside the run directory"),
        KIBAN_RUN_KEY(data.unit_bytes, at_least(1), kFixed, "bytes",
                      "input of one preparation task: what a killed worker repeats"),
        KIBAN_RUN_KEY(data.shard_tokens, at_least(1), kFixed, "tokens", "of one shard file at most"),
        KIBAN_RUN_KEY(data.holdout.fraction, from_to_below(0, 1), kFixed, "",
                      "part of each source kept for evaluation; 0: none"),
        KIBAN_RUN_KEY(data.holdout.by, kHoldoutBy, kFixed, "",
                      "`tail`: the end of each source; `document`: by a hash of the text, stable when files are added"),
    };
}

std::vector<Key<RunFile>> anonymise_keys() {
    const Words all{{"keep", "redact", "mask", "pseudonym", "encrypt", "drop"}};
    const Words one{{"", "keep", "redact", "mask", "pseudonym", "encrypt", "drop"}};
    return {
        KIBAN_RUN_KEY(data.clean.anonymise.all, all, kFixed, "",
                      "what is done to personal data: `redact`: a tag such as `<EMAIL>`; `mask`: `*` for letters and digits; `pseudonym`: a tag with a keyed code; `encrypt`: a tag from which `kiban reveal` gives the key's holder the value; `drop`: the document goes"),
        KIBAN_RUN_KEY(data.clean.anonymise.secret, one, kFixed, "", "keys, tokens, passwords in addresses; empty, as in all kinds: as `all`"),
        KIBAN_RUN_KEY(data.clean.anonymise.email, one, kFixed, "", ""),
        KIBAN_RUN_KEY(data.clean.anonymise.iban, one, kFixed, "", "bank accounts, by their check digits"),
        KIBAN_RUN_KEY(data.clean.anonymise.card, one, kFixed, "", "payment cards, by their check digit"),
        KIBAN_RUN_KEY(data.clean.anonymise.my_number, one, kFixed, "", "of persons in Japan, by its check digit"),
        KIBAN_RUN_KEY(data.clean.anonymise.corporate_number, one, kFixed, "", "of companies in Japan, by its check digit"),
        KIBAN_RUN_KEY(data.clean.anonymise.phone, one, kFixed, "", "of Japan, North America, and all with a `+`"),
        KIBAN_RUN_KEY(data.clean.anonymise.postal_code, one, kFixed, "", "of Japan"),
        KIBAN_RUN_KEY(data.clean.anonymise.ip, one, kFixed, "", "IPv4 and IPv6"),
        KIBAN_RUN_KEY(data.clean.anonymise.mac, one, kFixed, "", ""),
        KIBAN_RUN_KEY(data.clean.anonymise.name, one, kFixed, "", "the names of `names_file`"),
        KIBAN_RUN_KEY(data.clean.anonymise.names_file, Text{}, kResumable, "", "names of persons, customers or projects, one a line, relative to the run file; found as written and with ASCII letters in capitals; empty: none are looked for"),
        KIBAN_RUN_KEY(data.clean.anonymise.approved_by, Text{}, kFixed, "", "who allows `encrypt`, which can be undone; stands in the manifest"),
        KIBAN_RUN_KEY(data.clean.anonymise.key_file, Text{}, kResumable, "", "the key of pseudonyms and encryption, at least 32 bytes, relative to the run file; keep it apart from the data; for `encrypt` only its owner may read it"),
    };
}

std::vector<Key<RunFile>> clean_keys() {
    const Number share = between(0, 1);
    return {
        KIBAN_RUN_KEY(data.clean.normalise, (Words{{"none", "text"}}), kFixed, "",
                      "`text`: well-formed UTF-8, line ends as \\n, no control characters; a document of which more than 1 byte in 1000 is no UTF-8 is dropped"),
        KIBAN_RUN_KEY(data.clean.deduplicate, (Words{{"none", "exact", "near"}}), kFixed, "",
                      "`exact`: of documents with the same cleaned text, over all sources, the first stays; `near`: of those with nearly the same, too (92 in 100 of which 0.8 of the runs of 5 words are shared)"),
        KIBAN_RUN_KEY(data.clean.contamination.files, Text{}, kFixed, "", "file, glob or directory of evaluation texts, relative to the run file; empty: nothing is compared"),
        KIBAN_RUN_KEY(data.clean.contamination.text_field, Text{}, kFixed, "", "JSONL: the field that holds an evaluation text"),
        KIBAN_RUN_KEY(data.clean.contamination.words, between(1, 1000), kFixed, "words", "of a run that a document must not share with an evaluation text"),
        KIBAN_RUN_KEY(data.clean.contamination.action, (Words{{"drop", "count"}}), kFixed, "", "`drop`: the document goes; `count`: the manifest says how many do"),
        KIBAN_RUN_KEY(data.clean.filter.min_words, at_least(0), kFixed, "", "between white space; 0, as in all filters: not asked (Gopher: 50)"),
        KIBAN_RUN_KEY(data.clean.filter.max_words, at_least(0), kFixed, "", "Gopher: 100000"),
        KIBAN_RUN_KEY(data.clean.filter.min_word_length, at_least(0), kFixed, "characters", "mean (Gopher: 3)"),
        KIBAN_RUN_KEY(data.clean.filter.max_word_length, at_least(0), kFixed, "characters", "mean (Gopher: 10)"),
        KIBAN_RUN_KEY(data.clean.filter.max_symbols, at_least(0), kFixed, "", "`#` and ellipses per word (Gopher: 0.1)"),
        KIBAN_RUN_KEY(data.clean.filter.max_bullet_lines, share, kFixed, "", "lines that start with a bullet, of all that are not blank (Gopher: 0.9)"),
        KIBAN_RUN_KEY(data.clean.filter.max_ellipsis_lines, share, kFixed, "", "lines that end with an ellipsis (Gopher: 0.3)"),
        KIBAN_RUN_KEY(data.clean.filter.min_letter_words, share, kFixed, "", "words with a letter (Gopher: 0.8)"),
        KIBAN_RUN_KEY(data.clean.filter.min_stop_words, between(0, 8), kFixed, "", "different ones of: the be to of and that have with (Gopher: 2); for English only"),
        KIBAN_RUN_KEY(data.clean.filter.max_repeated_lines, share, kFixed, "", "lines that stood before (Gopher: 0.3)"),
        KIBAN_RUN_KEY(data.clean.filter.max_repeated_line_bytes, share, kFixed, "", "their bytes, of all lines' (Gopher: 0.2; FineWeb: 0.01)"),
        KIBAN_RUN_KEY(data.clean.filter.max_repeated_paragraphs, share, kFixed, "", "Gopher: 0.3"),
        KIBAN_RUN_KEY(data.clean.filter.max_repeated_paragraph_bytes, share, kFixed, "", "Gopher: 0.2"),
        KIBAN_RUN_KEY(data.clean.filter.max_repeated_ngrams, at_least(0), kFixed, "", "1: Gopher's limits for runs of 2 to 10 words; 0.5: half of them"),
        KIBAN_RUN_KEY(data.clean.filter.min_ended_lines, share, kFixed, "", "lines that end with a mark which ends sentences (FineWeb: 0.12)"),
        KIBAN_RUN_KEY(data.clean.filter.max_short_lines, share, kFixed, "", "lines of at most 30 characters (FineWeb: 0.67)"),
        KIBAN_RUN_KEY(data.clean.filter.max_lines_per_word, at_least(0), kFixed, "", "FineWeb: 0.3"),
    };
}

std::vector<Key<RunFile>> model_keys() {
    return {
        KIBAN_RUN_KEY(model.layout, kLayouts, kFixed, "",
                      "gpt2: LayerNorm, learned positions, GELU, tied head; llama: RMSNorm, rotary, SwiGLU, grouped heads"),
        KIBAN_RUN_KEY(model.layers, between(1, kManyLayers), kFixed, "", "blocks of attention and MLP"),
        KIBAN_RUN_KEY(model.d_model, between(1, kManyChannels), kFixed, "channels", "width of the residual stream"),
        KIBAN_RUN_KEY(model.heads, between(1, kManyChannels), kFixed, "", "query heads; divide d_model"),
        KIBAN_RUN_KEY(model.kv_heads, between(0, kManyChannels), kFixed, "",
                      "llama: key and value heads, divide heads; 0: as many as heads"),
        KIBAN_RUN_KEY(model.d_hidden, between(0, kManyTokens), kFixed, "channels",
                      "width of the MLP; 0: 4 d_model (gpt2), 8/3 d_model rounded up to a multiple of 32 (llama)"),
        KIBAN_RUN_KEY(model.norm_epsilon, above(0), kFixed, "", "keeps a norm's division finite"),
        KIBAN_RUN_KEY(model.rope_theta, above(0), kFixed, "", "llama: base of the rotary wavelengths; larger for longer rows"),
        KIBAN_RUN_KEY(model.attention, kAttentionScopes, kFixed, "",
                      "what a token attends to: all before it in its `row`, or those of its `document` alone; then positions count from its start, and no document predicts the first token of the next"),
        KIBAN_RUN_KEY(model.vocabulary, between(0, kManyTokens), kFixed, "tokens",
                      "rows of the embedding; 0: the tokenizer's; larger pads"),
    };
}

std::vector<Key<RunFile>> train_keys() {
    return {
        KIBAN_RUN_KEY(train.batch_rows, between(1, kManyRows), kFixed, "rows", "global batch of one step"),
        KIBAN_RUN_KEY(train.micro_batch_rows, between(0, kManyRows), kResumable, "rows",
                      "of one forward and backward pass of one worker: memory against speed; 0: batch_rows / workers"),
        KIBAN_RUN_KEY(train.steps, at_least(1), kLive, "steps",
                      "length of the run and of its schedule; raise it to go on"),
        KIBAN_RUN_KEY(train.eval_interval_steps, at_least(0), kResumable, "steps",
                      "between holdout evaluations; one more at the end; 0: only that"),
        KIBAN_RUN_KEY(train.eval_micro_batch_rows, between(0, kManyRows), kResumable, "rows",
                      "of one evaluation pass; 0: as micro_batch_rows"),
        KIBAN_RUN_KEY(train.clip_norm, at_least(0), kFixed, "", "largest global gradient norm; 0: no clipping"),
        KIBAN_RUN_KEY(train.z_loss, at_least(0), kFixed, "",
                      "times logsumexp(logits)^2 of each target, in the gradients alone: holds logits near 0; PaLM: 1e-4; 0: none"),
        KIBAN_RUN_KEY(train.reduction, (Words{{"fast", "fixed"}}), kResumable, "",
                      "order of gradient sums; `fixed`: with the same micro_batch_rows and threads_per_worker, losses are bit-equal for 1, 2, 4, 8, ... data-parallel workers"),
        KIBAN_RUN_KEY(train.precision, (Words{{"fp32", "bf16"}}), kResumable, "",
                      "of what is multiplied with matrices, and kept for it; `bf16`: weights, gradients, sums, norms and optimizer stay fp32"),
        KIBAN_RUN_KEY(train.device, (Words{{"cpu", "cuda"}}), kResumable, "",
                      "where tensors live; `cuda`: the workers of a machine share out its GPUs; refused where LibTorch finds none"),
        KIBAN_RUN_KEY(train.kernels, (Words{{"auto", "native", "aten"}}), kResumable, "",
                      "`native`: Kiban's own, on the CPU; `aten`: LibTorch's operations, on either device, in fp32; `auto`: native on the CPU"),
        KIBAN_RUN_KEY(train.activation_checkpointing, kActivationCheckpointing, kResumable, "",
                      "memory against time: `selective` recomputes the second half of each block, `full` whole blocks"),
        KIBAN_RUN_KEY(train.optimizer.name, (Words{{"adamw", "muon"}}), kFixed, "",
                      "adamw: decoupled weight decay, bias-corrected; `muon`: the updates of block matrices orthogonalised, AdamW for the rest"),
        KIBAN_RUN_KEY(train.optimizer.learning_rate, above(0), kFixed, "", "peak; the schedule scales it"),
        KIBAN_RUN_KEY(train.optimizer.betas, from_to_below(0, 1), kFixed, "", "decay of the gradient's two moving averages"),
        KIBAN_RUN_KEY(train.optimizer.epsilon, above(0), kFixed, "", "keeps the update's division finite"),
        KIBAN_RUN_KEY(train.optimizer.muon_momentum, from_to_below(0, 1), kFixed, "", "muon: decay of its Nesterov momentum"),
        KIBAN_RUN_KEY(train.optimizer.weight_decay, at_least(0), kFixed, "",
                      "on matrices, embeddings included; never on biases and norm gains"),
        KIBAN_RUN_KEY(train.schedule.name, kSchedules, kFixed, "", "after the warm-up; formulas: coordinator/job/train_config.h"),
        KIBAN_RUN_KEY(train.schedule.warmup_steps, at_least(0), kFixed, "steps",
                      "the rate grows linearly, while AdamW's averages are young"),
        KIBAN_RUN_KEY(train.schedule.decay_steps, at_least(0), kFixed, "steps",
                      "wsd: length of the decay at the end; 0: a tenth of train.steps"),
        KIBAN_RUN_KEY(train.schedule.decay, kDecayShapes, kFixed, "", "wsd: shape of the decay; `sqrt` is 1 - sqrt(x)"),
        KIBAN_RUN_KEY(train.schedule.final_ratio, between(0, 1), kFixed, "", "learning rate at the end over the peak"),
    };
}

std::vector<Key<RunFile>> cluster_keys() {
    return {
        KIBAN_RUN_KEY(parallel.zero, between(0, 3), kResumable, "",
                      "ZeRO stage: what the data-parallel workers share out: 1 optimizer state, 2 also gradients, 3 also weights"),
        KIBAN_RUN_KEY(parallel.replicate, between(1, 1 << 14), kResumable, "",
                      "replicas of the ZeRO shards (hybrid sharding): shards are gathered and summed among the data-parallel workers of one replica, which are neighbours, and the sums exchanged between replicas once a step; divides the data-parallel workers"),
        KIBAN_RUN_KEY(parallel.tensor, between(1, 1 << 14), kResumable, "workers",
                      "share out each layer's heads and features, and its tokens"),
        KIBAN_RUN_KEY(parallel.pipeline, between(1, 1 << 14), kResumable, "workers", "stages, each some of the layers"),
        KIBAN_RUN_KEY(parallel.context, at_least(1), kResumable, "workers", "only 1 is available yet"),
        KIBAN_RUN_KEY(checkpoint.interval_steps, StepsOrAuto{}, kResumable, "steps",
                      "between checkpoints: what a crash repeats; 0: only at step 0 and at the end; `auto`: where stalls and repeated steps cost least together (Young, Daly), from what a save costs and how often the run fails"),
        KIBAN_RUN_KEY(checkpoint.keep, between(2, 1e6), kLive, "", "newest ones kept; the newest may turn out damaged"),
        KIBAN_RUN_KEY(checkpoint.copy, (Words{{"auto", "snapshot", "lazy"}}), kResumable, "",
                      "`snapshot`: a worker copies its shard while its training stands still; `lazy`: beside the next forward and backward passes; auto: a snapshot where the pool holds the shard"),
        KIBAN_RUN_KEY(checkpoint.pool_mib, between(0, 1 << 24), kResumable, "MiB",
                      "memory of each worker for copies, all that a save takes; 0: as large as its shard, at most 4096 and, under a ulimit, an eighth of what that leaves"),
        KIBAN_RUN_KEY(checkpoint.max_mib_per_second, at_least(0), kResumable, "MiB/s",
                      "of each worker's writing of periodic checkpoints; 0: no limit. The last one, and one that a stop asks for, know none"),
        KIBAN_RUN_KEY(checkpoint.spread, between(0, 0.5), kResumable, "",
                      "part of the time between periodic checkpoints over which one may be written, so that writing takes no more than a twentieth of a processor from training; 0: as fast as the disk takes it"),
        KIBAN_RUN_KEY(checkpoint.io, (Words{{"direct", "cached"}}), kResumable, "",
                      "`direct`: shards go past the page cache where the file system offers it: training keeps the processor time and memory that copies there take"),
        KIBAN_RUN_KEY(checkpoint.max_failures, at_least(1), kLive, "",
                      "saves that may fail one after another; with the last of them the run ends with exit code 74"),
        KIBAN_RUN_KEY(checkpoint.min_interval_steps, at_least(1), kLive, "steps", "least that `auto` chooses"),
        KIBAN_RUN_KEY(checkpoint.max_interval_steps, at_least(1), kLive, "steps", "most that `auto` chooses"),
        KIBAN_RUN_KEY(checkpoint.hours_between_failures, above(0), kLive, "hours",
                      "what `auto` expects before the run has failed; counts as one failure in that time"),
        KIBAN_RUN_KEY(checkpoint.milestone_steps, at_least(0), kLive, "steps",
                      "one checkpoint in each so many steps is kept for ever; 0: none"),
        KIBAN_RUN_KEY(checkpoint.promote_after_steps, at_least(1), kResumable, "steps",
                      "healthy ones that prove a checkpoint good; the newest proven one is kept"),
        KIBAN_RUN_KEY(checkpoint.scrub_interval_hours, at_least(0), kResumable, "hours",
                      "between passes that re-read the kept checkpoints; 0: none"),
        KIBAN_RUN_KEY(checkpoint.scrub_megabytes_per_second, above(0), kResumable, "MB/s",
                      "at most, so that re-reading disturbs nobody"),
        KIBAN_RUN_KEY(monitoring.listen, Text{}, kResumable, "",
                      "address of /metrics, an IPv4 ADDRESS:PORT; port 0: a free one; empty: not served. Where another run on the machine has the default one, or, of a run that has a checkpoint, any other, a free one is taken (`targets.json`)"),
        KIBAN_RUN_KEY(monitoring.progress_interval_seconds, above(0), kLive, "seconds",
                      "between progress lines when the output is no terminal"),
        KIBAN_RUN_KEY(monitoring.peak_flops, at_least(0), kResumable, "1/s",
                      "floating-point operations that all workers together could do, for the share that is used; 0: not known"),
        KIBAN_RUN_KEY(launch.workers, between(1, 1 << 20), kResumable, "", "MPI ranks, all of them train"),
        KIBAN_RUN_KEY(launch.threads_per_worker, between(0, 1 << 14), kResumable, "",
                      "OpenMP threads; 0: in a Slurm job its CPUs per task, else those of its smallest node / workers there; elsewhere the CPUs here / workers"),
        KIBAN_RUN_KEY(launch.launcher, (Words{{"auto", "mpirun", "srun"}}), kResumable, "",
                      "auto: srun inside a Slurm allocation, else mpirun; outside of one on a machine of the cluster auto is refused"),
        KIBAN_RUN_KEY(launch.max_restarts, between(0, 1e6), kLive, "",
                      "after lost workers, without a newer checkpoint in between"),
        KIBAN_RUN_KEY(launch.start_timeout_seconds, between(1, 86400), kResumable, "seconds",
                      "until every worker has said hello"),
        KIBAN_RUN_KEY(launch.heartbeat_timeout_seconds, between(2, 86400), kResumable, "seconds",
                      "silence after which a worker counts as lost (`supervise.hang_seconds` where that is shorter and not 0), and the coordinator for a worker"),
        KIBAN_RUN_KEY(launch.time_limit_minutes, between(0, 1e7), kResumable, "minutes",
                      "after which a start of the run saves and leaves with exit code 75, in time for that; 0: none, but that of its Slurm job (SLURM_JOB_END_TIME or squeue)"),
        KIBAN_RUN_KEY(launch.control_interface, Text{}, kResumable, "",
                      "address or interface of the control channel; several nodes need one they reach"),
    };
}

std::vector<Key<RunFile>> survive_keys() {
    return {
        KIBAN_RUN_KEY(supervise.restart_window_hours, above(0), kResumable, "hours", "in which `launch.max_restarts` are counted"),
        KIBAN_RUN_KEY(supervise.max_failed_starts, between(1, 1e6), kResumable, "",
                      "attempts in a row that end before they have done a step or a task: a crash loop, exit code 93"),
        KIBAN_RUN_KEY(supervise.backoff_seconds, at_least(0), kResumable, "seconds",
                      "before the first restart; twice as long each time until something durable is added"),
        KIBAN_RUN_KEY(supervise.max_backoff_seconds, at_least(0), kResumable, "seconds", "the longest, but for a quarter of it that spreads runs that failed together"),
        KIBAN_RUN_KEY(supervise.max_quarantines, between(0, 1e6), kResumable, "",
                      "steps at which the workers end in the same way twice, and whose rows are then left out; 0: none"),
        KIBAN_RUN_KEY(supervise.max_host_failures, between(0, 1e6), kResumable, "",
                      "crashes on one host after which the workers start without it, where the others have room; 0: never, and a host that is gone is started on again too"),
        KIBAN_RUN_KEY(supervise.exclude_hours, at_least(0), kResumable, "hours",
                      "that a host stays left out, over starts of the coordinator too; 0: those take every host again"),
        KIBAN_RUN_KEY(supervise.min_workers, between(0, 1 << 20), kResumable, "",
                      "to go on with where hosts are left out and the others have no room for `launch.workers`: as many as fit and divide, the batches stay the same; 0: never fewer"),
        KIBAN_RUN_KEY(supervise.hang_seconds, at_least(0), kResumable, "seconds",
                      "without progress of any worker in a step that count as a hang, and five times the slowest usual step if that is longer; 0: hangs are not looked for"),
        KIBAN_RUN_KEY(supervise.first_steps_seconds, above(0), kResumable, "seconds", "the same, until five steps were measured"),
        KIBAN_RUN_KEY(supervise.data_seconds, above(0), kResumable, "seconds", "the same, while a worker reads rows: a disk may be slow"),
        KIBAN_RUN_KEY(supervise.slow_phase_seconds, above(0), kResumable, "seconds",
                      "the same, while a worker starts, loads, evaluates or saves"),
        KIBAN_RUN_KEY(supervise.straggler_ratio, at_least(0), kResumable, "",
                      "a worker's own time in a step over the median of the others' that names it a straggler; 0: nobody is named"),
        KIBAN_RUN_KEY(anomaly.window_steps, between(2, 10000), kResumable, "steps",
                      "healthy ones that say what is usual; until there are so many nothing is a spike"),
        KIBAN_RUN_KEY(anomaly.spike_norm_ratio, at_least(0), kResumable, "",
                      "gradient norm over the largest of the window, above which a step is refused; 0: not looked at"),
        KIBAN_RUN_KEY(anomaly.spike_loss_deviations, at_least(0), kResumable, "",
                      "of the loss above the window's median (1.48 median absolute deviations, at least 2 % of the median), above which a step is refused; 0: not looked at"),
        KIBAN_RUN_KEY(anomaly.max_consecutive, at_least(1), kResumable, "steps",
                      "refused in a row that lead to a rollback; a refused step makes no update and leaves its rows out"),
        KIBAN_RUN_KEY(anomaly.max_in_window, at_least(1), kResumable, "steps", "refused among the last window_steps that lead to one, too"),
        KIBAN_RUN_KEY(anomaly.skip_steps, at_least(1), kResumable, "steps",
                      "whose rows a rollback leaves out: so many up to the last refused one, from the checkpoint on at most"),
        KIBAN_RUN_KEY(anomaly.max_rollbacks, at_least(0), kResumable, "",
                      "within 10000 steps; with one more the run ends with exit code 93, for a person to look at"),
        KIBAN_RUN_KEY(anomaly.suspect_after_load_steps, at_least(0), kResumable, "steps",
                      "after a load in which a rollback goes to a checkpoint before the one that was loaded"),
    };
}

const std::vector<Key<data::SourceConfig>>& all_source_keys() {
    static const std::vector<Key<data::SourceConfig>> keys = {
        KIBAN_SOURCE_KEY(path, Text{}, kResumable, "",
                         "file, glob or directory, relative to the run file; the corpus digest decides whether it is the same text"),
        KIBAN_SOURCE_KEY(weight, above(0), kResumable, "", "share of the mixture, relative to the other sources'; changed, it holds from the row on where the run goes on: no row comes again for that, and none is lost (`kiban rows`)"),
        KIBAN_SOURCE_KEY(format, (Words{{"auto", "text", "jsonl"}}), kResumable, "",
                         "auto: .jsonl is JSONL, all else text; .gz, .zst and .tar are read through"),
        KIBAN_SOURCE_KEY(text_field, Text{}, kResumable, "", "JSONL: the field that holds the document"),
        KIBAN_SOURCE_KEY(max_bad_lines, from_to_below(0, 1), kFixed, "", "JSONL: part of its lines that may be malformed or without the field: they are left out and counted; 0: the first such line is refused"),
        KIBAN_SOURCE_KEY(name, Text{}, kFixed, "", "what the manifest calls it; empty: its path"),
        KIBAN_SOURCE_KEY(licence, Text{}, kFixed, "", "under which its text may be used; kept in the manifest, as the next three"),
        KIBAN_SOURCE_KEY(legal_basis, Text{}, kFixed, "", "on which personal data in it is processed"),
        KIBAN_SOURCE_KEY(retain_until, Text{}, kFixed, "", "YYYY-MM-DD, the last day of its use: later it is refused; empty: no end"),
        KIBAN_SOURCE_KEY(sensitivity, (Words{{"", "public", "internal"}}), kFixed, "", "`internal`: is to be anonymised and to have max_bytes; empty: not stated"),
        KIBAN_SOURCE_KEY(max_bytes, at_least(0), kFixed, "bytes", "of its files: more is refused; 0: any number"),
    };
    return keys;
}
// clang-format on

#undef KIBAN_SOURCE_KEY
#undef KIBAN_RUN_KEY
#undef KIBAN_KEY

}  // namespace

const std::vector<Key<RunFile>>& run_file_keys() {
    static const std::vector<Key<RunFile>> keys = [] {
        std::vector<Key<RunFile>> all;
        for (const auto& part : {run_and_data_keys(), clean_keys(), anonymise_keys(), model_keys(), train_keys(),
                                 cluster_keys(), survive_keys()}) {
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }();
    return keys;
}

const std::vector<Key<data::SourceConfig>>& source_keys() { return all_source_keys(); }

std::vector<std::string> known_names() {
    std::vector<std::string> names;
    for (const auto& key : run_file_keys()) {
        names.push_back(key.name);
        for (std::size_t dot = key.name.find('.'); dot != std::string::npos; dot = key.name.find('.', dot + 1)) {
            const std::string section = key.name.substr(0, dot);
            if (std::find(names.begin(), names.end(), section) == names.end()) names.push_back(section);
        }
    }
    names.emplace_back(kSources);
    for (const auto& key : source_keys()) names.push_back(std::string(kSources) + "." + key.name);
    return names;
}

bool is_section(const std::string& name) {
    return std::any_of(run_file_keys().begin(), run_file_keys().end(),
                       [&](const auto& key) { return key.name.starts_with(name + "."); });
}

}  // namespace kiban::coordinator
