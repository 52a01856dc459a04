// Passes as plain values.
#include "autograd/trace/recorder.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "autograd/autograd.h"
#include "autograd/runtime/memory.h"
#include "autograd/tape/checkpoint.h"
#include "autograd/trace/labels.h"
#include "nn/nn.h"
#include "optim/optim.h"

using namespace attune;

namespace {

bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = contiguous(a), y = contiguous(b);
  return x.shape() == y.shape() && x.dtype() == y.dtype() &&
         std::memcmp(x.raw(), y.raw(), static_cast<std::size_t>(x.numel()) * size_of(x.dtype())) == 0;
}

const RecordedNode& node_of(const RecordedPass& pass, const std::string& operation) {
  for (const RecordedNode& n : pass.nodes)
    if (n.operation == operation) return n;
  throw std::runtime_error("no node " + operation);
}

const RecordedStep& step_of(const RecordedPass& pass, int node) {
  for (const RecordedStep& s : pass.steps)
    if (s.node == node) return s;
  throw std::runtime_error("no step of that node");
}

}  // namespace

TEST_CASE("trace: a recording holds the run's own numbers") {
  manual_seed(3);
  const nn::LayerNorm norm(5);
  const Tensor x = randn({4, 5}).requires_grad_();
  const auto loss_of = [&] { return sum(square(norm(x) * x)); };
  Tensor plain = loss_of();
  plain.backward();
  const Tensor gradient = clone(x.grad());
  Tensor(x).zero_grad();

  Recorder recorder;
  {
    const Tracing on;
    const Tensor loss = loss_of();
    recorder.backward(loss);
    CHECK(same_bits(loss, plain));
  }
  CHECK(same_bits(x.grad(), gradient));
  const Recording& r = recorder.recording();
  REQUIRE(r.passes.size() == 1);
  const RecordedPass& pass = r.passes[0];
  CHECK(pass.loss == plain.item());
  const RecordedNode& leaf = pass.nodes[static_cast<std::size_t>(node_of(pass, "layer_norm").inputs[0].node)];
  CHECK(leaf.label == "x");
  const RecordedStep& end = step_of(pass, static_cast<int>(&leaf - pass.nodes.data()));
  REQUIRE(end.arrivals.size() == 2);
  CHECK(end.arrivals[0].k == 1);
  CHECK(end.arrivals[0].n == 2);
  REQUIRE(end.grads.size() == 1);
  CHECK(end.grads[0].before == -1);
  CHECK(same_bits(r.values[static_cast<std::size_t>(end.grads[0].after)].whole, gradient));
  CHECK(same_bits(r.values[static_cast<std::size_t>(end.arrivals[1].sum)].whole, gradient));
  CHECK(node_of(pass, "layer_norm").parts >= 0);
  CHECK(pass.steps.front().node == pass.root);
}

TEST_CASE("trace: un-broadcasting, saved tensors and the second pass are recorded") {
  Recorder recorder;
  const Tensor x = tensor({{1, 2}, {3, 4}}).requires_grad_(), b = tensor({1, 2}).requires_grad_(), c = ones({2});
  for (int i = 0; i < 2; ++i) {
    const Tracing on;
    recorder.backward(sum(x * b + c));
  }
  const Recording& r = recorder.recording();
  const RecordedPass& second = r.passes.at(1);
  const auto value = [&](int i) { return r.values.at(static_cast<std::size_t>(i)).whole; };
  const RecordedNode& product = node_of(second, "mul");
  const RecordedStep& step = step_of(second, static_cast<int>(&product - second.nodes.data()));
  CHECK(value(step.returned[1]).shape() == Shape{2, 2});
  CHECK(value(step.sent[1]).to_vector<double>() == std::vector<double>{4, 6});
  REQUIRE(product.saved.size() == 2);
  CHECK(product.saved[0].first != product.saved[1].first);
  const RecordedStep& leaf = step_of(second, product.inputs[1].node);
  CHECK(value(leaf.grads[0].before).to_vector<double>() == std::vector<double>{4, 6});
  CHECK(value(leaf.grads[0].after).to_vector<double>() == std::vector<double>{8, 12});
}

TEST_CASE("trace: only what its rules keep is called saved") {
  const Tracing on;
  const Tensor a = tensor({1, 2}).requires_grad_(), b = tensor({3, 4});
  const Tensor y = a * b;  // only a wants a gradient, which needs b alone
  REQUIRE(y.node()->trace()->saved.size() == 1);
  CHECK(y.node()->trace()->saved[0].to_vector<double>() == std::vector<double>{3, 4});
  CHECK(exp(a).node()->trace()->saved.empty() == false);
  CHECK((a + b).node()->trace()->saved.empty());
}

TEST_CASE("trace: the budget keeps every summary and the smallest tensors whole") {
  Recorder recorder({.bytes = 4 * 20, .largest_parts = 0});
  const Tensor w = randn({100}).requires_grad_();
  {
    const Tracing on;
    recorder.backward(mean(w * w));
  }
  const Recording& r = recorder.recording();
  std::int64_t bytes = 0;
  for (const RecordedValue& v : r.values) {
    if (v.whole.defined())
      bytes += v.whole.numel() * 4;
    else
      CHECK(v.summary.histogram.size() == (v.summary.min < v.summary.max ? 32 : 1));
    CHECK((v.shape != Shape{100} || !v.whole.defined()));
    CHECK(std::isfinite(v.summary.norm));
  }
  CHECK(bytes <= 80);
  CHECK(r.summarised > 0);

  Recorder with_slice({.bytes = 0, .slices = {"w[3:5]", "nobody[0]"}});
  {
    const Tracing on;
    with_slice.backward(mean(w * w));
  }
  bool kept = false;
  for (const RecordedValue& v : with_slice.recording().values)
    for (const auto& [text, part] : v.slices)
      kept |= text == "[3:5]" && same_bits(part, w[Slice{.start = 3, .stop = 5}]);
  CHECK(kept);
}

TEST_CASE("trace: what an optimiser does to a parameter is recorded, and does not change what was") {
  Recorder recorder;
  nn::Linear layer(3, 2);
  optim::SGD opt{layer.parameters(), {.lr = 0.5}};
  const Tensor before = clone(layer.weight.detach());
  {
    const Tracing on;
    recorder.backward(sum(layer(ones({1, 3}))));
  }
  opt.step();
  const Recording& r = recorder.recording();
  const auto value = [&](int i) { return r.values.at(static_cast<std::size_t>(i)).whole; };
  REQUIRE(r.passes[0].updates.size() == 2);
  const RecordedUpdate& u = r.passes[0].updates[0];
  CHECK(r.passes[0].nodes[static_cast<std::size_t>(u.node)].label == "weight");
  CHECK(same_bits(value(u.before), before));
  CHECK(same_bits(value(u.after), layer.weight.detach()));
  CHECK(value(u.change).to_vector<float>() == std::vector<float>(6, -0.5F));
  CHECK(r.progress.at(0).update_ratios.count("weight") == 1);
  CHECK(r.progress.at(0).gradient_norms.at("bias") == doctest::Approx(std::sqrt(2.0)));
}

TEST_CASE("trace: an update is seen although the recording was read before it") {
  Recorder recorder;
  Tensor w = name(ones({2}).requires_grad_(), "w");
  {
    const Tracing on;
    recorder.backward(sum(w * w));
  }
  CHECK(recorder.recording().passes[0].updates.empty());
  {
    const NoGrad off;
    w -= 0.1 * w.grad();
  }
  REQUIRE(recorder.recording().passes[0].updates.size() == 1);
  CHECK(recorder.recording().passes[0].updates[0].ratio == doctest::Approx(0.2));
}

TEST_CASE("trace: a pass that fails is recorded up to there") {
  Recorder recorder;
  const Tensor x = tensor({1.0}).requires_grad_();
  Tensor h = x * 2;
  {
    const Tracing on;
    h = x * 2;
    h.register_hook([](const Tensor&) -> Tensor { throw std::runtime_error("a hook of the user's"); });
    const Tensor loss = sum(h * 3);
    CHECK_THROWS_WITH_AS(recorder.backward(loss), "a hook of the user's", std::runtime_error);
  }
  const RecordedPass& pass = recorder.recording().passes.at(0);
  CHECK(pass.error == "a hook of the user's");
  CHECK(pass.steps.size() == 2);
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("trace: a recorder's replays and checks leave the program's random numbers alone") {
  const Tensor x = ones({8}).requires_grad_();
  const auto run = [&](bool recorded) {
    manual_seed(5);
    Recorder recorder({.check_seconds = 1});
    std::vector<double> losses;
    for (int i = 0; i < 3; ++i) {
      const auto body = [](const Tensors& in) { return Tensors{dropout(in[0], 0.5) * 3}; };
      const auto loss_of = [&] { return sum(checkpoint(body, {x})[0] * dropout(x, 0.5)); };
      if (recorded) {
        const Tracing on;
        const Tensor loss = loss_of();
        const Tape tape = Tape::of(loss);
        for (std::size_t k = 0; k < tape.size(); ++k)
          if (std::string(tape[k].name()) == "checkpoint") CHECK_FALSE(tape[k].trace()->replay);
        recorder.backward(loss);
        losses.push_back(loss.item());
      } else {
        const Tensor loss = loss_of();
        loss.backward();
        losses.push_back(loss.item());
      }
      Tensor(x).zero_grad();
    }
    return losses;
  };
  CHECK(run(true) == run(false));
}

TEST_CASE("trace: reversible blocks are recorded and checked without a run of their own") {
  Recorder recorder({.check_seconds = 1});
  const Tensor w = randn({2, 6}).requires_grad_();
  const Tracing on;
  const auto half = [](const Tensor& t) { return tanh(t); };
  const nn::TwoStreams y = nn::reversible_blocks({{half, half, {}, {}}}, {w, w * 2});
  const Tensor loss = sum(y.first * y.second);
  recorder.backward(loss);
  const RecordedNode& n = node_of(recorder.recording().passes.at(0), "reversible_blocks");
  CHECK(n.check == "");
  CHECK(node_of(recorder.recording().passes.at(0), "sum").check.starts_with("right"));
}

TEST_CASE("trace: a refused pass keeps its own error, and evaluation under Tracing keeps nothing") {
  Recorder recorder;
  const Tracing on;
  const Tensor x = ones({2}).requires_grad_();
  const Tensor y = x * 2;
  CHECK_THROWS_WITH_AS(recorder.backward(y), doctest::Contains("needs a tensor of one element"), ShapeError);
  CHECK(recorder.recording().passes.empty());
  const NoGrad off;
  const std::int64_t before = memory_stats().live_bytes;
  for (int i = 0; i < 20; ++i) (void)(randn({64, 64}) * x[0]);
  CHECK(memory_stats().live_bytes - before < 64 * 64 * 4 * 4);
}

TEST_CASE("trace: words follow their positions") {
  const Tensor ids = to(tensor({0, 1, 2}), int64);
  name_words(ids, {"the", "cat", "sat"});
  nn::Embedding table(5, 4);
  Recorder recorder;
  {
    const Tracing on;
    const Tensor x = reshape(table(ids), {1, 3, 1, 4});
    recorder.backward(sum(scaled_dot_product_attention(x, x, x).output));
  }
  const RecordedNode& n = node_of(recorder.recording().passes.at(0), "scaled_dot_product_attention");
  CHECK(n.inputs[0].words == "the\ncat\nsat");
  const Tensor features = randn({3, 4});
  name_words(features, {"a", "b", "c"});
  nn::Linear linear(4, 2);
  Recorder of_features;
  {
    const Tracing on;
    of_features.backward(sum(softmax(linear(features), 0)));
  }
  CHECK(node_of(of_features.recording().passes.at(0), "softmax").inputs[0].words == "a\nb\nc");
  CHECK_THROWS_AS(name_words(ids, {"one"}), ValueError);
  CHECK_THROWS_AS(name_words(Tensor(), {"one"}), ValueError);
}

TEST_CASE("trace: summaries") {
  const float inf = INFINITY;
  const Summary s = summarise(tensor({{1.0F, 0.0F, -3.0F}, {NAN, inf, 2.0F}}));
  CHECK(s.min == -3);
  CHECK(s.max == 2);
  CHECK(s.mean == 0);
  CHECK(s.zeros == 1);
  CHECK(s.nans == 1);
  CHECK(s.infinities == 1);
  CHECK(s.norm == doctest::Approx(std::sqrt(14.0)));
  CHECK(s.std == doctest::Approx(std::sqrt(14.0 / 4)));
  std::int64_t counted = 0;
  for (std::int64_t c : s.histogram) counted += c;
  CHECK(counted == 4);
  CHECK(s.picture_rows == 2);
  CHECK(s.picture_columns == 3);
  CHECK(summarise(full({3}, 1e30)).norm == doctest::Approx(1e30 * std::sqrt(3.0)));
  CHECK(summarise(tensor(std::vector<bool>{true, false})).mean == 0.5);
  CHECK(summarise(zeros({0, 3})).histogram.empty());
  CHECK(summarise(to(arange(100), int64)).max == 99);
}
