// Profiles: what is counted, for whom, and when.

#include <doctest/doctest.h>
#include <stdio.h>
#include <unistd.h>

#include <cmath>

#include "autograd/trace/profile.h"
#include "nn/nn.h"
#include "optim/optim.h"

namespace attune::tests {
namespace {

ProfileRow row_of(const Profile& profile, const std::string& name) {
  for (const ProfileRow& r : profile.rows())
    if (r.name == name) return r;
  return {};
}

TEST_CASE("a profile counts calls, steps, products and bytes of each operation") {
  const Tensor a = ones({8, 16}).requires_grad_(), b = ones({16, 4}).requires_grad_();
  matmul(a, b);
  const Profile profile;
  for (int i = 0; i < 3; ++i) sum(matmul(a, b)).backward();
  matmul(a.detach(), b.detach());
  const ProfileRow product = row_of(profile, "matmul");
  CHECK(product.calls == 4);
  CHECK(product.steps == 3);
  CHECK(product.flops == 2 * 8 * 16 * 4 * (4 + 2 * 3));
  CHECK(product.forward_seconds > 0);
  CHECK(product.backward_seconds > 0);
  const std::int64_t forward = 4 * (8 * 16 + 16 * 4 + 8 * 4);
  CHECK(product.bytes >= (4 + 2 * 3) * forward);
  const ProfileRow total = row_of(profile, "sum");
  CHECK(total.calls == 3);
  CHECK(total.steps == 3);
  CHECK(total.flops == 0);
  CHECK(row_of(profile, "leaf").steps == 6);
  CHECK(row_of(profile, "leaf").calls == 0);
  double all = 0;
  for (const ProfileRow& r : profile.rows()) all += r.forward_seconds + r.backward_seconds;
  CHECK(all <= profile.seconds());
}

TEST_CASE("a profile counts the products inside attention") {
  const Tensor q = ones({1, 2, 64, 16}).requires_grad_();
  const Profile profile;
  sum(scaled_dot_product_attention(q, q, q).output).backward();
  // Two products forward, five backward, which makes the scores again, for each of two heads.
  CHECK(row_of(profile, "scaled_dot_product_attention").flops == 2 * 64 * 64 * 16 * 2 * (2 + 5));
}

TEST_CASE("views move no bytes") {
  const Tensor x = ones({8, 16});
  const Profile profile;
  reshape(x, {16, 8});
  CHECK(row_of(profile, "reshape").calls == 1);
  CHECK(row_of(profile, "reshape").bytes == 0);
}

TEST_CASE("a profile sees what happens while it lives, beside another one") {
  const Tensor x = ones({4});
  const Profile outer;
  tanh(x);
  {
    const Profile inner;
    CHECK(inner.rows().empty());
    tanh(x);
    CHECK(row_of(inner, "tanh").calls == 1);
  }
  tanh(x);
  CHECK(row_of(outer, "tanh").calls == 3);
}

TEST_CASE("frames that began before a profile, or outlive it, do not disturb it") {
  const Frame early("early", Here{});
  auto first = std::make_unique<Profile>();
  auto late = std::make_unique<Frame>("late", Here{});
  first.reset();
  const Profile second;
  late.reset();
  tanh(ones({4}));
  CHECK(row_of(second, "late").calls == 0);
  CHECK(row_of(second, "tanh").calls == 1);
}

TEST_CASE("optimisers have a row, modules have none") {
  nn::Linear layer(4, 2);
  optim::AdamW opt{layer.parameters()};
  const Profile profile;
  sum(layer(ones({3, 4}))).backward();
  opt.step();
  CHECK(row_of(profile, "AdamW").calls == 1);
  CHECK(row_of(profile, "linear").calls == 1);
  CHECK(row_of(profile, "Linear").calls == 0);
}

TEST_CASE("a recomputed block's calls count as forward calls again") {
  const Tensor x = ones({4}).requires_grad_();
  const Profile profile;
  sum(checkpoint([](const Tensors& in) { return Tensors{tanh(in[0])}; }, {x})[0]).backward();
  CHECK(row_of(profile, "tanh").calls == 2);
  CHECK(row_of(profile, "tanh").steps == 1);
  CHECK(row_of(profile, "checkpoint").steps == 1);
}

TEST_CASE("a profile's table") {
  const Profile profile;
  matmul(ones({64, 64}), ones({64, 64}));
  const std::string text = profile.str();
  CHECK(
      text.starts_with("operation                   calls   forward ms  backward ms   GFLOP/s          MB    share\n"));
  CHECK(text.find("\nmatmul                          1 ") != std::string::npos);
  CHECK(text.find("\noutside of operations ") != std::string::npos);
  CHECK(text.find("\nall ") != std::string::npos);
}

TEST_CASE("ATTUNE_PROFILE=1 prints the table of the whole run") {
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof self);
  REQUIRE(length > 0);
  const auto output_with = [&](const std::string& setting) {
    const std::string command =
        setting + " '" + std::string(self, static_cast<std::size_t>(length)) + "' -tc='views move no bytes' 2>&1";
    FILE* pipe = popen(command.c_str(), "r");
    std::string text;
    for (int c; (c = fgetc(pipe)) != EOF;) text += static_cast<char>(c);
    CHECK(pclose(pipe) == 0);
    return text;
  };
  CHECK(output_with("ATTUNE_PROFILE=1").find("\nreshape ") != std::string::npos);
  CHECK(output_with("ATTUNE_PROFILE=0").find("reshape ") == std::string::npos);
}

}  // namespace
}  // namespace attune::tests
