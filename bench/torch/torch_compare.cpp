// The comparison's workloads as a user of PyTorch's C++ library writes them; attune_compare.cpp is the other side. A
// workload that can be written in two ways is there twice, as NAME and NAME:HOW, and the quicker one counts.

#include "bench/torch/torch_common.h"

namespace F = torch::nn::functional;
using namespace bench::torch_side;

namespace {

// ---- attention

/// This version has no public fused attention: matmul and softmax, or the private function that does the same inside.
struct SelfAttentionImpl : torch::nn::Module {
  SelfAttentionImpl(std::int64_t d, std::int64_t n_heads, bool private_function)
      : heads(n_heads), sdpa(private_function) {
    in_proj = register_module("in_proj", torch::nn::Linear(d, 3 * d));
    out_proj = register_module("out_proj", torch::nn::Linear(d, d));
  }
  Tensor forward(const Tensor& x) {
    const auto b = x.size(0), t = x.size(1), d = x.size(2);
    const auto parts = in_proj(x).view({b, t, 3, heads, d / heads}).permute({2, 0, 3, 1, 4}).unbind(0);
    Tensor y;
    if (sdpa) {
      y = std::get<0>(at::_scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0.0, false, true));
    } else {
      if (!mask.defined() || mask.size(0) != t) mask = torch::ones({t, t}, torch::kBool).triu(1);
      const Tensor scores = torch::matmul(parts[0], parts[1].transpose(-2, -1)) / std::sqrt(double(d / heads));
      const Tensor p = torch::softmax(scores.masked_fill(mask, -std::numeric_limits<float>::infinity()), -1);
      y = torch::matmul(p, parts[2]);
    }
    return out_proj(y.transpose(1, 2).reshape({b, t, d}));
  }
  std::int64_t heads;
  bool sdpa;
  Tensor mask;
  torch::nn::Linear in_proj{nullptr}, out_proj{nullptr};
};
TORCH_MODULE(SelfAttention);

/// The causal Linear Transformer (Katharopoulos et al. 2020) by its prefix sums, one for each position.
struct LinearSelfAttentionImpl : torch::nn::Module {
  LinearSelfAttentionImpl(std::int64_t d, std::int64_t n_heads) : heads(n_heads) {
    in_proj = register_module("in_proj", torch::nn::Linear(d, 3 * d));
    out_proj = register_module("out_proj", torch::nn::Linear(d, d));
  }
  Tensor forward(const Tensor& x) {
    const auto b = x.size(0), t = x.size(1), d = x.size(2);
    const auto parts = in_proj(x).view({b, t, 3, heads, d / heads}).permute({2, 0, 3, 1, 4}).unbind(0);
    const Tensor q = torch::elu(parts[0]) + 1, k = torch::elu(parts[1]) + 1;
    const Tensor sums = (k.unsqueeze(-1) * parts[2].unsqueeze(-2)).cumsum(2);  // [b, h, t, d / h, d / h]
    const Tensor numerator = torch::matmul(q.unsqueeze(-2), sums).squeeze(-2);
    const Tensor y = numerator / ((q * k.cumsum(2)).sum(-1, true) + 1e-6);
    return out_proj(y.transpose(1, 2).reshape({b, t, d}));
  }
  std::int64_t heads;
  torch::nn::Linear in_proj{nullptr}, out_proj{nullptr};
};
TORCH_MODULE(LinearSelfAttention);

// ---- a GPT's training step

struct BlockImpl : torch::nn::Module {
  BlockImpl(const bench::GptSize& s, bool sdpa) {
    self_attn = register_module("self_attn", SelfAttention(s.d, s.heads, sdpa));
    linear1 = register_module("linear1", torch::nn::Linear(s.d, s.d_ff()));
    linear2 = register_module("linear2", torch::nn::Linear(s.d_ff(), s.d));
    norm1 = register_module("norm1", torch::nn::LayerNorm(torch::nn::LayerNormOptions({s.d})));
    norm2 = register_module("norm2", torch::nn::LayerNorm(torch::nn::LayerNormOptions({s.d})));
  }
  Tensor forward(const Tensor& x) {
    const Tensor h = x + self_attn(norm1(x));
    return h + linear2(torch::gelu(linear1(norm2(h))));
  }
  SelfAttention self_attn{nullptr};
  torch::nn::Linear linear1{nullptr}, linear2{nullptr};
  torch::nn::LayerNorm norm1{nullptr}, norm2{nullptr};
};
TORCH_MODULE(Block);

struct BlocksImpl : torch::nn::Module {
  BlocksImpl(const bench::GptSize& s, bool sdpa) {
    for (std::int64_t i = 0; i < s.layers; ++i) layers->push_back(Block(s, sdpa));
    register_module("layers", layers);
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({s.d})));
  }
  Tensor forward(Tensor x) {
    for (auto& layer : *layers) x = layer->as<Block>()->forward(x);
    return norm(x);
  }
  torch::nn::ModuleList layers;
  torch::nn::LayerNorm norm{nullptr};
};
TORCH_MODULE(Blocks);

struct Gpt : torch::nn::Module {
  Gpt(const bench::GptSize& s, bool sdpa) {
    token = register_module("token", torch::nn::Embedding(s.vocabulary, s.d));
    position = register_module("position", torch::nn::Embedding(s.length, s.d));
    blocks = register_module("blocks", Blocks(s, sdpa));
    head = register_module("head", torch::nn::Linear(s.d, s.vocabulary));
  }
  Tensor forward(const Tensor& tokens) { return head(blocks(token(tokens) + position(torch::arange(tokens.size(1))))); }
  torch::nn::Embedding token{nullptr}, position{nullptr};
  Blocks blocks{nullptr};
  torch::nn::Linear head{nullptr};
};

struct GptTraining {
  GptTraining(const bench::GptSize& s, bool sdpa)
      : model(s, sdpa),
        tokens(given_classes("tokens", {s.batch, s.length}, s.vocabulary)),
        targets(given_classes("targets", {s.batch, s.length}, s.vocabulary)) {
    start(model);
  }
  Tensor loss(std::int64_t batch, std::int64_t length) {
    const auto part = [&](const Tensor& x) { return x.narrow(0, 0, batch).narrow(1, 0, length); };
    return F::cross_entropy(model.forward(part(tokens)).flatten(0, 1), part(targets).flatten());
  }
  void step(std::int64_t batch, std::int64_t length) {
    optimizer.zero_grad();
    loss(batch, length).backward();
    optimizer.step();
  }

  Gpt model;
  Tensor tokens, targets;
  torch::optim::AdamW optimizer{model.parameters(), torch::optim::AdamWOptions(3e-4)};
};

bench::Workload gpt_step(const std::string& name, const bench::GptSize& s, bool sdpa) {
  return {name, [s, sdpa] {
            auto t = std::make_shared<GptTraining>(s, sdpa);
            return bench::Job{
                .step = [t, s] { t->step(s.batch, s.length); },
                .results =
                    [t, s] {
                      const Tensor loss = t->loss(s.batch, s.length);
                      loss.backward();
                      bench::Results r{{"loss", elements(loss)}};
                      take_gradients(t->model, r);
                      return r;
                    },
                .touch = [t] { t->step(1, 1); },
            };
          }};
}

// ---- modules, forward and backward from a given cotangent

template <class Holder>
bench::Job module_job(Holder module, std::vector<std::int64_t> shape, Tensor (*call)(Holder&, const Tensor&)) {
  start(*module);
  Tensor x = given("x", shape).requires_grad_(), dy = given("dy", shape);
  auto forward = [module, x, call]() mutable { return call(module, x); };
  return {
      .step =
          [module, forward, x, dy]() mutable {
            forward().backward(dy);
            clear_gradients(*module);
            x.mutable_grad() = Tensor();
          },
      .results =
          [module, forward, x, dy]() mutable {
            const Tensor y = forward();
            y.backward(dy);
            bench::Results r{{"y", elements(y)}, {"x", elements(x.grad())}};
            take_gradients(*module, r);
            x.mutable_grad() = Tensor();
            return r;
          },
      .touch =
          [module, x, dy, call]() mutable {
            call(module, x.narrow(1, 0, 1)).backward(dy.narrow(1, 0, 1));
            clear_gradients(*module);
          },
  };
}

bench::Workload exact_attention(std::int64_t n, bool sdpa) {
  return {"exact_attention/" + std::to_string(n) + (sdpa ? ":sdpa" : ""),
          [n, sdpa] {
            constexpr auto s = bench::attention;
            return module_job<SelfAttention>(SelfAttention(s.d, s.heads, sdpa), {1, n, s.d},
                                             [](SelfAttention& m, const Tensor& x) { return m(x); });
          },
          n};
}

bench::Workload linear_attention(std::int64_t n) {
  return {"linear_attention/" + std::to_string(n),
          [n] {
            constexpr auto s = bench::attention;
            return module_job<LinearSelfAttention>(LinearSelfAttention(s.d, s.heads), {1, n, s.d},
                                                   [](LinearSelfAttention& m, const Tensor& x) { return m(x); });
          },
          n};
}

template <class Net>
bench::Workload recurrent(const std::string& name) {
  return {name, [] {
            constexpr auto s = bench::recurrent;
            return module_job<Net>(Net(s.d, s.d), {s.steps, s.batch, s.d},
                                   [](Net& net, const Tensor& x) { return std::get<0>(net(x)); });
          }};
}

// ---- operations

using Tensors = std::vector<Tensor>;

bench::Workload operation(const std::string& name, Tensors (*inputs)(), Tensor (*f)(const Tensors&)) {
  return {name, [inputs, f] {
            Tensors xs = inputs();
            for (Tensor& x : xs) x.requires_grad_();
            const Tensor y = f(xs);
            const Tensor dy = y.dim() == 0 ? torch::ones({}) : given("dy", y.sizes());
            const auto run = [xs, f, dy] {
              const Tensor out = f(xs);
              return std::pair{out, torch::autograd::grad({out}, xs, {dy})};
            };
            return bench::Job{
                .step = [run] { run(); },
                .results =
                    [run] {
                      const auto [out, dxs] = run();
                      bench::Results r{{"y", elements(out)}};
                      for (std::size_t i = 0; i < dxs.size(); ++i)
                        r.emplace_back("dx" + std::to_string(i), elements(dxs[i]));
                      return r;
                    },
                .touch = {},
            };
          }};
}

Tensor given_rows() { return given("x", {bench::rows.rows, bench::rows.columns}, 4); }
Tensors one_input() { return {given_rows()}; }
Tensors norm_inputs() {
  return {given_rows(), given("weight", {bench::rows.columns}), given("bias", {bench::rows.columns})};
}

Tensor row_loss(const Tensors& xs) {
  static const Tensor target = given_classes("targets", {bench::rows.rows}, bench::rows.columns);
  return F::cross_entropy(xs[0], target);
}

Tensor chain(const Tensors& xs) {
  static const Tensor factor = torch::full({}, 0.999f);
  Tensor y = xs[0];
  for (std::int64_t i = 0; i < bench::scalar_chain; ++i) y = y * factor;
  return y;
}

bench::Workload adamw() {
  return {
      "adamw", [] {
        Tensors parameters;
        for (std::int64_t i = 0; i < bench::adam.tensors; ++i) {
          const std::string name = "p" + std::to_string(i);
          parameters.push_back(given(name, {bench::adam.numel}).requires_grad_());
          parameters.back().mutable_grad() = given("d" + name, {bench::adam.numel});
        }
        auto optimizer = std::make_shared<torch::optim::AdamW>(parameters);
        return bench::Job{
            .step = [optimizer] { optimizer->step(); },
            .results =
                [optimizer, parameters] {
                  for (int i = 0; i < 3; ++i) optimizer->step();
                  return bench::Results{{"p0", elements(parameters.front())}, {"last", elements(parameters.back())}};
                },
            .touch = {},
        };
      }};
}

double first_gradient() {
  Tensor x = torch::tensor({1.0f, 2.0f, 3.0f}).requires_grad_();
  (x * x).sum().backward();
  return x.grad()[2].item<double>();
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<bench::Workload> all{
      gpt_step("gpt_step", bench::gpt, false),
      gpt_step("gpt_step:sdpa", bench::gpt, true),
      gpt_step("small_gpt_step", bench::small_gpt, false),
      gpt_step("small_gpt_step:sdpa", bench::small_gpt, true),
      recurrent<torch::nn::LSTM>("lstm"),
      recurrent<torch::nn::GRU>("gru"),
      operation("softmax", one_input, [](const Tensors& x) { return torch::softmax(x[0], -1); }),
      operation("layer_norm", norm_inputs,
                [](const Tensors& x) { return torch::layer_norm(x[0], {bench::rows.columns}, x[1], x[2]); }),
      operation("gelu", one_input, [](const Tensors& x) { return torch::gelu(x[0]); }),
      operation("dropout", one_input, [](const Tensors& x) { return torch::dropout(x[0], bench::rows.dropout, true); }),
      operation("cross_entropy", one_input, row_loss),
      adamw(),
      operation(
          "scalar_op", [] { return Tensors{torch::ones({})}; }, chain),
  };
  all.back().items = bench::scalar_chain;
  for (const std::int64_t n : bench::exact_lengths)
    for (const bool sdpa : {false, true}) all.push_back(exact_attention(n, sdpa));
  for (const std::int64_t n : bench::linear_lengths)
    if (n <= bench::longest_prefix_sums) all.push_back(linear_attention(n));
  for (bench::Workload& w : model_workloads()) all.push_back(std::move(w));
  return bench::run(argc, argv, "PyTorch " TORCH_VERSION, all, first_gradient);
}
