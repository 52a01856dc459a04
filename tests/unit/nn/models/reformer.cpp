// The Reformer: reversible execution, memory, training, configurations.

#include <doctest/doctest.h>

#include "autograd/trace/profile.h"
#include "nn/nn.h"
#include "optim/optim.h"
#include "tests/unit/file_checks.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

nn::ReformerConfig small_config(std::size_t layers) {
  nn::ReformerConfig c;
  c.vocabulary = 13;
  c.d_model = 16;
  c.d_ff = 32;
  c.heads = 2;
  c.layers.assign(layers, nn::ReformerAttention::lsh);
  c.lsh.hashes = 2;
  c.lsh.chunk = 4;
  c.axial_rows = c.axial_columns = 4;
  c.axial_row_dim = 8;
  return c;
}

struct Gradients {
  double loss;
  std::vector<Tensor> gradients;
};

Gradients gradients_of(nn::ReformerConfig c, bool reversible, std::uint64_t seed = 7) {
  c.reversible = reversible;
  manual_seed(seed);
  nn::Reformer model(c);
  model.to(float64);
  Generator g(3);
  const Tensor tokens = randint(0, 13, {2, 16}, g);
  const Tensor loss = model.loss(model(tokens), tokens);
  loss.backward();
  Gradients out{loss.item(), {}};
  for (const Tensor& p : model.parameters()) out.gradients.push_back(p.grad());
  return out;
}

/// How often an operation ran, forward and backward.
ProfileRow runs(const Profile& profile, const std::string& name) {
  for (const ProfileRow& row : profile.rows())
    if (row.name == name) return row;
  return {};
}

}  // namespace

TEST_CASE("reversible: the same loss and gradients as ordinary execution, dropout and hashes replayed") {
  nn::ReformerConfig c = small_config(3);
  c.layers[1] = nn::ReformerAttention::local;
  c.local.chunk = 4;
  c.dropout = 0.2;
  c.lsh.dropout = 0.1;
  c.ff_chunks = 3;
  const Gradients a = gradients_of(c, true), b = gradients_of(c, false);
  CHECK(a.loss == b.loss);
  REQUIRE(a.gradients.size() == b.gradients.size());
  for (std::size_t i = 0; i < a.gradients.size(); ++i) {
    REQUIRE(a.gradients[i].defined());
    CHECK(difference(a.gradients[i], b.gradients[i]) < 1e-10);
  }
}

TEST_CASE("reversible: activation memory does not grow with depth") {
  const auto held = [](std::size_t layers, bool reversible) {
    nn::ReformerConfig c = small_config(layers);
    c.d_model = 64;
    c.d_ff = 128;
    c.axial_rows = c.axial_columns = 16;
    c.lsh.chunk = 16;
    c.axial_row_dim = 32;
    c.reversible = reversible;
    nn::Reformer model(c);
    const Tensor tokens = zeros({2, 256}, int64);
    const std::int64_t before = memory_stats().live_bytes;
    const Tensor loss = model.loss(model(tokens), tokens);
    return memory_stats().live_bytes - before;
  };
  // What is kept a layer are int32 buckets, 2 x 2 heads x 2 hashes x 256 = 8 KiB, and nearly as much of nodes and
  // shapes, against an activation of 128 KiB.
  const auto growth = [&](bool reversible) {
    return static_cast<double>(held(8, reversible) - held(2, reversible)) / 6;
  };
  CHECK(growth(true) < 16 << 10);
  CHECK(growth(false) > 500 << 10);
}

TEST_CASE("reversible: recorded parameters in the place of a model's own, also after they have gone back") {
  manual_seed(3);
  nn::Reformer model(small_config(1));
  model.to(float64);
  Generator g(3);
  const Tensor tokens = randint(0, 13, {1, 16}, g);
  // Parameters of an inner step of training: each a function of t.
  const auto gradient = [&](bool reversible, bool create_graph) {
    manual_seed(5);
    nn::ReformerConfig c = small_config(1);
    c.reversible = reversible;
    nn::Reformer other(c);
    other.to(float64);
    const Tensor t = scalar(1, float64).requires_grad_();
    Tensors moved;
    for (const Tensor& p : model.parameters()) moved.push_back(p.detach() * t);
    const Tensor loss = other.with_parameters(moved, [&] { return Tensors{other.loss(other(tokens), tokens)}; })[0];
    return grad({loss}, {t}, {.create_graph = create_graph})[0].item();
  };
  const double expected = gradient(false, false);
  CHECK(gradient(true, false) == doctest::Approx(expected).epsilon(1e-10));
  CHECK(gradient(true, true) == doctest::Approx(expected).epsilon(1e-10));
}

TEST_CASE("reversible: a whole model passes gradcheck to second order") {
  manual_seed(3);
  nn::ReformerConfig c = small_config(1);
  c.d_model = 4;
  c.d_ff = 4;
  c.heads = 1;
  c.vocabulary = 3;
  c.axial_row_dim = 2;
  c.dropout = 0.1;
  nn::Reformer model(c);
  model.to(float64);
  Generator g(3);
  const Tensor tokens = randint(0, 3, {1, 16}, g);
  CHECK(nn::gradcheck(model, [&](const Tensors&) { return Tensors{model.loss(model(tokens), tokens)}; }, {}) == "");
}

TEST_CASE("reversible: gradients of a recorded sweep, kept in the parameters, do not keep the graph") {
  const std::int64_t before = memory_stats().live_blocks;
  {
    nn::Linear f(3, 3), g(3, 3);
    const auto run_f = [&](const Tensor& x) { return tanh(f(x)); };
    const auto run_g = [&](const Tensor& x) { return tanh(g(x)); };
    const nn::TwoStreams y =
        nn::reversible_blocks({{run_f, run_g, f.parameters(), g.parameters()}}, {randn({2, 3}), randn({2, 3})});
    sum(y.second * y.first).backward({.create_graph = true});
    CHECK(f.weight.grad().requires_grad());
  }
  CHECK(memory_stats().live_blocks == before);
}

TEST_CASE("reformer: trains on a tiny duplication task, and any number of threads gives the same weights") {
  const int before = num_threads();
  std::vector<double> first;
  for (int threads : {1, 2, 4}) {
    set_num_threads(threads);
    nn::ReformerConfig c = small_config(2);
    c.dropout = 0.1;
    manual_seed(11);
    nn::Reformer model(c);
    optim::AdamW opt(model.parameters(), {.lr = 1e-3});
    Generator data(5);
    double start = 0, end = 0;
    for (int step = 0; step < 40; ++step) {
      const Tensor w = randint(1, 3, {8, 7}, data), zero = zeros({8, 1}, int64), tokens = cat({zero, w, zero, w}, 1);
      const Tensor loss = model.loss(model(tokens), tokens);
      if (step == 0) start = loss.item();
      end = loss.item();
      loss.backward();
      optim::clip_grad_norm(model.parameters(), 1);
      opt.step();
    }
    CHECK(end < 0.6 * start);
    std::vector<double> weights;
    for (const Tensor& p : model.parameters())
      for (double v : values(p)) weights.push_back(v);
    if (first.empty()) first = weights;
    CHECK(weights == first);
  }
  set_num_threads(before);
}

TEST_CASE("reformer: masks of layers are padded, and what is shown is what is computed") {
  nn::ReformerConfig c = small_config(1);
  c.layers = {nn::ReformerAttention::lsh, nn::ReformerAttention::local};
  c.lsh.chunk = 4;
  c.local.chunk = 6;
  nn::Reformer model(c);
  model.eval();
  const Tensor tokens = index_tensor({1, 5, 2, 8, 0, 3, 11, 4, 9, 7, 6, 10, 2, 12, 1, 0, 5, 8, 3, 4}, {2, 10});
  Tensor mask = zeros({2, 10}, boolean);
  Tensor end = slice(mask, 1, 8, 10);
  fill_(end, true);
  const auto run = [&](const nn::ReformerCall& call) {
    manual_seed(3);
    return model(tokens, call);
  };
  CHECK(same(run({.attention = {{.key_padding_mask = mask}, {.key_padding_mask = mask}}}),
             run({.key_padding_mask = mask})));
  manual_seed(3);
  const Tensor used = model.buckets(tokens)[0];
  model.train();
  model.lsh_attention(0).eval();
  manual_seed(3);
  const auto pattern = model.attention_pattern(tokens, 0);
  CHECK(model.training());
  CHECK(!model.lsh_attention(0).training());
  CHECK(used.shape()[3] == 12);
  CHECK(same(pattern.buckets, slice(used, 3, 0, 10)));
  CHECK(pattern.weights.shape() == Shape{2, c.heads, 10, 10});
  CHECK(amax(abs(sum(pattern.weights, {3}) - 1)).item() < 1e-5);
}

TEST_CASE("reformer: buckets and patterns hash, and attend, once a layer") {
  nn::Reformer model(small_config(3));
  const Tensor tokens = zeros({1, 16}, int64);
  {
    const Profile profile;
    model.buckets(tokens);
    CHECK(runs(profile, "lsh_buckets").calls == 3);
    CHECK(runs(profile, "lsh_attention").calls == 3);
  }
  const Profile profile;
  model.attention_pattern(tokens, 2);
  CHECK(runs(profile, "lsh_buckets").calls == 3);
  CHECK(runs(profile, "lsh_attention").calls == 2);
  CHECK(runs(profile, "lsh_attention_weights").calls == 1);
}

TEST_CASE("reformer: a training step hashes once a layer, and attends once more only to recompute") {
  for (const bool reversible : {true, false}) {
    CAPTURE(reversible);
    nn::ReformerConfig c = small_config(3);
    c.layers[1] = nn::ReformerAttention::local;
    c.local.chunk = 4;
    c.reversible = reversible;
    nn::Reformer model(c);
    const Tensor tokens = zeros({2, 16}, int64);
    const Profile profile;
    model.loss(model(tokens), tokens).backward();
    const std::int64_t forward = reversible ? 2 : 1;
    CHECK(runs(profile, "lsh_rotations").calls == 2);
    CHECK(runs(profile, "lsh_buckets").calls == 2);
    CHECK(runs(profile, "lsh_attention").calls == 2 * forward);
    CHECK(runs(profile, "local_attention").calls == forward);
    CHECK(runs(profile, "chunked_attention").calls == 3 * forward);
    CHECK(runs(profile, "chunked_attention").steps == 3);
    // Recomputation sorts again, in three thousandths of a layer's time: the order would take as much memory a layer
    // as the buckets, which are nearly all that a reversible layer keeps. The backward kernel takes the order that is
    // there.
    CHECK(runs(profile, "bucket_order").calls == 2 * forward);
  }
}

TEST_CASE("reformer: a published configuration") {
  const std::string source = std::string(ATTUNE_TEST_DATA) + "/models/reformer_lsh_tiny/config.json";
  const nn::ReformerConfig c = nn::reformer_config_from_file(source);
  CHECK(c.layers == std::vector<nn::ReformerAttention>(2, nn::ReformerAttention::lsh));
  CHECK(c.axial_columns == 8);
}

TEST_CASE("reformer: what published files hold beside the weights is compared") {
  nn::Reformer saved(small_config(1)), loaded(small_config(1));
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  const NoGrad off;
  normal_(saved.head.bias, 0, 1);
  std::map<std::string, Tensor> state;
  for (const auto& [name, value] : saved.state_dict()) state[name] = value;
  const std::string attention = "reformer.encoder.layers.0.attention.self_attention.";
  state[attention + "mask_value_float32"] = scalar(-1e9);
  state[attention + "self_mask_value_float16"] = scalar(-1e3);
  state[attention + "self_mask_value_float32"] = scalar(-inf);  // saved as a half
  state["lm_head.decoder.bias"] = state.at("lm_head.bias");
  const auto load = [&](const std::string& name, const Tensor& value) {
    std::map<std::string, Tensor> other = state;
    if (!name.empty()) other[name] = value;
    save_safetensors(path, other);
    loaded.load_published(path);
  };
  load("", {});
  CHECK(same(loaded.head.bias.detach(), saved.head.bias.detach()));
  const auto refused = [&](const std::string& name, const Tensor& value) {
    return refusal<FileError>([&] { load(name, value); }).substr(path.size() + 2);
  };
  CHECK(refused("lm_head.decoder.bias", zeros({13})) ==
        "\"lm_head.decoder.bias\" differs from \"lm_head.bias\", and the model has one weight for both");
  CHECK(refused(attention + "self_mask_value_float16", scalar(0)) ==
        "\"" + attention + "self_mask_value_float16\" is not the mask's constant, which is all that this model has");
  state.erase("lm_head.bias");  // under its second name alone
  fill_(loaded.head.bias, 0);
  load("", {});
  CHECK(same(loaded.head.bias.detach(), saved.head.bias.detach()));
}

TEST_CASE("reformer: reductions and counts of the loss, causal or not") {
  for (const bool causal : {true, false}) {
    CAPTURE(causal);
    nn::ReformerConfig c = small_config(1);
    c.lsh.causal = c.local.causal = causal;
    const nn::Reformer model(c);
    Generator g(1);
    const Tensor logits = randn({2, 3, 13}, float64, g), labels = index_tensor({1, 2, -100, 4, 5, 6}, {2, 3});
    const std::int64_t count = causal ? 3 : 5;
    CHECK(model.target_count(labels) == count);
    const Tensor each = model.loss(logits, labels, Reduction::none);
    CHECK(each.shape() == (causal ? Shape{2, 2} : Shape{2, 3}));
    CHECK(model.loss(logits, labels, Reduction::sum).item() == doctest::Approx(sum(each).item()));
    CHECK(model.loss(logits, labels).item() == doctest::Approx(sum(each).item() / static_cast<double>(count)));
  }
}

TEST_CASE("reformer: wrong configurations and inputs") {
  nn::ReformerConfig c = small_config(1);
  c.heads = 3;
  CHECK(refusal<ValueError>([&] { nn::Reformer model(c); }) == "Reformer: heads = 3 does not divide d_model = 16");
  nn::Reformer model(small_config(1));
  CHECK(refusal<ShapeError>([&] { model(zeros({16}, int64)); }) ==
        "Reformer: tokens must be [batch, length], got [16]");
  CHECK(refusal<IndexError>([&] {
          model(full({1, 16}, 13, int64));
        }) == "reformer.embeddings.word_embeddings: embedding: index 13 is out of range for axis 0 of [13, 16]");
  CHECK(refusal<ShapeError>([&] {
          model(zeros({1, 17}, int64));
        }) == "reformer.embeddings.position_embeddings.weights: AxialPositionEmbedding: 17 positions do not fit 4 x 4");
  for (const std::int64_t chunk : {std::int64_t{0}, std::int64_t{-4}, (std::int64_t{1} << 62) + 1}) {
    nn::ReformerConfig wrong = small_config(1);
    wrong.lsh.chunk = chunk;
    CHECK(refusal<ValueError>([&] { nn::Reformer refused(wrong); }) ==
          "Reformer: chunk = " + std::to_string(chunk) + " is not in 1..2147483647");
  }
  nn::ReformerConfig mixed = small_config(1);
  mixed.layers = {nn::ReformerAttention::lsh, nn::ReformerAttention::local};
  mixed.lsh.causal = !mixed.local.causal;
  CHECK(refusal<ValueError>([&] { nn::Reformer refused(mixed); }) ==
        "Reformer: some layers are causal and some are not");
  const Tensor tokens = zeros({2, 10}, int64);
  CHECK(refusal<ShapeError>([&] { model.buckets(select(tokens, 0, 0)); }) ==
        "Reformer: tokens must be [batch, length], got [10]");
  CHECK(refusal<ShapeError>([&] { model.attention_pattern(select(tokens, 0, 0), 0); }) ==
        "Reformer: tokens must be [batch, length], got [10]");
  CHECK(refusal<IndexError>([&] {
          model.attention_pattern(full({1, 10}, 13, int64), 0);
        }).starts_with("reformer.embeddings.word_embeddings: embedding"));
  CHECK(model.training());
  CHECK(refusal<IndexError>([&] { model.lsh_attention(9); }) == "Reformer: there is no layer 9 of 1");
  for (const Tensor& mask : {zeros({7, 3}, boolean), ones({2, 3}, boolean), ones({10}, boolean)})
    CHECK(refusal<ShapeError>([&] { model(tokens, {.key_padding_mask = mask}); }) ==
          "Reformer: key_padding_mask " + mask.shape().str() + " must be [2, 10]");
  CHECK(refusal<DTypeError>([&] {
          model(tokens, {.attention = {{.key_padding_mask = ones({2, 10})}}});
        }) == "Reformer: key_padding_mask [2, 10] must be of bool, got float32");
}

}  // namespace attune::tests
