// linear and its fused epilogue: against plain loops, and against its composition in every order.
#include "autograd/runtime/memory.h"
#include "autograd/tape/grad.h"
#include "autograd/tape/op.h"
#include "autograd/tape/sweep.h"
#include "tests/unit/plain.h"

using namespace attune;
using namespace attune::tests;

namespace {

Tensor reals(const Shape& shape, unsigned seed, DType dtype = float64) {
  Generator g(seed);
  return randn(shape, dtype, g);
}

double apply(Activation f, double z) {
  switch (f) {
    case Activation::none: return z;
    case Activation::relu: return std::max(z, 0.0);
    case Activation::gelu: return 0.5 * z * (1 + std::erf(z / std::sqrt(2)));
    case Activation::gelu_tanh: return 0.5 * z * (1 + std::tanh(std::sqrt(2 / M_PI) * (z + 0.044715 * z * z * z)));
    case Activation::silu: return z / (1 + std::exp(-z));
    case Activation::tanh: return std::tanh(z);
    case Activation::sigmoid: return 1 / (1 + std::exp(-z));
  }
  return not_a_number;
}

Tensor apply(Activation f, const Tensor& z) {
  switch (f) {
    case Activation::none: return z;
    case Activation::relu: return relu(z);
    case Activation::gelu: return gelu(z);
    case Activation::gelu_tanh: return gelu_tanh(z);
    case Activation::silu: return silu(z);
    case Activation::tanh: return tanh(z);
    case Activation::sigmoid: return sigmoid(z);
  }
  return z;
}

const std::vector<Activation> activations = {Activation::none,      Activation::relu, Activation::gelu,
                                             Activation::gelu_tanh, Activation::silu, Activation::tanh,
                                             Activation::sigmoid};

}  // namespace

TEST_CASE("linear: values in every layout, with every activation, with and without a bias") {
  const std::vector<std::pair<Shape, std::int64_t>> shapes = {
      {{3}, 2}, {{2, 3}, 4}, {{2, 2, 3}, 1}, {{2, 1, 2, 1}, 3}, {{0, 3}, 2}, {{2, 0}, 3}, {{2, 3}, 0}, {{40, 30}, 50}};
  for (const auto& sizes : shapes)
    for (Activation f : activations)
      for (bool biased : {false, true}) {
        const Shape& shape = sizes.first;
        const std::int64_t in = shape.back(), out = sizes.second;
        const Tensor x0 = reals(shape, 1), w0 = reals({out, in}, 2), b0 = reals({out}, 3);
        Shape y_shape = shape;
        y_shape.back() = out;
        Plain expected(y_shape);
        const Plain x(x0), w(w0), b(b0);
        for_indices(y_shape, [&](const Dims& at) {
          double z = biased ? b[{at.back()}] : 0;
          Dims from = at;
          for (std::int64_t p = 0; p < in; ++p) {
            from.back() = p;
            z += x[from] * w[{at.back(), p}];
          }
          expected[at] = apply(f, z);
        });
        for (const Tensor& xl : layouts(x0))
          for (const Tensor& wl : layouts(w0)) {
            INFO(shape.str(), " to ", out, ", activation ", static_cast<int>(f), ", strides ", xl.strides().str());
            REQUIRE(close(linear(xl, wl, biased ? layouts(b0).back() : Tensor(), f), expected, 1e-12));
          }
        REQUIRE(
            close(linear(to(x0, float32), to(w0, float32), biased ? to(b0, float32) : Tensor(), f), expected, 1e-4));
      }
}

TEST_CASE("linear: fused and composed agree in value, gradients and second gradients") {
  for (Activation f : activations)
    for (bool biased : {false, true}) {
      INFO("activation ", static_cast<int>(f), biased ? ", biased" : "");
      const Tensor x = reals({2, 3, 4}, 1).requires_grad_(), w = reals({5, 4}, 2).requires_grad_();
      const Tensor b = biased ? reals({5}, 3).requires_grad_() : Tensor(), dy = reals({2, 3, 5}, 4);
      Tensors inputs{x, w};
      if (biased) inputs.push_back(b);
      const auto results = [&](const Tensor& y) {
        Tensors all{y};
        Tensor next = sum(square(y) * dy);
        for (int order = 0; order < 3; ++order) {
          const Tensors d = grad({next}, inputs, {.create_graph = true});
          all.insert(all.end(), d.begin(), d.end());
          next = scalar(0, float64);
          for (const Tensor& t : d) next = next + sum(square(t) * 0.1);
        }
        return all;
      };
      const Tensor z = matmul(x, transpose(w));
      const Tensors fused = results(linear(x, w, b, f)), composed = results(apply(f, biased ? z + b : z));
      for (std::size_t i = 0; i < fused.size(); ++i) CHECK(close(fused[i], Plain(composed[i]), 1e-9));
    }
}

TEST_CASE("linear: gradients only where they are wanted, from as little memory as they need") {
  const Tensor x = reals({2, 3}, 1), w = reals({4, 3}, 2), b = reals({4}, 3), dy = reals({2, 4}, 4);
  Tensors full_set;
  for (int which = 7; which > 0; --which) {
    const Tensor xs = x.detach().requires_grad_(which & 1), ws = w.detach().requires_grad_(which & 2),
                 bs = b.detach().requires_grad_(which & 4);
    linear(xs, ws, bs, Activation::gelu).backward({.gradient = dy});
    const Tensors found{xs.grad(), ws.grad(), bs.grad()};
    if (which == 7) full_set = found;
    for (unsigned i = 0; i < 3; ++i) {
      REQUIRE(found[i].defined() == static_cast<bool>(which & 1 << i));
      if (found[i].defined()) CHECK(same(found[i], full_set[i]));
    }
  }
  const auto kept = [](Activation f) {  // bytes that live on with y
    const Tensor in = ones({64, 64}).requires_grad_(), weight = ones({256, 64});
    const std::int64_t before = memory_stats().live_bytes;
    const Tensor y = linear(in, weight, {}, f);
    return memory_stats().live_bytes - before;
  };
  const std::int64_t before = memory_stats().live_bytes;
  const Tensor one = empty({64, 256});
  const std::int64_t output = memory_stats().live_bytes - before, spare = 8192;  // spare: handles and the node
  for (Activation f : {Activation::none, Activation::relu, Activation::tanh, Activation::sigmoid})
    CHECK(kept(f) < output + spare);
  const auto kept_by_graph = [](Activation f) {  // bytes that live on when only a sum of y does
    const Tensor in = ones({64, 64}).requires_grad_(), weight = ones({256, 64});
    const std::int64_t live = memory_stats().live_bytes;
    const Tensor total = sum(linear(in, weight, {}, f));
    return memory_stats().live_bytes - live;
  };
  CHECK(kept_by_graph(Activation::none) < spare);
  CHECK(kept_by_graph(Activation::gelu) < output + spare);
  CHECK(kept_by_graph(Activation::relu) < output + spare);
  for (Activation f : {Activation::gelu, Activation::gelu_tanh, Activation::silu}) {
    CHECK(kept(f) >= 2 * output);
    CHECK(kept(f) < 2 * output + spare);
    const NoGrad off;
    const Tensor in = ones({64, 64}).requires_grad_(), weight = ones({256, 64});
    reset_peak_memory();
    const std::int64_t live = memory_stats().live_bytes;
    linear(in, weight, {}, f);
    CHECK(memory_stats().peak_bytes - live < 2 * output);  // no room for the argument, which nobody will want
  }
}

TEST_CASE("linear: a layer after a large activation keeps the activation's argument alone") {
  using Step = Tensor (*)(const Tensor&, const Tensor&, const Tensor&);
  const Tensor x = reals({128, 64}, 1).requires_grad_(), up = reals({96, 64}, 2).requires_grad_(),
               down = reals({8, 96}, 3).requires_grad_();
  const std::int64_t hidden = 128 * 96 * 8;
  const auto steps = {// fused into the first layer; an operation of its own
                      std::pair<Step, Step>{[](const Tensor& x, const Tensor& w, const Tensor& v) {
                                              return linear(linear(x, w, {}, Activation::gelu), v);
                                            },
                                            [](const Tensor& x, const Tensor& w, const Tensor& v) {
                                              return matmul(gelu(matmul(x, transpose(w))), transpose(v));
                                            }},
                      std::pair<Step, Step>{[](const Tensor& x, const Tensor& w, const Tensor& v) {
                                              return linear(silu(linear(x, w)), v);
                                            },
                                            [](const Tensor& x, const Tensor& w, const Tensor& v) {
                                              return matmul(silu(matmul(x, transpose(w))), transpose(v));
                                            }},
                      std::pair<Step, Step>{[](const Tensor& x, const Tensor& w, const Tensor& v) {
                                              return linear(gelu_tanh(linear(x, w)), v, {}, Activation::tanh);
                                            },
                                            [](const Tensor& x, const Tensor& w, const Tensor& v) {
                                              return tanh(matmul(gelu_tanh(matmul(x, transpose(w))), transpose(v)));
                                            }}};
  for (const auto& [remade, kept] : steps) {
    const std::int64_t before = memory_stats().live_bytes;
    const Tensor y = remade(x, up, down);
    CHECK(memory_stats().live_bytes - before < 3 * hidden / 2);
    // The second derivative goes through the remade tensor's place on the tape.
    const auto derivatives = [&](Step f) {
      const Tensors first = grad({sum(square(f(x, up, down)))}, {x, up, down}, {.create_graph = true});
      Tensors all = first;
      for (const Tensor& g : grad({sum(square(first[2])) + sum(first[0] * 2)}, {x, up, down})) all.push_back(g);
      return all;
    };
    const Tensors got = derivatives(remade), want = derivatives(kept);
    for (std::size_t i = 0; i < want.size(); ++i)
      CHECK(amax(abs(got[i].detach() - want[i].detach())).item() < 1e-11 * amax(abs(want[i].detach())).item());
  }
  // An output that was changed before the layer saw it is kept as it is.
  const Tensor half = silu(reals({128, 96}, 5).requires_grad_()), plain = half.detach() * 0.5;
  {
    const NoGrad off;
    Tensor values = half.detach();
    mul_(values, 0.5);
  }
  const Tensor want = grad({sum(square(linear(plain, down)))}, {down})[0];
  CHECK(amax(abs(grad({sum(square(linear(half, down)))}, {down})[0] - want)).item() < 1e-11);
  // The sweep frees what there is to make it from, though the graph itself lives on.
  const std::int64_t before = memory_stats().live_bytes;
  {
    const Tensor loss = sum(linear(silu(linear(x.detach(), up)), down.detach()));
    CHECK(memory_stats().live_bytes - before > hidden);
    grad({loss}, {up});
    CHECK(memory_stats().live_bytes - before < hidden / 2);
  }
  // The activation's own argument is still watched.
  Tensor h = reals({128, 96}, 4).requires_grad_();
  const Tensor y = linear(gelu(h), down);
  {
    const NoGrad off;
    fill_(h, 1);
  }
  const std::string said = thrown([&] { sum(y).backward(); });
  CHECK(said.starts_with("GradError: linear: its input, the output of gelu at linear.cpp:"));
  CHECK(said.find("gelu: a tensor [128, 96] that it saved for backward was changed in place") != std::string::npos);
}

/// x twice: 2 x and 3 x, one operation.
Tensors doubled_and_tripled(const Tensor& x, Here here = Here::current()) {
  const Op op{"doubled_and_tripled", here};
  Tensors ys;
  {
    const NoGrad off;
    ys = {x * 2, x * 3};
  }
  return op.record_joint(ys, of<doubled_and_tripled>(x), "dx = 2 da + 3 db",
                         [](const Tensors& dys, const Needs& /*needs*/) { return Tensors{dys[0] * 2 + dys[1] * 3}; });
}

TEST_CASE("linear: an operation's output is made again as itself, or refused") {
  const Tensor x = reals({128, 128}, 1).requires_grad_(), w = reals({8, 128}, 2).requires_grad_();
  const Tensors ys = doubled_and_tripled(x);
  allow_remake(ys[1], [x = x.detach()] { return x * 3; });
  for (const Tensor& y : ys) {
    const Tensor got = grad({sum(linear(y, w))}, {w}, {.retain_graph = true})[0];
    const Tensor want = grad({sum(linear(y.detach(), w))}, {w})[0];
    CHECK(amax(abs(got - want)).item() < 1e-11);
  }
  for (const Tensor& other : {reals({1, 128, 128}, 3), to(reals({128, 128}, 3), float32), Tensor()}) {
    const Tensor y = sigmoid(x);
    allow_remake(y, [other] { return other; });
    CHECK(thrown([&] {
            sum(linear(y, w)).backward();
          }).starts_with("GradError: linear: its input, the output of sigmoid at linear.cpp:"));
  }
}

TEST_CASE("linear: relu takes no gradient at 0") {
  const Tensor x = tensor({1, 2}, float64).requires_grad_(), w = tensor({2, -1, 1, 1}, {2, 2}, float64);
  const Tensor y = linear(x, w, {}, Activation::relu);
  CHECK(same(y, {2}, {0, 3}));
  y.backward({.gradient = ones({2}, float64)});
  CHECK(same(x.grad(), {2}, {1, 1}));
}

TEST_CASE("linear: wrong calls") {
  const Tensor m = zeros({2, 3});
  CHECK(thrown([&] {
          linear(m, zeros({4, 2}));
        }) == "ShapeError: linear: x [2, 3] does not fit the weight [4, 2], which is [out, in]");
  CHECK(thrown([&] { linear(m, zeros({3})); }) ==
        "ShapeError: linear: x [2, 3] does not fit the weight [3], which is [out, in]");
  CHECK(thrown([&] {
          linear(zeros({}), zeros({4, 2}));
        }) == "ShapeError: linear: x [] does not fit the weight [4, 2], which is [out, in]");
  CHECK(thrown([&] {
          linear(m, zeros({4, 3}), zeros({3}));
        }) == "ShapeError: linear: the bias [3] does not fit the weight [4, 3]");
  CHECK(thrown([&] {
          linear(m, zeros({4, 3}), zeros({1, 4}));
        }) == "ShapeError: linear: the bias [1, 4] does not fit the weight [4, 3]");
  CHECK(thrown([&] {
          linear(m, zeros({4, 3}), zeros({4}, float64));
        }) == "DTypeError: linear: dtypes differ: float32 [2, 3] and float64 [4]");
  CHECK(thrown([&] { linear(m, {}); }) == "ValueError: linear: an input is undefined");
}
