// SPDX-License-Identifier: Apache-2.0
// What operators ask through the run directory: who asks well is answered, who asks badly is told, nothing is lost.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "coordinator/run/requests.h"
#include "coordinator/run/wishes.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

class Requests : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "kiban-requests-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        run_dir_ = name;
        fs::create_directories(run_dir_ / "requests");
    }
    void TearDown() override { fs::remove_all(run_dir_); }

    std::string place(const std::string& verb, std::uint64_t steps = 0) const {
        return place_request(run_dir_, {.id = "", .verb = verb, .steps = steps, .by = ""});
    }
    void leave(const std::string& name, const std::string& content) const {
        std::ofstream(run_dir_ / "requests" / name) << content;
    }
    std::size_t files() const {
        return static_cast<std::size_t>(std::distance(fs::directory_iterator(run_dir_ / "requests"), {}));
    }

    fs::path run_dir_;
};

TEST_F(Requests, AreTakenOnceInTheirOrderAndAnsweredOnce) {
    RequestBox box(run_dir_);
    const std::string save = place("save");
    const std::string extend = place("extend", 700);
    const auto taken = box.take();
    ASSERT_EQ(taken.size(), 2U);
    EXPECT_EQ(taken[0].id, save);
    EXPECT_EQ(taken[0].verb, "save");
    EXPECT_NE(taken[0].by.find('@'), std::string::npos) << taken[0].by;
    EXPECT_EQ(taken[1].steps, 700U);
    EXPECT_TRUE(box.take().empty());
    EXPECT_FALSE(take_answer(run_dir_, save).has_value());
    box.answer(save, {.done = true, .text = "durable"});
    EXPECT_THROW(box.answer(save, {}), InternalError);
    const auto answer = take_answer(run_dir_, save);
    ASSERT_TRUE(answer.has_value());
    EXPECT_TRUE(answer->done);
    EXPECT_EQ(answer->text, "durable");
    EXPECT_FALSE(take_answer(run_dir_, save).has_value());
    EXPECT_EQ(box.open().size(), 1U);
    box.answer(extend, {});
    EXPECT_TRUE(take_answer(run_dir_, extend).has_value());
    EXPECT_EQ(files(), 0U) << "nothing is left behind";
}

TEST_F(Requests, ToSetKeysCarryTheirSettings) {
    RequestBox box(run_dir_);
    place_request(
        run_dir_,
        {.id = "", .verb = "set", .steps = 0, .by = "", .settings = {"checkpoint.keep=5", "run.name=\"a b\""}});
    const auto taken = box.take();
    ASSERT_EQ(taken.size(), 1U);
    EXPECT_EQ(taken[0].settings, (std::vector<std::string>{"checkpoint.keep=5", "run.name=\"a b\""}));
    int number = 0;
    for (const char* bad : {R"({"verb":"set"})", R"({"verb":"set","settings":[]})", R"({"verb":"set","settings":[5]})",
                            R"({"verb":"set","settings":["a=\u001b[2J"]})", R"({"verb":"set","settings":"a=b"})"}) {
        const std::string id = "bad" + std::to_string(++number);
        leave(id + ".json", bad);
        EXPECT_TRUE(box.take().empty()) << bad;
        const auto answer = take_answer(run_dir_, id);
        ASSERT_TRUE(answer.has_value()) << bad;
        EXPECT_NE(answer->text.find("expected settings, an array of printable KEY=VALUE, found "), std::string::npos)
            << answer->text;
    }
}

TEST_F(Requests, OfOneVerbLeaveTheOthersNew) {
    RequestBox box(run_dir_);
    place("save");
    EXPECT_TRUE(box.take("stop").empty());
    place("stop");
    EXPECT_EQ(box.take("stop").size(), 1U);
    ASSERT_EQ(box.take().size(), 1U);
}

TEST_F(Requests, ThatAreMeantForACoordinatorThatIsGoneAreRefused) {
    const std::string stop = place("stop");
    RequestBox box(run_dir_);
    EXPECT_TRUE(box.take().empty());
    const auto answer = take_answer(run_dir_, stop);
    ASSERT_TRUE(answer.has_value());
    EXPECT_FALSE(answer->done);
    EXPECT_NE(answer->text.find("a coordinator that is gone"), std::string::npos) << answer->text;
}

TEST_F(Requests, ThatAreWithdrawnAreNotTaken) {
    RequestBox box(run_dir_);
    const std::string id = place("stop");
    EXPECT_TRUE(withdraw_request(run_dir_, id));
    EXPECT_TRUE(box.take().empty());
    EXPECT_FALSE(withdraw_request(run_dir_, id));
    const std::string other = place("stop");
    EXPECT_EQ(box.take().size(), 1U);
    EXPECT_FALSE(withdraw_request(run_dir_, other)) << "it is acted on";
}

TEST_F(Requests, ThatCannotBeUnderstoodAreAnsweredAndEndNothing) {
    RequestBox box(run_dir_);
    const std::map<std::string, std::string> bad = {
        {"empty", ""},
        {"no-object", "[1]"},
        {"no-verb", "{}"},
        {"other-verb", R"({"verb": "erase"})"},
        {"number", R"({"verb": 5})"},
        {"no-steps", R"({"verb": "extend"})"},
        {"negative", R"({"verb": "extend", "steps": -4})"},
        {"half", R"({"verb": "extend", "steps": 4.5})"},
        {"long", std::string(5000, ' ') + R"({"verb": "save"})"},
        {"not-utf8", "{\"verb\": \"\xff\xfe\"}"},
    };
    for (const auto& [id, content] : bad) leave(id + ".json", content);
    fs::create_directories(run_dir_ / "requests" / "directory.json");
    fs::create_symlink("/etc/hostname", run_dir_ / "requests" / "link.json");
    leave(".half-written.json", R"({"verb": "stop"})");
    fs::create_directories(run_dir_ / "requests" / "full.json" / "something");
    EXPECT_TRUE(box.take().empty());
    take_answer(run_dir_, "full");
    EXPECT_TRUE(box.take().empty());
    EXPECT_FALSE(take_answer(run_dir_, "full").has_value()) << "what cannot be removed is refused once";
    for (const auto& [id, content] : bad) {
        const auto answer = take_answer(run_dir_, id);
        ASSERT_TRUE(answer.has_value()) << id;
        EXPECT_FALSE(answer->done) << id;
        EXPECT_NE(answer->text.find(id), std::string::npos) << answer->text;
    }
    EXPECT_EQ(fs::exists("/etc/hostname"), true);
}

TEST_F(Requests, ThatSayWhoAsksInControlCharactersAreMadePrintable) {
    RequestBox box(run_dir_);
    leave("strange.json", R"({"verb": "save", "by": "a\u001b[31m\nb"})");
    const auto taken = box.take();
    ASSERT_EQ(taken.size(), 1U);
    EXPECT_EQ(taken[0].by, "a?[31m?b");
}

TEST(SaveWishes, AreFulfilledByACheckpointThatIsNoOlder) {
    SaveWishes wishes;
    wishes.add("early", 10);
    wishes.add("late", 20);
    EXPECT_TRUE(wishes.take_up_to(9).empty());
    EXPECT_EQ(wishes.take_up_to(10), std::vector<std::string>{"early"});
    EXPECT_FALSE(wishes.empty());
    wishes.went_back_to(15);
    EXPECT_EQ(wishes.take_up_to(15), std::vector<std::string>{"late"});
    EXPECT_TRUE(wishes.empty());
}

}  // namespace
}  // namespace kiban::coordinator
