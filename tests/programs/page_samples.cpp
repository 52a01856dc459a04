// `page_samples FOLDER [NAME...]`: recordings of real runs and made ones, as pages, for test_page.py: NAME.html, and
// NAME.bits, in which a line says of each whole value its number, dtype and bytes in hexadecimal.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <map>

#include "autograd/trace/page.h"
#include "autograd/trace/recorder.h"
#include "nn/nn.h"
#include "optim/optim.h"

namespace attune {
namespace {

// ---- real runs

/// `steps` steps of training; the first and the last are recorded.
Recording train(const std::string& program, nn::Module& model, int steps, const std::function<Tensor()>& loss_of) {
  Recorder recorder;
  optim::AdamW opt{model.named_parameters(), {.lr = 1e-2}};
  for (int i = 1; i <= steps; ++i) {
    if (i == 1 || i == steps) {
      const Tracing on;
      recorder.backward(loss_of());
    } else {
      const Tensor loss = loss_of();
      loss.backward();
      recorder.note(loss);
    }
    opt.step();
  }
  Recording r = recorder.recording();
  r.program = program;
  return r;
}

struct Mlp : nn::Module {
  nn::Linear& up = child<nn::Linear>("up", 2, 8);
  nn::Linear& down = child<nn::Linear>("down", 8, 2);
  Tensor operator()(const Tensor& x) {
    const Tensor hidden = gelu(up(x));
    return down(hidden);
  }
};

Recording mlp() {
  Mlp model;
  const Tensor x = 4 * rand({6, 2}) - 2;
  const Tensor inside = to(lt(sum(square(x), {1}), 2), int64);
  return train("circle", model, 20, [&] {
    const Tensor logits = model(x);
    return cross_entropy(logits, inside);
  });
}

/// c = a + a, d = c * b, and their gradients: every number can be worked out by hand.
Recording chain() {
  Recorder recorder;
  const Tracing on;
  Tensor a = tensor(-4.0).requires_grad_();
  Tensor b = tensor(0.1).requires_grad_();
  const Tensor c = a + a;
  const Tensor d = c * b;
  recorder.backward(d);
  Recording r = recorder.recording();
  r.program = "chain";
  return r;
}

struct Translator : nn::Module {
  static nn::TransformerOptions options() { return {.d_ff = 256, .dropout = 0}; }
  nn::Embedding& embed = child<nn::Embedding>("embed", 20, 64);
  nn::TransformerEncoder& encoder = child<nn::TransformerEncoder>("encoder", 2, 64, 4, options());
  nn::TransformerDecoder& decoder = child<nn::TransformerDecoder>("decoder", 2, 64, 4, options());
  nn::Linear& out = child<nn::Linear>("out", 64, 20);
  Tensor operator()(const Tensor& source, const Tensor& target) {
    const Tensor memory = encoder(embed(source));
    return out(decoder(embed(target), memory));
  }
};

std::vector<std::string> words(std::int64_t n) {
  const std::vector<std::string> some = {"the", "cat", "that", "the", "dogs", "chased", "sat", "on",
                                         "a",   "mat", "and",  "it",  "was",  "warm",   ".",   "<end>"};
  std::vector<std::string> all;
  for (std::int64_t i = 0; i < n; ++i) all.push_back(some[static_cast<std::size_t>(i) % some.size()]);
  return all;
}

/// Token numbers of a batch of sequences: some pattern without a random generator's help.
Tensor tokens(std::int64_t batch, std::int64_t length, std::int64_t vocabulary, std::int64_t from) {
  Tensor t = zeros({batch, length}, int64);
  for (std::int64_t i = 0; i < batch * length; ++i) t.mutable_data<std::int64_t>()[i] = (7 * i + from) % vocabulary;
  return t;
}

Recording transformer() {
  Translator model;
  const Tensor source = tokens(2, 16, 20, 3), target = tokens(2, 16, 20, 5), next = tokens(2, 16, 20, 12);
  name_words(source, words(16));
  return train("translate", model, 6, [&] {
    const Tensor logits = model(source, target);
    return cross_entropy(logits, next);
  });
}

Recording reformer() {
  nn::Reformer model({.vocabulary = 20,
                      .d_model = 32,
                      .d_ff = 64,
                      .heads = 2,
                      .layers = {nn::ReformerAttention::lsh, nn::ReformerAttention::lsh},
                      .lsh = {.hashes = 2, .chunk = 8},
                      .axial = false,
                      .positions = 64,
                      .reversible = false});
  const Tensor text = tokens(1, 32, 20, 3);
  return train("copy", model, 4, [&] { return model.loss(model(text), text); });
}

struct Tagger : nn::Module {
  nn::LSTM& lstm = child<nn::LSTM>("lstm", 4, 8);
  nn::Linear& out = child<nn::Linear>("out", 8, 3);
};

Recording lstm() {
  Tagger model;
  const Tensor x = randn({6, 2, 4}), tags = tokens(6, 2, 3, 1);
  name_words(x, words(6));
  return train("tagger", model, 8, [&] { return cross_entropy(model.out(model.lstm(x).output), tags); });
}

struct Aligner : nn::Module {
  nn::AdditiveAttention& attention = child<nn::AdditiveAttention>("attention", 6, 6, 8);
};

Recording additive() {
  Aligner model;
  const Tensor queries = randn({2, 4, 6}), keys = randn({2, 5, 6});
  name_words(keys, words(5));
  return train("align", model, 3, [&] { return sum(square(model.attention(queries, keys).context - queries)); });
}

/// The backward pass of one loss.
Recording once(const std::string& program, const std::function<Tensor()>& loss_of) {
  Recorder recorder;
  {
    const Tracing on;
    recorder.backward(loss_of());
  }
  Recording r = recorder.recording();
  r.program = program;
  return r;
}

/// LSH attention with padding: all positions of a round are in one bucket, the last three are padding.
Recording padded() {
  Tensor buckets = zeros({1, 1, 2, 16}, int32), padding = zeros({1, 16}, boolean);
  for (std::int64_t i = 0; i < 32; ++i) buckets.mutable_data<std::int32_t>()[i] = i < 16 ? 3 : 8 + 3;
  for (std::int64_t i = 13; i < 16; ++i) padding.mutable_data<bool>()[i] = true;
  const Tensor qk = randn({1, 16, 1, 4}).requires_grad_();
  return once("padded",
              [&] { return sum(square(lsh_attention(qk, qk, buckets, {.hashes = 2, .chunk = 4}, padding))); });
}

/// Attention with dropout, which comes between its softmax and the product with the values.
Recording dropped() {
  const Tensor q = randn({1, 2, 48, 4}).requires_grad_(), k = randn({1, 2, 48, 4}), v = randn({1, 2, 48, 4});
  return once("dropped", [&] {
    AttentionOptions options;
    options.dropout = 0.25;
    const Tensor noise = exp(q * 0.5);  // values that compete for the page's bytes
    return sum(square(scaled_dot_product_attention(q, k, v, options).output)) + sum(noise);
  });
}

/// The second part of a split is used, and holds what is not finite.
Recording parted() {
  const Tensor x = tensor({1.0, 2.0, 0.0, -1.0}).requires_grad_();
  return once("parted", [&] {
    const Tensors halves = split(x, {2, 2});
    const Tensor logs = log(halves[1]);
    return sum(logs);
  });
}

// ---- made ones

int add_value(Recording& r, const Tensor& t, bool whole = true) {
  r.values.push_back({t.shape(), t.dtype(), summarise(t), whole ? t : Tensor(), {}});
  return static_cast<int>(r.values.size()) - 1;
}

/// A chain of `n` multiplications in modules of ten, with its steps.
RecordedPass long_chain(Recording& r, int n) {
  RecordedPass pass;
  pass.number = 1, pass.root = n - 1, pass.loss = 1, pass.site = "long.cpp:9";
  for (int i = 0; i < n; ++i) {
    RecordedNode node;
    node.sequence = static_cast<std::uint64_t>(i) + 1;
    node.leaf = i == 0;
    node.operation = node.leaf ? "leaf" : "mul";
    node.label = node.leaf ? "x" : "%" + std::to_string(i);
    node.site = "long.cpp:7";
    if (i > 0) {
      node.module = "net." + std::to_string(i / 1000) + "." + std::to_string(i / 10 % 100);
      node.rule = "da = b dy, db = a dy";
      node.inputs = {{"a", i - 1, 0, i - 1, true, "da = b dy", ""}, {"b", i / 2, 0, i / 2, true, "db = a dy", ""}};
    }
    node.outputs = {add_value(r, full({}, 1 + 1e-6 * i))};
    pass.nodes.push_back(std::move(node));
  }
  for (int i = n - 1; i >= 0; --i) {
    RecordedStep step;
    step.node = i;
    const int value = add_value(r, full({}, 2 - 1e-6 * i));
    step.arrivals = {{i + 1 < n ? i + 1 : -1, 0, 0, value, value, 1, 1}};
    step.received = {value};
    if (i > 0) step.returned = step.sent = {value, value};
    pass.steps.push_back(std::move(step));
  }
  return pass;
}

Recording large() {
  Recording r;
  r.program = "long";
  r.passes.push_back(long_chain(r, 100000));
  return r;
}

/// Every text of a recording is what an attacker would like it to be.
Recording hostile() {
  const std::vector<std::string> texts = {"</script><script>globalThis.owned=1</script>",
                                          "<img src=x onerror=globalThis.owned=1>",
                                          "\"'`><svg onload=globalThis.owned=1>",
                                          "<!--<script>",
                                          "a\xe2\x80\xa8"
                                          "b\xe2\x80\xa9"
                                          "c",
                                          "\xf0\x9f\x90\x88 \xd9\x85\xd8\xb1\xd8\xad\xd8\xa8\xd8\xa7 \xe2\x80\xae"
                                          "abc",
                                          "\xff\xfe broken \xc3",
                                          "javascript:globalThis.owned=1",
                                          "&lt;b&gt;&amp;\\u003c",
                                          "__proto__",
                                          "constructor"};
  Recording r;
  r.program = texts[0];
  for (const std::string& text : texts) r.sources[text] = {{1, text}, {2, text}};
  RecordedPass pass;
  pass.number = 1, pass.error = texts[1], pass.site = texts[0];
  for (std::size_t i = 0; i < texts.size(); ++i) {
    RecordedNode n;
    const std::string& text = texts[i];
    n.sequence = i + 1, n.operation = text, n.label = text, n.module = text + "." + text, n.site = text + ":1",
    n.rule = text;
    n.stack = {{text, text, text}, {text, text, text}};
    n.arguments = {{text, text}};
    const int value = add_value(r, tensor({1.0F, 2.0F, 3.0F}));
    std::string three = text + "\n" + text + "\n" + text;
    n.inputs = {{text, static_cast<int>(i) - 1, 0, value, true, text, three}};
    n.outputs = {value};
    n.saved = {{text, value}};
    pass.nodes.push_back(n);
  }
  pass.root = static_cast<int>(texts.size()) - 1;
  for (int i = pass.root; i >= 0; --i) {
    RecordedStep step;
    step.node = i;
    step.arrivals = {{i == pass.root ? -1 : i + 1, 0, 0, 0, 0, 1, 1}};
    step.received = {0}, step.returned = {0}, step.sent = {0};
    step.grads = {{0, -1, 0}};
    pass.steps.push_back(step);
  }
  pass.updates = {{0, 0, 0, 0, 0.5}};
  r.passes.push_back(pass);
  for (int i = 1; i < 4; ++i) {
    RecordedProgress p;
    p.number = i, p.loss = 1.0 / i;
    for (const std::string& text : texts) p.gradient_norms[text] = i, p.update_ratios[text] = 0.01 * i;
    r.progress.push_back(p);
  }
  return r;
}

/// Numbers of every dtype that are hard to write, a value that is only summarised, a pass that failed.
Recording odd() {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  Recording r;
  r.program = "odd";
  RecordedPass pass;
  pass.number = 1, pass.loss = nan, pass.error = "log: NaN in the gradient of x [2, 2] (odd.cpp:4)";
  const std::vector<Tensor> all = {
      tensor({nan, inf, -inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1.0 / 3}, float64),
      to(tensor({nan, inf, -inf, -0.0, 1e-45, 3.4028234663852886e38, 0.1, 1.0 / 3}), float32),
      tensor({std::int64_t{-9223372036854775807 - 1}, std::int64_t{9223372036854775807}, std::int64_t{0}}),
      to(tensor({std::int64_t{-2147483648}, std::int64_t{7}}), int32),
      to(tensor({std::int64_t{0}, std::int64_t{1}}), boolean),
      zeros({0, 3}),
      full({}, nan),
      reshape(arange(24) / 7, {2, 3, 4}),
      full({3, 1}, inf)};
  for (std::size_t i = 0; i < all.size(); ++i) {
    RecordedNode n;
    n.sequence = i + 1, n.operation = i ? "odd" : "leaf", n.leaf = i == 0, n.label = "%" + std::to_string(i);
    if (i) n.inputs = {{"x", static_cast<int>(i) - 1, 0, static_cast<int>(i) - 1, true, "", ""}};
    n.rule = "dx = dy / x";
    n.outputs = {add_value(r, all[i])};
    pass.nodes.push_back(n);
  }
  RecordedNode summarised;
  summarised.sequence = 99, summarised.operation = "large", summarised.label = "big";
  const Tensor big = randn({300, 500});
  summarised.outputs = {add_value(r, big, false)};
  r.values.back().slices = {{"[0, :4]", tensor({1.5F, -2.0F, 0.0F, 9.0F})}};
  r.summarised = 1;
  pass.nodes.push_back(summarised);
  pass.root = static_cast<int>(pass.nodes.size()) - 1;
  pass.steps.push_back({pass.root, {{-1, 0, 0, 0, 0, 1, 1}}, {0}, {}, {}, {}});
  r.passes.push_back(pass);
  return r;
}

Recording without_sources() {
  Recording r = mlp();
  r.sources.clear();
  return r;
}

void write_bits(const std::string& path, const Recording& r) {
  std::ofstream out(path);
  for (std::size_t i = 0; i < r.values.size(); ++i) {
    if (!r.values[i].whole.defined()) continue;
    const Tensor t = contiguous(r.values[i].whole.detach());
    out << i << ' ' << name_of(t.dtype()) << ' ';
    const auto* bytes = static_cast<const unsigned char*>(t.raw());
    for (std::size_t b = 0; b < static_cast<std::size_t>(t.numel()) * size_of(t.dtype()); ++b) {
      char two[3];
      std::snprintf(two, sizeof two, "%02x", bytes[b]);
      out << two;
    }
    out << '\n';
  }
}

int run(int argc, char** argv) {
  const std::map<std::string, Recording (*)()> all = {{"mlp", mlp},
                                                      {"chain", chain},
                                                      {"transformer", transformer},
                                                      {"reformer", reformer},
                                                      {"lstm", lstm},
                                                      {"additive", additive},
                                                      {"padded", padded},
                                                      {"dropped", dropped},
                                                      {"scarce", dropped},
                                                      {"tight", dropped},
                                                      {"parted", parted},
                                                      {"large", large},
                                                      {"hostile", hostile},
                                                      {"odd", odd},
                                                      {"empty", [] { return Recording(); }},
                                                      {"without_sources", without_sources}};
  if (argc < 2) {
    std::cerr << "page_samples FOLDER [NAME...]\n";
    return 2;
  }
  const std::vector<std::string> wanted(argv + 2, argv + argc);
  for (const auto& [name, make] : all) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
    manual_seed(1);
    const Recording r = make();
    PageOptions options;
    if (name == "scarce") options.value_bytes = 0;
    if (name == "tight") options.value_bytes = 100000;  // for the matrices of attention, hardly for more
    write_page(std::string(argv[1]) + "/" + name + ".html", r, options);
    if (name != "large") write_bits(std::string(argv[1]) + "/" + name + ".bits", r);
  }
  return 0;
}

}  // namespace
}  // namespace attune

int main(int argc, char** argv) { return attune::run(argc, argv); }
