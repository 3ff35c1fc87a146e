// SPDX-License-Identifier: Apache-2.0
#include "monitoring/curve.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>
#include <sstream>

#include "monitoring/crc32c.h"
#include "monitoring/error.h"
#include "monitoring/exit_codes.h"
#include "tests/monitoring/process.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kRowBytes =
    77;  // FORMAT.md: 8 of frame, 1 + 2 * 8 + 6 * 8 + 4 of payload; 16 more with an accuracy
constexpr std::size_t kAttemptBytes = 21;  // 8 + 1 + 4 + 8
constexpr std::size_t kMarkBytes = 9;

// Values of a row are closed forms of its step.
CurveRow row_of(std::uint64_t step, std::uint32_t attempt = 1) {
    const auto s = static_cast<double>(step);
    CurveRow row;
    row.step = step;
    row.tokens = 768 * step;
    row.loss = 5 / std::sqrt(s);
    row.learning_rate = 1e-3 / s;
    row.grad_norm = 0.1 + s / 3;
    if (step % 5 == 0) row.eval_loss = 6 / std::sqrt(s);
    if (step % 15 == 0) {
        row.eval_accuracy = 1 / s;
        row.eval_targets = 10 * step;
    }
    row.step_seconds = 0.01 * s;
    row.wall_time = 1.7e9 + s;
    row.attempt = attempt;
    return row;
}

bool same_bits(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }

void expect_same(const CurveRow& found, const CurveRow& expected) {
    EXPECT_EQ(found.step, expected.step);
    EXPECT_EQ(found.tokens, expected.tokens);
    EXPECT_EQ(found.attempt, expected.attempt);
    EXPECT_TRUE(same_bits(found.loss, expected.loss));
    EXPECT_TRUE(same_bits(found.learning_rate, expected.learning_rate));
    EXPECT_TRUE(same_bits(found.grad_norm, expected.grad_norm));
    EXPECT_TRUE(same_bits(found.eval_loss, expected.eval_loss));
    EXPECT_TRUE(same_bits(found.eval_accuracy, expected.eval_accuracy));
    EXPECT_EQ(found.eval_targets, expected.eval_targets);
    EXPECT_TRUE(same_bits(found.step_seconds, expected.step_seconds));
    EXPECT_TRUE(same_bits(found.wall_time, expected.wall_time));
}

void expect_steps(const Curve& curve, std::uint64_t last) {
    ASSERT_EQ(curve.rows.size(), last);
    for (std::uint64_t step = 1; step <= last; ++step) EXPECT_EQ(curve.rows[step - 1].step, step);
}

void write_steps(CurveWriter& writer, std::uint64_t first, std::uint64_t last, std::uint32_t attempt = 1) {
    for (std::uint64_t step = first; step <= last; ++step) writer.append(row_of(step, attempt));
}

// A record as a process leaves it that is killed after `synced` durable rows and `loose` others: no closing mark.
std::string killed_record(std::uint64_t synced, std::uint64_t loose) {
    const TempDirectory directory;
    CurveWriter writer(directory.path());
    write_steps(writer, 1, synced);
    writer.sync();
    write_steps(writer, synced + 1, synced + loose);
    return slurp(directory / "curve.log");
}

TEST(Curve, AMissingRecordIsAnEmptyCurve) {
    const TempDirectory directory;
    const Curve curve = read_curve(directory / "curve");
    EXPECT_TRUE(curve.rows.empty());
    EXPECT_EQ(curve.superseded_rows, 0u);
}

TEST(Curve, ReadsBackTheBitsOfEveryField) {
    const TempDirectory directory;
    std::vector<CurveRow> rows;
    for (std::uint64_t step = 1; step <= 20; ++step) rows.push_back(row_of(step));
    rows[3].loss = std::numeric_limits<double>::quiet_NaN();
    rows[4].grad_norm = std::numeric_limits<double>::infinity();
    rows[5].learning_rate = -0.0;
    rows[6].loss = std::numeric_limits<double>::denorm_min();
    {
        CurveWriter writer(directory / "run/curve");
        for (const CurveRow& row : rows) writer.append(row);
    }
    const Curve curve = read_curve(directory / "run/curve");
    ASSERT_EQ(curve.rows.size(), rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) expect_same(curve.rows[i], rows[i]);
}

TEST(Curve, AnAttemptSupersedesEveryLaterRow) {
    const TempDirectory directory;
    CurveWriter writer(directory.path());
    writer.begin_attempt(1, 0);
    write_steps(writer, 1, 10, 1);
    writer.begin_attempt(2, 6);
    write_steps(writer, 7, 9, 2);
    writer.begin_attempt(3, 8);
    write_steps(writer, 9, 12, 3);
    const Curve curve = read_curve(directory.path());
    expect_steps(curve, 12);
    EXPECT_EQ(curve.superseded_rows, 4u + 1u);
    for (const CurveRow& row : curve.rows) EXPECT_EQ(row.attempt, row.step <= 6 ? 1u : row.step <= 8 ? 2u : 3u);
}

TEST(Curve, AStepThatDoesNotAscendIsACodingErrorAndWritesNothing) {
    const TempDirectory directory;
    CurveWriter writer(directory.path());
    write_steps(writer, 1, 3);
    const std::string message = message_of<InternalError>([&] { writer.append(row_of(3)); });
    EXPECT_TRUE(contains(message, "step 3 recorded after step 3")) << message;
    expect_steps(read_curve(directory.path()), 3);
}

TEST(Curve, ASecondWriterGoesOnWhereTheFirstEnded) {
    const TempDirectory directory;
    for (std::uint64_t step = 1; step <= 4; ++step) {
        CurveWriter writer(directory.path());
        EXPECT_TRUE(
            contains(message_of<InternalError>([&] { writer.append(row_of(step - 1)); }), "must begin in between"));
        writer.append(row_of(step));
    }
    expect_steps(read_curve(directory.path()), 4);
}

TEST(Curve, AnOvertakenWriterIsRefusedAndWhatItEndedWithIsTakenOver) {
    const TempDirectory directory;
    CurveWriter old(directory.path());
    old.append(row_of(1));
    CurveWriter owner(directory.path());
    old.sync();  // its mark comes after the owner has read the record
    owner.begin_attempt(2, 1);
    owner.append(row_of(2, 2));
    EXPECT_TRUE(contains(message_of<IoError>([&] { old.append(row_of(2)); }), "another process writes it too"));
    expect_steps(read_curve(directory.path()), 2);
    EXPECT_EQ(read_curve(directory.path()).rows[1].attempt, 2U);
}

TEST(Curve, ATornTailIsCutAtEveryPossibleLength) {
    const std::string record = killed_record(2, 2);
    const std::size_t durable = kHeaderBytes + 2 * kRowBytes + kMarkBytes;
    ASSERT_EQ(record.size(), durable + 2 * kRowBytes);
    for (std::size_t length = durable; length <= record.size(); ++length) {
        const TempDirectory directory;
        spill(directory / "curve.log", record.substr(0, length));
        const std::uint64_t whole = 2 + (length - durable) / kRowBytes;
        expect_steps(read_curve(directory.path()), whole);
        CurveWriter writer(directory.path());
        EXPECT_EQ(std::filesystem::file_size(directory / "curve.log"), durable + (whole - 2) * kRowBytes);
        writer.append(row_of(whole + 1));
        expect_steps(read_curve(directory.path()), whole + 1);
    }
}

TEST(Curve, ATailOfZerosIsCut) {
    const TempDirectory directory;
    spill(directory / "curve.log", killed_record(3, 1) + std::string(5000, '\0'));
    expect_steps(read_curve(directory.path()), 4);
    CurveWriter writer(directory.path());
    writer.append(row_of(5));
    expect_steps(read_curve(directory.path()), 5);
}

TEST(Curve, AFlippedByteInWhatWasDurableIsRefusedNamingTheOffset) {
    const std::string record = killed_record(3, 1);
    for (std::size_t at = 0; at < kHeaderBytes + 3 * kRowBytes; ++at) {
        const TempDirectory directory;
        std::string damaged = record;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
        spill(directory / "curve.log", damaged);
        const std::string message = message_of<IoError>([&] { CurveWriter writer(directory.path()); });
        EXPECT_TRUE(contains(message, (directory / "curve.log").string())) << message;
        if (at >= kHeaderBytes) {
            const std::size_t entry = kHeaderBytes + (at - kHeaderBytes) / kRowBytes * kRowBytes;
            EXPECT_TRUE(contains(message, fmt::format("is damaged at byte {} of {}", entry, record.size()))) << message;
        }
        EXPECT_EQ(slurp(directory / "curve.log"), damaged) << "a refused record must stay as it is";
    }
    const TempDirectory directory;
    std::string damaged = record;
    damaged[kHeaderBytes + 40] ^= 1;
    spill(directory / "curve.log", damaged);
    EXPECT_TRUE(contains(message_of<IoError>([&] { read_curve(directory.path()); }), "is damaged at byte 16"));
}

TEST(Curve, AFlippedByteInARowThatNobodyWasPromisedIsCutFromThereOn) {
    const std::string record = killed_record(3, 3);
    const std::size_t durable = kHeaderBytes + 3 * kRowBytes + kMarkBytes;
    const TempDirectory directory;
    std::string damaged = record;
    damaged[durable + kRowBytes + 30] ^= 1;
    spill(directory / "curve.log", damaged);
    expect_steps(read_curve(directory.path()), 4);
}

TEST(Curve, WhatIsNotARecordIsRefused) {
    const TempDirectory directory;
    for (const char* content : {"", "KIBAN", "step,tokens,loss and more"}) {
        spill(directory / "curve.log", content);
        const std::string message = message_of<IoError>([&] { CurveWriter writer(directory.path()); });
        EXPECT_TRUE(contains(message, "it does not begin with 'KIBANCRV'")) << message;
    }
}

TEST(Curve, ANewerVersionIsRefusedByItsNumber) {
    const TempDirectory directory;
    std::string header = "KIBANCRV" + std::string("\x03\0\0\0", 4);
    const std::uint32_t checksum = crc32c(std::as_bytes(std::span(header)));
    header.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
    spill(directory / "curve.log", header);
    const std::string message = message_of<IoError>([&] { read_curve(directory.path()); });
    EXPECT_TRUE(contains(message, "it has version 3, this kiban reads up to version 2")) << message;
}

// As version 1 wrote it: another header, and rows that know no accuracy.
TEST(Curve, ARecordOfVersion1IsReadAndGoesOnAsOneOfThisVersion) {
    const TempDirectory directory;
    {
        CurveWriter writer(directory.path());
        writer.begin_attempt(1, 0);
        write_steps(writer, 1, 3, 1);
    }
    std::string record = slurp(directory / "curve.log");
    std::string header = "KIBANCRV" + std::string("\x01\0\0\0", 4);
    const std::uint32_t checksum = crc32c(std::as_bytes(std::span(header)));
    header.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
    record.replace(0, header.size(), header);
    spill(directory / "curve.log", record);
    expect_steps(read_curve(directory.path()), 3);
    {
        CurveWriter writer(directory.path());
        CurveRow row = writer.rows().back();
        row.step = 4;
        row.eval_accuracy = 0.25;
        row.eval_targets = 100;
        writer.append(row);
    }
    EXPECT_EQ(slurp(directory / "curve.log")[8], '\x02');
    const auto rows = read_curve(directory.path()).rows;
    ASSERT_EQ(rows.size(), 4u);
    EXPECT_TRUE(std::isnan(rows[2].eval_accuracy));
    EXPECT_EQ(rows[3].eval_accuracy, 0.25);
    EXPECT_EQ(rows[3].eval_targets, 100u);
}

TEST(Curve, AnEntryOfAnUnknownKindIsRefused) {
    const TempDirectory directory;
    { const CurveWriter writer(directory.path()); }
    std::string entry("\x01\0\0\0", 4);
    const std::string payload = "\x09";
    const std::uint32_t checksum = crc32c(std::as_bytes(std::span(payload)), crc32c(std::as_bytes(std::span(entry))));
    entry.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
    spill(directory / "curve.log", slurp(directory / "curve.log") + entry + payload);
    EXPECT_TRUE(
        contains(message_of<IoError>([&] { read_curve(directory.path()); }), "an entry of kind 9 with 1 bytes"));
}

TEST(Curve, AnIndependentReaderOfTheFormatSeesTheSame) {
    const TempDirectory directory;
    CurveWriter writer(directory.path());
    writer.begin_attempt(1, 0);
    write_steps(writer, 1, 30, 1);
    writer.begin_attempt(2, 21);
    write_steps(writer, 22, 25, 2);
    writer.sync();
    const Finished referee =
        run_process({"/usr/bin/python3", KIBAN_SOURCE_DIR "/tests/monitoring/read_curve.py", directory / "curve.log"});
    ASSERT_EQ(referee.exit_code, 0) << referee.output;
    std::istringstream lines(referee.output);
    const Curve curve = read_curve(directory.path());
    expect_steps(curve, 25);
    for (const CurveRow& row : curve.rows) {
        std::string line;
        std::getline(lines, line);
        std::istringstream fields(line);
        std::string loss, rate, norm, eval, seconds, wall;
        CurveRow theirs;
        fields >> theirs.step >> theirs.tokens >> loss >> rate >> norm >> eval >> seconds >> wall >> theirs.attempt;
        theirs.loss = std::stod(loss);
        theirs.learning_rate = std::stod(rate);
        theirs.grad_norm = std::stod(norm);
        theirs.eval_loss = eval == "nan" ? row.eval_loss : std::stod(eval);
        EXPECT_EQ(eval == "nan", std::isnan(row.eval_loss));
        if (std::string accuracy; fields >> accuracy >> theirs.eval_targets) theirs.eval_accuracy = std::stod(accuracy);
        theirs.step_seconds = std::stod(seconds);
        theirs.wall_time = std::stod(wall);
        expect_same(row, theirs);
    }
    std::string last;
    std::getline(lines, last);
    EXPECT_EQ(last, "superseded 9");
}

TEST(Curve, CanBeReadWhileAnotherProcessAppends) {
    constexpr std::uint64_t kRows = 3000;
    std::uint64_t partial_reads = 0;
    for (int turn = 0; partial_reads == 0 && turn < 5; ++turn) {
        const TempDirectory directory;
        Process child({KIBAN_MONITORING_CHILD, "append-rows", directory / "curve", std::to_string(kRows)}, {},
                      directory / "output");
        for (std::uint64_t seen = 0; seen < kRows;) {
            const Curve curve = read_curve(directory / "curve");
            ASSERT_GE(curve.rows.size(), seen);
            seen = curve.rows.size();
            ASSERT_EQ(seen == 0 ? 0 : curve.rows.back().step, seen);
            if (seen > 0 && seen < kRows) ++partial_reads;
        }
        EXPECT_EQ(child.wait().exit_code, 0);
    }
    EXPECT_GT(partial_reads, 0u) << "the reader never met the writer at work";
}

TEST(Curve, AWriterThatIsKilledLosesNoRowThatItAppended) {
    const TempDirectory directory;
    const Finished child =
        run_child({"append-rows", directory.path(), "100"}, {{"KIBAN_FAULT", "curve.append=kill@37"}});
    EXPECT_EQ(child.signal, SIGKILL);
    expect_steps(read_curve(directory.path()), 36);
    CurveWriter writer(directory.path());
    writer.begin_attempt(2, 30);
    write_steps(writer, 31, 32, 2);
    const Curve curve = read_curve(directory.path());
    expect_steps(curve, 32);
    EXPECT_EQ(curve.superseded_rows, 6u);
}

TEST(Curve, AnAppendThatFailsHalfWayIsTakenBack) {
    const TempDirectory directory;
    const Finished child = run_child({"append-through-a-full-disk", directory.path()});
    EXPECT_EQ(child.exit_code, 0) << child.output;
    EXPECT_TRUE(contains(child.output, "error: cannot write 77 bytes to '")) << child.output;
    expect_steps(read_curve(directory.path()), 3);
    EXPECT_EQ(std::filesystem::file_size(directory / "curve.log"), kHeaderBytes + 3 * kRowBytes + kMarkBytes);
}

TEST(Curve, ASyncThatFailsIsReported) {
    const TempDirectory directory;
    // The first call is the one that opens the record, the second begins the attempt.
    const Finished child = run_child({"append-rows", directory.path(), "10"}, {{"KIBAN_FAULT", "curve.sync=eio@4"}});
    EXPECT_EQ(child.exit_code, kExitIo);
    EXPECT_TRUE(contains(child.output, "Input/output error (injected)")) << child.output;
    expect_steps(read_curve(directory.path()), 10);
}

TEST(Curve, RowsCostWhatTheFormatSays) {
    const TempDirectory directory;
    CurveWriter writer(directory.path());
    writer.begin_attempt(1, 0);
    write_steps(writer, 1, 7);
    EXPECT_EQ(std::filesystem::file_size(directory / "curve.log"), kHeaderBytes + kAttemptBytes + 7 * kRowBytes);
}

}  // namespace
}  // namespace kiban::monitoring
