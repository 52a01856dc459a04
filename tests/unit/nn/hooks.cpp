// Forward hooks of modules.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

struct Block : nn::Module {
  nn::Linear& up = child<nn::Linear>("up", 2, 3);
  Tensor operator()(const Tensor& input, Here here = Here::current()) const {
    const nn::Scope scope(*this, "Block", here);
    const Tensor& x = scope.in(input);
    return scope.out(relu(up(x)));
  }
};

}  // namespace

TEST_CASE("hooks: see and replace what goes in and comes out, until they are removed") {
  Block m;
  const Tensor x = ones({4, 2});
  const Tensor plain = m(x).detach();
  std::vector<std::string> calls;
  Tensor seen_in, seen_out;
  nn::HookHandle first = m.register_forward_pre_hook([&](const nn::Module& which, Tensors& in) {
    CHECK(&which == &m);
    calls.push_back("pre");
    in[0] = 2 * in[0];
  });
  nn::HookHandle second = m.register_forward_hook([&](const nn::Module&, const Tensors& in, Tensors& out) {
    calls.push_back("post");
    seen_in = in[0], seen_out = out[0];
    out[0] = out[0] + 1;
  });
  nn::HookHandle third = m.up.register_forward_hook([&](const nn::Module& which, const Tensors&, const Tensors& out) {
    calls.push_back(which.path() + out[0].shape().str());
  });
  const Tensor y = m(x);
  CHECK(calls == std::vector<std::string>{"pre", "up[4, 3]", "post"});
  CHECK(same(seen_in, x * 2));
  CHECK(same(y.detach(), seen_out.detach() + 1));
  sum(y).backward();
  CHECK(m.up.weight.grad().defined());
  first.remove(), second.remove(), second.remove(), third.remove();
  CHECK(same(m(x).detach(), plain));
  CHECK(calls.size() == 3);
}

TEST_CASE("hooks: modules of several tensors hand over all of them") {
  nn::MultiheadAttention attention(4, 2);
  nn::LSTM lstm(4, 3);
  nn::CrossEntropyLoss loss;
  std::vector<std::string> shapes;
  const auto note = [&](const nn::Module&, const Tensors& in, Tensors& out) {
    std::string text;
    for (const Tensor& t : in) text += t.defined() ? t.shape().str() : "-";
    text += " to ";
    for (const Tensor& t : out) text += t.defined() ? t.shape().str() : "-";
    shapes.push_back(text);
  };
  attention.register_forward_hook(note);
  lstm.register_forward_hook(note);
  loss.register_forward_hook(note);
  const Tensor x = ones({2, 5, 4});
  attention(x, {.need_weights = true});
  lstm(x);
  loss(ones({3, 4}), index_tensor({0, 1, 2}));
  lstm.register_forward_hook([](const nn::Module&, const Tensors&, Tensors& out) { out[0] = zeros({1}); });
  CHECK(lstm(x).output.shape() == Shape{1});
  CHECK(shapes == std::vector<std::string>{"[2, 5, 4][2, 5, 4][2, 5, 4] to [2, 5, 4][2, 5, 5]",
                                           "[2, 5, 4]-- to [2, 5, 3][1, 5, 3][1, 5, 3]", "[3, 4][3] to []",
                                           "[2, 5, 4]-- to [2, 5, 3][1, 5, 3][1, 5, 3]"});
}

TEST_CASE("hooks: every layer comes to them") {
  const Tensor x = ones({2, 4, 8});
  int calls = 0;
  const auto check = [&](nn::Module& m, auto&& call) {
    CAPTURE(typeid(m).name());
    nn::HookHandle before = m.register_forward_pre_hook([&](const nn::Module&, Tensors&) { ++calls; });
    nn::HookHandle after = m.register_forward_hook([&](const nn::Module&, const Tensors&, Tensors&) { ++calls; });
    calls = 0;
    call();
    CHECK(calls == 2);
    calls = 0;
    before.remove(), after.remove();
    call();
    CHECK(calls == 0);
  };
  const auto one = [&](auto&& m, const Tensor& in) { check(m, [&] { m(in); }); };
  one(nn::Linear(8, 2), x);
  one(nn::ReLU(), x);
  one(nn::Softmax(), x);
  one(nn::Dropout(0.5), x);
  one(nn::LayerNorm(8), x);
  one(nn::LayerNorm(8, {.affine = false}), x);
  one(nn::RMSNorm(8), x);
  one(nn::FeedForward(8, 4), x);
  one(nn::GatedFeedForward(8, 4), x);
  one(nn::Highway(8), x);
  one(nn::Conv1d(4, 2, 3), x);
  one(nn::Conv1d(4, 2, 3, {.padding = 1, .padding_mode = nn::PaddingMode::circular}), x);
  one(nn::MaxOverTime(), x);
  one(nn::RotaryEmbedding(8, 8), x);
  one(nn::LocalSelfAttention(8, 2), x);
  one(nn::LshSelfAttention(8, 2), x);
  one(nn::MultiheadAttention(8, 2), x);
  one(nn::LSTM(8, 2), x);
  one(nn::GRU(8, 2), x);
  one(nn::RNN(8, 2), x);
  one(nn::LSTMCell(8, 2), ones({2, 8}));
  one(nn::GRUCell(8, 2), ones({2, 8}));
  one(nn::RNNCell(8, 2), ones({8}));
  one(nn::TransformerEncoderLayer(8, 2), x);
  one(nn::TransformerEncoder(2, 8, 2), x);
  one(nn::Embedding(5, 2), index_tensor({1, 2}));
  one(nn::CharacterEncoder(5, {.filters = {{1, 2}}, .projection = 0}), index_tensor({1, 2}));
  one(nn::Gpt2({.vocabulary = 5, .positions = 4, .d_model = 4, .heads = 2, .layers = 1}), index_tensor({1, 2}, {1, 2}));
  nn::Sequential steps;
  steps.add<nn::Linear>(8, 8, {.bias = false});
  one(steps, x);
  nn::LearnedPositionEmbedding learned(5, 2);
  check(learned, [&] { learned(3); });
  nn::SinusoidalPositionEmbedding sinusoidal(5, 2);
  check(sinusoidal, [&] { sinusoidal(3); });
  nn::AxialPositionEmbedding axial(2, 3, 1, 1);
  check(axial, [&] { axial(3); });
  nn::RelativePositionBias relative(2);
  check(relative, [&] { relative(3, 3); });
  nn::AdditiveAttention additive(3, 8, 4);
  check(additive, [&] { additive(ones({2, 3}), x); });
  nn::TransformerDecoder decoder(1, 8, 2);
  check(decoder, [&] { decoder(x, x); });
  nn::MSELoss loss;
  check(loss, [&] { loss(x, x); });
}

TEST_CASE("hooks: a call that does not come to them is refused, unless it fails by itself") {
  struct Silent : nn::Module {
    Tensor operator()(const Tensor& x, Here here = Here::current()) const {
      const nn::Scope scope(*this, "Silent", here);
      return 2 * x;
    }
  };
  Silent m;
  CHECK(m(ones({1})).item() == 2);
  nn::HookHandle h = m.register_forward_hook([](const nn::Module&, const Tensors&, Tensors&) {});
  CHECK(thrown([&] { m(ones({1})); }).starts_with("ValueError: Silent: has hooks"));
  CHECK(thrown([&] { m(Tensor()); }).find("has hooks") == std::string::npos);
  h.remove();
  CHECK(m(ones({1})).item() == 2);

  nn::Linear linear(2, 2);
  linear.register_forward_pre_hook([](const nn::Module&, Tensors& in) { in.clear(); });
  CHECK(thrown([&] { linear(ones({2})); }).find("changed how many inputs") != std::string::npos);
  nn::HookHandle orphan = nn::Linear(2, 2).register_forward_pre_hook([](const nn::Module&, Tensors&) {});
  orphan.remove();  // its module is gone
}
