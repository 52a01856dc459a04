// GPT-2 writing with a cache, in the operations of PyTorch's C++ library; attune_models.cpp is the other side.

#include "bench/torch/torch_common.h"

namespace bench::torch_side {

namespace {

constexpr auto s = bench::generation;

/// Weights as the library's Linear has them, [out, in], or as GPT-2's files do, [in, out]; keys and values in memory
/// that is there from the start, or put together anew with each token.
struct How {
  bool out_in, preallocated;
};

struct Dense {
  Tensor weight, bias;
  bool out_in = true;

  Tensor operator()(const Tensor& x) const {
    if (out_in) return at::linear(x, weight, bias);
    return torch::addmm(bias, x.view({-1, x.size(-1)}), weight).view({x.size(0), x.size(1), -1});
  }
};

Tensor parameter(const std::string& name, std::vector<std::int64_t> shape) {
  Tensor x = torch::empty(shape);
  const auto values = bench::start_of(name, x.numel(), static_cast<int>(x.dim()), shape.back());
  std::copy(values.begin(), values.end(), x.data_ptr<float>());
  return x;
}

Dense dense(const std::string& name, std::int64_t in, std::int64_t out, bool out_in) {
  const Tensor weight = parameter(name + "_weight", {in, out});
  return {out_in ? weight.t().contiguous() : weight, parameter(name + "_bias", {out}), out_in};
}

struct Norm {
  Tensor weight, bias;
  explicit Norm(const std::string& name)
      : weight(parameter(name + "_weight", {s.d})), bias(parameter(name + "_bias", {s.d})) {}
  Tensor operator()(const Tensor& x) const { return torch::layer_norm(x, {s.d}, weight, bias, 1e-5); }
};

/// Keys and values [1, heads, n, d / heads] of a layer.
struct Cache {
  Tensor keys, values;
};

struct Block {
  Norm ln_1, ln_2;
  Dense c_attn, attn_proj, c_fc, mlp_proj;

  Block(const std::string& name, bool out_in)
      : ln_1(name + "_ln_1"),
        ln_2(name + "_ln_2"),
        c_attn(dense(name + "_attn_c_attn", s.d, 3 * s.d, out_in)),
        attn_proj(dense(name + "_attn_c_proj", s.d, s.d, out_in)),
        c_fc(dense(name + "_mlp_c_fc", s.d, s.d_ff, out_in)),
        mlp_proj(dense(name + "_mlp_c_proj", s.d_ff, s.d, out_in)) {}

  Tensor attend(const Tensor& x, Cache& cache, std::int64_t before, bool preallocated) const {
    const std::int64_t t = x.size(1), n = before + t;
    const auto parts = c_attn(x).view({1, t, 3, s.heads, s.head_dim()}).permute({2, 0, 3, 1, 4}).unbind(0);
    Tensor keys, values;
    if (preallocated) {
      cache.keys.narrow(2, before, t).copy_(parts[1]);
      cache.values.narrow(2, before, t).copy_(parts[2]);
      keys = cache.keys.narrow(2, 0, n);
      values = cache.values.narrow(2, 0, n);
    } else {
      keys = cache.keys = before == 0 ? parts[1] : torch::cat({cache.keys, parts[1]}, 2);
      values = cache.values = before == 0 ? parts[2] : torch::cat({cache.values, parts[2]}, 2);
    }
    Tensor scores = torch::matmul(parts[0], keys.transpose(-2, -1)) / std::sqrt(double(s.head_dim()));
    if (t > 1)
      scores.masked_fill_(torch::ones({t, n}, torch::kBool).triu(before + 1), -std::numeric_limits<float>::infinity());
    return attn_proj(torch::matmul(torch::softmax(scores, -1), values).transpose(1, 2).reshape({1, t, s.d}));
  }
  Tensor operator()(const Tensor& x, Cache& cache, std::int64_t before, bool preallocated) const {
    const Tensor h = x + attend(ln_1(x), cache, before, preallocated);
    return h + mlp_proj(torch::gelu(c_fc(ln_2(h)), "tanh"));
  }
};

struct State {
  std::vector<Cache> layers{static_cast<std::size_t>(s.layers)};
  std::int64_t length = 0;
};

struct Writer {
  explicit Writer(How h) : how(h) {
    for (std::int64_t i = 0; i < s.layers; ++i) blocks.emplace_back("transformer_h_" + std::to_string(i), how.out_in);
    begin();
  }
  State fresh() const {
    State state;
    if (how.preallocated)
      for (Cache& c : state.layers)
        c = {torch::empty({1, s.heads, s.positions, s.head_dim()}),
             torch::empty({1, s.heads, s.positions, s.head_dim()})};
    return state;
  }
  /// The logits after the next tokens [1, t].
  Tensor next(const Tensor& tokens, State& state) const {
    const torch::NoGradGuard off;
    const std::int64_t t = tokens.size(1);
    Tensor x = torch::embedding(wte, tokens) + wpe.narrow(0, state.length, t);
    for (std::size_t i = 0; i < blocks.size(); ++i) x = blocks[i](x, state.layers[i], state.length, how.preallocated);
    state.length += t;
    return at::linear(ln_f(x.narrow(1, t - 1, 1)), wte).view({1, s.vocabulary});
  }
  Tensor some_tokens(std::int64_t n) const { return given_classes("prompt", {1, n}, s.vocabulary); }
  void begin() {
    state = fresh();
    token = next(some_tokens(s.prompt), state).argmax(-1, true);
  }
  void write() {
    if (state.length + s.steps > s.positions) begin();
    for (std::int64_t i = 0; i < s.steps; ++i) token = next(token, state).argmax(-1, true);
  }
  bench::Results results() const {
    State from = fresh();
    bench::Results r{{"prompt", elements(next(some_tokens(s.prompt), from))}};
    const Tensor given_next = given_classes("next", {1, 4}, s.vocabulary);
    for (std::int64_t i = 0; i < 4; ++i)
      r.emplace_back("token" + std::to_string(i), elements(next(given_next.narrow(1, i, 1), from)));
    return r;
  }

  How how;
  Tensor wte = parameter("transformer_wte_weight", {s.vocabulary, s.d});
  Tensor wpe = parameter("transformer_wpe_weight", {s.positions, s.d});
  std::vector<Block> blocks;
  Norm ln_f{"transformer_ln_f"};
  State state;
  Tensor token;  // [1, 1], the next
};

bench::Workload writing(const std::string& name, std::int64_t items, How how, void (*step)(Writer&)) {
  return {name,
          [how, step] {
            auto w = std::make_shared<Writer>(how);
            return bench::Job{.step = [w, step] { step(*w); }, .results = [w] { return w->results(); }, .touch = {}};
          },
          items};
}

}  // namespace

std::vector<bench::Workload> gpt2_workloads() {
  std::vector<bench::Workload> all;
  for (const auto& [way, how] :
       {std::pair{"", How{true, true}}, {":addmm", How{false, true}}, {":cat", How{true, false}}}) {
    all.push_back(writing(std::string("generation") + way, s.steps, how, [](Writer& w) { w.write(); }));
    all.push_back(writing(std::string("prompt") + way, 1, how, [](Writer& w) {
      State state = w.fresh();
      w.next(w.some_tokens(s.long_prompt), state);
    }));
  }
  return all;
}

}  // namespace bench::torch_side
