// The comparison's workloads as a user of Attune writes them. bench/torch/torch_compare.cpp is the other side;
// bench/compare.py runs both.

#include "bench/attune_common.h"
#include "optim/optim.h"

using namespace attune;
using namespace bench::attune_side;

namespace {

// ---- a GPT's training step

struct Gpt : nn::Module {
  explicit Gpt(const bench::GptSize& size) : s(size) {}
  const bench::GptSize s;
  nn::Embedding& token = child<nn::Embedding>("token", s.vocabulary, s.d);
  nn::Embedding& position = child<nn::Embedding>("position", s.length, s.d);
  nn::TransformerEncoder& blocks = child<nn::TransformerEncoder>(
      "blocks", s.layers, s.d, s.heads,
      nn::TransformerOptions{.d_ff = s.d_ff(), .dropout = 0, .activation = Activation::gelu, .pre_norm = true});
  nn::Linear& head = child<nn::Linear>("head", s.d, s.vocabulary);

  Tensor operator()(const Tensor& tokens) {
    return head(blocks(token(tokens) + position(arange(tokens.size(1))), {.causal = true}));
  }
};

struct GptTraining {
  explicit GptTraining(const bench::GptSize& s)
      : model(s),
        tokens(given_classes("tokens", {s.batch, s.length}, s.vocabulary)),
        targets(given_classes("targets", {s.batch, s.length}, s.vocabulary)) {
    start(model);
  }
  Tensor loss(std::int64_t batch, std::int64_t length) {
    const auto part = [&](const Tensor& x) { return slice(slice(x, 0, 0, batch), 1, 0, length); };
    return cross_entropy(model(part(tokens)), part(targets));
  }
  void step(std::int64_t batch, std::int64_t length) {
    loss(batch, length).backward();
    optimizer.step();
  }

  Gpt model;
  Tensor tokens, targets;
  optim::AdamW optimizer{model.parameters(), {.lr = 3e-4}};
};

bench::Workload gpt_step(const std::string& name, const bench::GptSize& s) {
  return {name, [s] {
            auto t = std::make_shared<GptTraining>(s);
            return bench::Job{
                .step = [t, s] { t->step(s.batch, s.length); },
                .results =
                    [t, s] {
                      const Tensor loss = t->loss(s.batch, s.length);
                      loss.backward();
                      bench::Results r{{"loss", loss.to_vector<float>()}};
                      take_gradients(t->model, r);
                      return r;
                    },
                .touch = [t] { t->step(1, 1); },
            };
          }};
}

// ---- modules, forward and backward from a given cotangent

/// `call` makes the output from the module and the input.
template <class M>
bench::Job module_job(std::shared_ptr<M> module, const Shape& shape, Tensor (*call)(const M&, const Tensor&)) {
  start(*module);
  Tensor x = given("x", shape).requires_grad_(), dy = given("dy", shape);
  const auto forward = [module, x, call] { return call(*module, x); };
  return {
      .step =
          [module, forward, x, dy]() mutable {
            forward().backward({.gradient = dy});
            module->zero_grad();
            x.zero_grad();
          },
      .results =
          [module, forward, x, dy]() mutable {
            const Tensor y = forward();
            y.backward({.gradient = dy});
            bench::Results r{{"y", y.to_vector<float>()}, {"x", x.grad().to_vector<float>()}};
            take_gradients(*module, r);
            x.zero_grad();
            return r;
          },
      .touch =
          [module, x, dy, call] {
            call(*module, slice(x, 1, 0, 1)).backward({.gradient = slice(dy, 1, 0, 1)});
            module->zero_grad();
          },
  };
}

bench::Workload exact_attention(std::int64_t n) {
  return {"exact_attention/" + std::to_string(n),
          [n] {
            constexpr auto s = bench::attention;
            return module_job<nn::MultiheadAttention>(
                std::make_shared<nn::MultiheadAttention>(s.d, s.heads), {1, n, s.d},
                [](const nn::MultiheadAttention& m, const Tensor& x) { return m(x, {.causal = true}).output; });
          },
          n};
}

bench::Workload lsh_attention(std::int64_t n) {
  return {"lsh_attention/" + std::to_string(n),
          [n] {
            constexpr auto s = bench::attention;
            return module_job<nn::LshSelfAttention>(
                std::make_shared<nn::LshSelfAttention>(
                    s.d, s.heads,
                    LshOptions{.hashes = s.hashes, .chunk = s.chunk, .bucket_count = BucketCount::power_of_two}),
                {1, n, s.d}, [](const nn::LshSelfAttention& m, const Tensor& x) { return m(x).output; });
          },
          n};
}

/// The causal Linear Transformer's layer.
bench::Workload linear_attention(std::int64_t n) {
  return {"linear_attention/" + std::to_string(n),
          [n] {
            constexpr auto s = bench::attention;
            return module_job<nn::MultiheadAttention>(
                std::make_shared<nn::MultiheadAttention>(s.d, s.heads,
                                                         nn::MultiheadOptions{.mechanism = LinearAttentionOptions{}}),
                {1, n, s.d},
                [](const nn::MultiheadAttention& m, const Tensor& x) { return m(x, {.causal = true}).output; });
          },
          n};
}

template <class Net>
bench::Workload recurrent(const std::string& name) {
  return {name, [] {
            constexpr auto s = bench::recurrent;
            return module_job<Net>(std::make_shared<Net>(s.d, s.d), {s.steps, s.batch, s.d},
                                   [](const Net& net, const Tensor& x) { return net(x).output; });
          }};
}

// ---- operations

/// y = f(inputs) with gradients for every input; the first has the shape of `rows`, and so has y unless it is a scalar.
bench::Workload operation(const std::string& name, Tensors (*inputs)(), Tensor (*f)(const Tensors&)) {
  return {name, [inputs, f] {
            Tensors xs = inputs();
            for (Tensor& x : xs) x.requires_grad_();
            const Tensor y = f(xs);
            const Tensor dy = y.rank() == 0 ? ones({}) : given("dy", y.shape());
            const auto run = [xs, f, dy] {
              const Tensor out = f(xs);
              return std::pair{out, grad({out}, xs, {.cotangents = {dy}})};
            };
            return bench::Job{
                .step = [run] { run(); },
                .results =
                    [run] {
                      const auto [out, dxs] = run();
                      bench::Results r{{"y", out.to_vector<float>()}};
                      for (std::size_t i = 0; i < dxs.size(); ++i)
                        r.emplace_back("dx" + std::to_string(i), dxs[i].to_vector<float>());
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
  return cross_entropy(xs[0], target);
}

Tensor chain(const Tensors& xs) {
  static const Tensor factor = full({}, 0.999);
  Tensor y = xs[0];
  for (std::int64_t i = 0; i < bench::scalar_chain; ++i) y = y * factor;
  return y;
}

bench::Workload adamw() {
  return {"adamw", [] {
            std::vector<Tensor> parameters;
            for (std::int64_t i = 0; i < bench::adam.tensors; ++i) {
              const std::string name = "p" + std::to_string(i);
              parameters.push_back(given(name, {bench::adam.numel}).requires_grad_());
              parameters.back().set_grad(given("d" + name, {bench::adam.numel}));
            }
            auto optimizer = std::make_shared<optim::AdamW>(parameters);
            return bench::Job{
                .step = [optimizer] { optimizer->step(true); },
                .results =
                    [optimizer, parameters] {
                      for (int i = 0; i < 3; ++i) optimizer->step(true);
                      return bench::Results{{"p0", parameters.front().to_vector<float>()},
                                            {"last", parameters.back().to_vector<float>()}};
                    },
                .touch = {},
            };
          }};
}

double first_gradient() {
  Tensor x = tensor({1, 2, 3}).requires_grad_();
  sum(x * x).backward();
  return x.grad().to_vector<double>()[2];
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<bench::Workload> all{
      gpt_step("gpt_step", bench::gpt),
      gpt_step("small_gpt_step", bench::small_gpt),
      recurrent<nn::LSTM>("lstm"),
      recurrent<nn::GRU>("gru"),
      operation("softmax", one_input, [](const Tensors& x) { return softmax(x[0]); }),
      operation("layer_norm", norm_inputs, [](const Tensors& x) { return layer_norm(x[0], x[1], x[2]); }),
      operation("gelu", one_input, [](const Tensors& x) { return gelu(x[0]); }),
      operation("dropout", one_input, [](const Tensors& x) { return dropout(x[0], bench::rows.dropout); }),
      operation("cross_entropy", one_input, row_loss),
      adamw(),
      operation(
          "scalar_op", [] { return Tensors{ones({})}; }, chain),
  };
  all.back().items = bench::scalar_chain;
  for (const std::int64_t n : bench::exact_lengths) all.push_back(exact_attention(n));
  for (const std::int64_t n : bench::lsh_lengths) all.push_back(lsh_attention(n));
  for (const std::int64_t n : bench::linear_lengths) all.push_back(linear_attention(n));
  for (bench::Workload& w : model_workloads()) all.push_back(std::move(w));
  return bench::run(argc, argv, "Attune " ATTUNE_VERSION, all, first_gradient);
}
