// SPDX-License-Identifier: Apache-2.0
// The choice of a device, its memory, and that the guarded device guards.
#include "worker/device/device.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "coordinator/job/inventory.h"
#include "monitoring/error.h"
#include "tests/support/message_of.h"
#include "tests/worker/guarded_device.h"
#include "tests/worker/random_floats.h"
#include "worker/device/memory.h"
#include "worker/device/tensors.h"
#include "worker/model/parameters.h"

namespace kiban::worker {
namespace {

class OnDevice : public ::testing::TestWithParam<bool> {  // the guarded one, or LibTorch's kernels on the CPU
  protected:
    void SetUp() override { use_device(GetParam() ? guarded_device() : Device{.aten_kernels = true}); }
    void TearDown() override {
        use_device({});
        EXPECT_EQ(guarded_bytes(), 0U) << "memory that was not given back";
    }
};

std::vector<float> host_of(const DeviceFloats& values) { return to_host(values.span()); }

DeviceFloats device_of_host(const std::vector<float>& host) {
    DeviceFloats values(std::ssize(host));
    from_host(host.data(), std::ssize(host), values.data());
    return values;
}

TEST(Device, CudaIsRefusedSayingWhatWasFound) {
    if (at::globalContext().hasCUDA()) {
        EXPECT_EQ(device_of("cuda", "auto", 0).kind, DeviceKind::cuda);
        return;
    }
    const std::string text = message_of<ConfigError>([] { device_of("cuda", "auto", 0); });
    EXPECT_TRUE(text.starts_with("train.device = 'cuda': expected a CUDA device, found LibTorch ")) << text;
    EXPECT_NE(text.find("or set train.device = 'cpu'"), std::string::npos) << text;
    EXPECT_NE(text.find(at::globalContext().hasCUDART() ? "which sees no device" : "built without CUDA"),
              std::string::npos)
        << text;
}

TEST(Device, NativeKernelsAreNotForGpus) {
    EXPECT_TRUE(message_of<ConfigError>([] {
                    device_of("cuda", "native", 0);
                }).starts_with("train.kernels = 'native' with train.device = 'cuda': native kernels run on the CPU"));
}

TEST(Device, OtherNamesAreRefused) {
    EXPECT_EQ(message_of<ConfigError>([] { device_of("gpu", "auto", 0); }),
              "train.device: expected 'cpu' or 'cuda', found 'gpu'");
    EXPECT_EQ(message_of<ConfigError>([] { device_of("cpu", "torch", 0); }),
              "train.kernels: expected 'auto', 'native' or 'aten', found 'torch'");
}

TEST(Device, TheCpuHasBothKindsOfKernels) {
    EXPECT_EQ(device_of("cpu", "auto", 1).text(), "native kernels on the CPU");
    EXPECT_EQ(device_of("cpu", "native", 1).text(), "native kernels on the CPU");
    EXPECT_EQ(device_of("cpu", "aten", 1).text(), "ATen kernels on the CPU");
}

TEST(Device, LibTorchsKernelsDoNotTakeParametersOfBf16) {
    use_device({.aten_kernels = true});
    EXPECT_THROW(Parameters(std::vector<coordinator::TensorSpec>{}, Precision::bf16), InternalError);
    use_device({});
    EXPECT_NO_THROW(Parameters(std::vector<coordinator::TensorSpec>{}, Precision::bf16));
}

TEST(GuardedDeviceDeathTest, HostCodeThatTouchesItsMemoryDies) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    use_device(guarded_device());
    EXPECT_EXIT(
        {
            const DeviceFloats values(4);
            const volatile float read = values.data()[0];
            static_cast<void>(read);
        },
        ::testing::KilledBySignal(SIGSEGV), "");
    EXPECT_EXIT(
        {
            DeviceFloats values(4);
            std::fill_n(values.data(), 4, 1.0F);
        },
        ::testing::KilledBySignal(SIGSEGV), "");
    use_device({});
}

TEST(GuardedDevice, NewMemoryHoldsNaN) {
    use_device(guarded_device());
    const at::Tensor fresh = at::empty({3}, float_options());
    EXPECT_TRUE(std::isnan(to_host({fresh.data_ptr<float>(), 3})[1]));
    use_device({});
}

TEST(GuardedDevice, RefusesArraysOfTheHostAmongTheArgumentsOfAnOperation) {
    use_device(guarded_device());
    const at::Tensor here = at::zeros({3}, float_options());
    EXPECT_THROW(here.add(at::ones({3})), c10::Error);
    EXPECT_NO_THROW(here.add(1.0));
    use_device({});
}

TEST_P(OnDevice, BuffersAreZeroAndFloatsAreCopiedFilledAndAdded) {
    const DeviceFloats zeros(5);
    EXPECT_EQ(host_of(zeros), std::vector<float>(5, 0.0F));
    DeviceFloats sums = device_of_host({1, 2, 3, 4, 5});
    add_floats(device_of_host({10, 20, 30, 40, 50}).data() + 1, 3, sums.data());
    EXPECT_EQ(host_of(sums), (std::vector<float>{21, 32, 43, 4, 5}));
    fill_floats(sums.data() + 3, 2, 7.0F);
    copy_floats(sums.data() + 2, 2, sums.data());
    EXPECT_EQ(host_of(sums), (std::vector<float>{43, 7, 43, 7, 7}));
    DeviceFloats rows = device_of_host({1, 2, 3, 4});
    add_to_rows(2, 2, device_of_host({10, 100}).data(), rows.data());
    EXPECT_EQ(host_of(rows), (std::vector<float>{11, 102, 13, 104}));
}

TEST_P(OnDevice, BoxesAreCopiedAsOnTheHost) {
    const checkpoint::Box whole{{0, 0}, {4, 6}};
    const checkpoint::Box part{{1, 2}, {2, 3}};
    const std::vector<float> from = random_floats(24, "from");
    std::vector<float> expected(6);
    checkpoint::copy_box(part, whole, from.data(), part, expected.data(), sizeof(float));
    DeviceFloats slice(6);
    copy_box(part, whole, device_of_host(from).data(), part, slice.data());
    EXPECT_EQ(host_of(slice), expected);
    std::vector<float> expected_back(24, 0.0F);
    checkpoint::copy_box(part, part, expected.data(), whole, expected_back.data(), sizeof(float));
    DeviceFloats back(24);
    copy_box(part, part, slice.data(), whole, back.data());
    EXPECT_EQ(host_of(back), expected_back);
}

TEST_P(OnDevice, InitialWeightsAreThoseOfTheHost) {
    const std::vector<coordinator::TensorSpec> specs = {
        {.name = "a", .shape = {3, 5}, .decay = true, .init = coordinator::Init::normal, .deviation = 0.02},
        {.name = "b", .shape = {4}, .decay = false, .init = coordinator::Init::ones}};
    const Device device = worker::device();
    use_device({});
    Parameters expected(specs);
    expected.initialise(7);
    use_device(device);
    Parameters found(specs);
    found.initialise(7);
    EXPECT_EQ(to_host({found.values(), 19}), std::vector<float>(expected.values(), expected.values() + 19));
}

TEST_P(OnDevice, HostCopiesAreWhatTheHostCanRead) {
    const DeviceFloats values = device_of_host({1, 2, 3});
    HostCopies copies;
    const float* host = copies.of(values.data() + 1, 2);
    EXPECT_EQ(host[0], 2.0F);
    EXPECT_EQ(host[1], 3.0F);
    EXPECT_EQ(host == values.data() + 1, tensors_on_host()) << "no copy where none is needed";
}

INSTANTIATE_TEST_SUITE_P(Both, OnDevice, ::testing::Bool(),
                         [](const auto& which) { return which.param ? "guarded" : "cpu"; });

}  // namespace
}  // namespace kiban::worker
