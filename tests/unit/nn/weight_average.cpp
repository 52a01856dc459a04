// Averages of weights; copies of modules; modules as text; braces as options; options out of range.

#include <filesystem>
#include <sstream>

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

struct Net : nn::Module {
  explicit Net(std::int64_t width) : d(width) {}
  const std::int64_t d;
  nn::Linear& up = child<nn::Linear>("up", d, 2, {.bias = false});
  nn::ModuleList<nn::Dropout>& drops = child<nn::ModuleList<nn::Dropout>>("drops");
  nn::Parameter& scale = parameter("scale", ones({2}));
  nn::Buffer& count = buffer("count", zeros({}, int64), false);
};

}  // namespace

TEST_CASE("weight average: by its formula, in and out of the module") {
  Net m(1);
  m.scale = tensor({1, 2}, {2});
  nn::WeightAverage average(m, {.decay = 0.75});
  m.scale = tensor({5, 6}, {2}), m.count = index_tensor({3}, Shape{});
  average.update();  // 0.75 1 + 0.25 5
  CHECK(average.updates() == 1);
  const TensorImpl* impl = m.scale.impl();
  m.count = index_tensor({4}, Shape{});
  {
    const nn::WeightAverage::Applied guard(average);
    CHECK(same(m.scale.detach(), {2}, {2, 3}));
    CHECK((m.count.item() == 3 && m.scale.impl() == impl && m.scale.requires_grad()));
    CHECK(thrown([&] { average.update(); }).starts_with("ValueError: WeightAverage: update while"));
    CHECK(thrown([&] { average.apply(); }).starts_with("ValueError"));
  }
  CHECK(same(m.scale.detach(), {2}, {5, 6}));
  CHECK(m.count.item() == 4);
  CHECK(thrown([&] { average.restore(); }).starts_with("ValueError"));
  m.to(float64);
  average.update();
  CHECK(same(average.state_dict().at("average.scale"), {2}, {2.75, 3.75}));

  const std::string path = (std::filesystem::temp_directory_path() / "attune_average_test.safetensors").string();
  average.save(path);
  Net other(1);
  nn::WeightAverage again(other);
  again.load(path);
  CHECK(again.updates() == 2);
  again.apply();
  CHECK(same(other.scale.detach(), {2}, {2.75, 3.75}));
  again.restore();
  std::filesystem::remove(path);
  nn::StateDict part = average.state_dict();
  part.erase("average.scale");
  CHECK(thrown([&] { again.load_state_dict(part); }).starts_with("ValueError: WeightAverage: the state does not fit"));
  CHECK(thrown([&] { nn::WeightAverage bad(other, {.decay = 1.5}); }).starts_with("ValueError"));
  nn::WeightAverage warm(other, {.warmup = true});
  other.scale = tensor({13, 14}, {2});
  warm.update();  // decay 2 / 11
  CHECK(close(warm.state_dict().at("average.scale"),
              Plain(tensor(Values{(2. + 13 * 9) / 11, (2. + 14 * 9) / 11}, {2}, float64)), 1e-6));
}

TEST_CASE("clone: a second module with the first one's state") {
  Net m(3);
  m.drops.add(0.5);
  CHECK(thrown([&] { nn::clone(m, 4); }).starts_with("ValueError: copy_state: the modules differ"));
  m.to(float64);
  m.scale *= 3;
  m.scale.requires_grad_(false);
  m.count = index_tensor({7}, Shape{});
  m.eval();
  const std::unique_ptr<Net> twin = nn::clone(m, 3);
  CHECK(same(twin->scale.detach(), {2}, {3, 3}));
  CHECK(same(twin->up.weight.detach(), m.up.weight.detach()));
  CHECK((!twin->scale.requires_grad() && twin->up.weight.requires_grad() && twin->scale.dtype() == float64));
  CHECK((twin->count.item() == 7 && !twin->training() && !twin->up.training()));
  CHECK(!twin->scale.same_storage(m.scale));
  nn::copy_state(*twin, m);
}

TEST_CASE("module: prints as its tree") {
  Net m(500);
  m.drops.add(0.5);
  m.scale.requires_grad_(false);
  std::ostringstream out;
  out << m;
  CHECK(out.str() ==
        "Net(scale [2]), 1,002 parameters (2 frozen)\n"
        "  up: Linear(weight [2, 500]), 1,000 parameters\n"
        "  drops: ModuleList<Dropout>\n"
        "    0: Dropout\n");
  struct Local : nn::Module {
    nn::ModuleList<Net>& nets = child<nn::ModuleList<Net>>("a.nets");
    nn::ReLU& relu = child<nn::ReLU>("relu");
  };
  std::ostringstream local;
  local << Local();
  CHECK(local.str() == "Local\n  a.nets: ModuleList<Net>\n  relu: ReLU\n");
}

TEST_CASE("module: braces are options") {
  struct All : nn::Module {
    nn::GRU& gru = child<nn::GRU>("gru", 8, 8, {.bidirectional = true});
    nn::LSTM& lstm = child<nn::LSTM>("lstm", 8, 8, {.layers = 2});
    nn::RNN& rnn = child<nn::RNN>("rnn", 8, 8, {.bias = false});
    nn::GRUCell& cell = child<nn::GRUCell>("cell", 8, 8, {.bias = false});
    nn::RNNCell& rnn_cell = child<nn::RNNCell>("rnn_cell", 8, 8, Activation::relu, {.bias = false});
    nn::Linear& linear = child<nn::Linear>("linear", 8, 8, {.bias = false});
    nn::Embedding& embedding = child<nn::Embedding>("embedding", 8, 8, {.padding_index = 0});
    nn::LayerNorm& norm = child<nn::LayerNorm>("norm", 8, {.bias = false});
    nn::Conv1d& conv = child<nn::Conv1d>("conv", 8, 8, 3, {.groups = 2});
    nn::FeedForward& ff = child<nn::FeedForward>("ff", 8, 8, {.bias = false});
    nn::GatedFeedForward& gated = child<nn::GatedFeedForward>("gated", 8, 8, {.bias = true});
    nn::Highway& highway = child<nn::Highway>("highway", 8, {.layers = 2});
    nn::CharacterEncoder& characters = child<nn::CharacterEncoder>("characters", 8, {.projection = 0});
    nn::RotaryEmbedding& rotary = child<nn::RotaryEmbedding>("rotary", 8, 8, {.base = 100});
    nn::RelativePositionBias& relative = child<nn::RelativePositionBias>("relative", 8, {.buckets = 4});
    nn::MultiheadAttention& attention = child<nn::MultiheadAttention>("attention", 8, 2, {.bias = false});
    nn::LshSelfAttention& lsh = child<nn::LshSelfAttention>("lsh", 8, 2, {.hashes = 2}, {.head_dim = 3});
    nn::LocalSelfAttention& local = child<nn::LocalSelfAttention>("local", 8, 2, {.chunk = 2}, {.head_dim = 3});
    nn::TransformerEncoderLayer& layer = child<nn::TransformerEncoderLayer>("layer", 8, 2, {.d_ff = 8});
    nn::TransformerDecoderLayer& decoder = child<nn::TransformerDecoderLayer>("decoder", 8, 2, {.d_ff = 8});
    nn::TransformerEncoder& encoder = child<nn::TransformerEncoder>("encoder", 1, 8, 2, {.d_ff = 8});
    nn::Gpt2& gpt2 = child<nn::Gpt2>("gpt2", {.vocabulary = 4, .positions = 4, .d_model = 4, .heads = 2, .layers = 1});
    nn::TripletMarginLoss& loss = child<nn::TripletMarginLoss>("loss", {.margin = 0.5});
  };
  All m;
  CHECK(m.gru(ones({2, 1, 8})).output.shape() == Shape{2, 1, 16});
  CHECK(!m.linear.bias().defined());
  CHECK(m.lsh.options.hashes == 2);
  nn::Sequential steps;
  steps.add<nn::Linear>(8, 4, {.activation = Activation::relu});
  steps.add<nn::LayerNorm>(4, {.affine = false});
  steps.add<nn::ReLU>();
  nn::ModuleList<nn::MultiheadAttention> list;
  list.add(8, 2, {.bias = false});
  nn::ModuleDict<nn::Linear> dict;
  dict.add("a", 8, 2, {.bias = false});
  CHECK((steps.size() == 3 && list.size() == 1 && dict["a"].parameter_count() == 16));
}

TEST_CASE("layers: options out of range are refused when the layer is made") {
  const auto refused = [](auto&& make) { return thrown(make).starts_with("ValueError: "); };
  const double nan = std::nan("");
  for (const std::int64_t bad : {0, -1}) {
    CHECK(refused([&] { nn::LshSelfAttention(8, 2, {.hashes = bad}); }));
    CHECK(refused([&] { nn::LshSelfAttention(8, 2, {.chunk = bad}); }));
    CHECK(refused([&] { nn::LocalSelfAttention(8, 2, {.chunk = bad}); }));
    CHECK(refused([&] { nn::LshSelfAttention(8, bad); }));
    CHECK(refused([&] { nn::LocalSelfAttention(bad, 2); }));
    CHECK(refused([&] { nn::MultiheadAttention(bad, 2); }));
    CHECK(refused([&] { nn::FeedForward(8, 8, {.chunks = bad}); }));
    CHECK(refused([&] { nn::FeedForward(8, bad); }));
    CHECK(refused([&] { nn::TransformerEncoderLayer(8, 2, {.d_ff = bad}); }));
    CHECK(refused([&] { nn::TransformerEncoderLayer(8, 2, {.ff_chunks = bad}); }));
    CHECK(refused([&] { nn::Linear(bad, 2); }));
    CHECK(refused([&] { nn::Embedding(bad, 2); }));
    CHECK(refused([&] { nn::LayerNorm m(bad); }));
    CHECK(refused([&] { nn::RMSNorm m(bad); }));
    CHECK(refused([&] { nn::Conv1d(2, 2, 2, {.dilation = bad}); }));
    CHECK(refused([&] { nn::GRU(2, 2, {.layers = bad}); }));
    CHECK(refused([&] { nn::LSTMCell(2, bad); }));
    CHECK(refused([&] { nn::AdditiveAttention(2, 2, bad); }));
    CHECK(refused([&] { nn::LearnedPositionEmbedding(bad, 2); }));
  }
  for (const double bad : {2.0, -0.1, nan}) {
    CHECK(refused([&] { nn::Dropout m(bad); }));
    CHECK(refused([&] { nn::LshSelfAttention(8, 2, {.dropout = bad}); }));
    CHECK(refused([&] { nn::LocalSelfAttention(8, 2, {.dropout = bad}); }));
    CHECK(refused([&] { nn::MultiheadAttention(8, 2, {.dropout = bad}); }));
    CHECK(refused([&] { nn::FeedForward(8, 2, {.dropout = bad}); }));
    CHECK(refused([&] { nn::GatedFeedForward(8, 2, {.dropout = bad}); }));
    CHECK(refused([&] { nn::TransformerEncoderLayer(8, 2, {.dropout = bad}); }));
    CHECK(refused([&] { nn::LSTM(8, 2, {.layers = 2, .dropout = bad}); }));
  }
  CHECK(refused([&] { nn::LshSelfAttention(8, 2, {.buckets = {4, 3}}); }));
  CHECK(refused([&] { nn::LshSelfAttention(8, 2, {.buckets = {0}}); }));
  CHECK(refused([&] { nn::LshSelfAttention(8, 2, {.chunks_before = -1}); }));
  CHECK(refused([&] { nn::LshSelfAttention(8, 2, {.norm_epsilon = nan}); }));
  CHECK(refused([&] { nn::LocalSelfAttention(8, 2, {.chunks_after = -1}); }));
  CHECK(refused([&] { nn::LshSelfAttention(8, 3); }));
  CHECK(refused([&] { nn::MultiheadAttention(8, 3); }));
  CHECK(refused([&] { nn::MultiheadAttention(8, 4, {.key_heads = 3}); }));
  CHECK(refused([&] { nn::RelativePositionBias(2, {.buckets = 3}); }));
  CHECK(refused([&] { nn::LearnedPositionEmbedding(4, 2, nan); }));
  CHECK(refused([&] { nn::RotaryEmbedding(4, 2, {.base = nan}); }));
  CHECK(refused([&] { nn::LSTM(8, 4, {.cell_clip = nan}); }));
}

TEST_CASE("module: errors name the path of the layer") {
  nn::TransformerEncoder encoder(2, 4, 2, {.d_ff = 4});
  struct Outer : nn::Module {
    nn::TransformerEncoder& encoder = child<nn::TransformerEncoder>("encoder", 1, 4, 2, {.d_ff = 4});
    nn::Embedding& words = child<nn::Embedding>("words", 3, 4);
  };
  Outer m;
  const std::string text = thrown([&] { m.encoder(ones({2, 3, 5})); });
  CHECK(text.starts_with("ShapeError: encoder.layers.0.self_attn: multihead_attention: query"));
  CHECK(thrown([&] { m.words(index_tensor({7})); }).starts_with("IndexError: words: embedding: index 7"));
  CHECK(thrown([&] { nn::Linear(2, 3)(ones({4})); }).starts_with("ShapeError: linear: "));
}
