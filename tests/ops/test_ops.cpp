// Everything that the table of operations drives: gradients of both orders, forward mode, strides, repeated inputs,
// dtypes, errors, threads.

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "autograd/tape/op.h"
#include "nn/nn.h"
#include "tests/ops/all.h"

namespace attune::tests {
namespace {

std::string name_of_case(const OpRow& row, const std::vector<Shape>& shapes) {
  std::string s = row.name;
  for (const Shape& shape : shapes) s += " " + shape.str();
  return s;
}

/// The same values with every axis at twice its stride, and axes of rank 2 and more stored in reverse order.
Tensor strided_copy(const Tensor& x) {
  const NoGrad off;
  Dims reversed;
  for (int i = x.rank() - 1; i >= 0; --i) reversed.push_back(i);
  Tensor stored = clone(permute(x.detach(), reversed));
  if (x.rank() > 0)
    stored = slice(repeat(unsqueeze(stored, -1),
                          [&] {
                            Dims counts;
                            for (int i = 0; i < x.rank(); ++i) counts.push_back(1);
                            counts.push_back(2);
                            return counts;
                          }()),
                   -1, 0, 1);
  if (x.rank() > 0) stored = squeeze(stored, -1);
  return permute(stored, reversed).detach().requires_grad_();
}

template <class Check>
void each_case(Check&& check) {
  for (const OpRow& row : all_rows())
    for (const auto& shapes : row.shapes) {
      const std::string label = name_of_case(row, shapes);
      CAPTURE(label);
      check(row, shapes);
    }
}

/// A cotangent reaches the operation transposed and at twice its stride, so never dense if it has two elements.
Function with_strided_cotangents(const OpRow& row) {
  return [&row](const Tensors& x) {
    Tensors ys;
    for (const Tensor& y : row.call(x)) {
      Dims reversed;
      for (int i = y.rank() - 1; i >= 0; --i) reversed.push_back(i);
      const Tensor turned = permute(y, reversed);
      ys.push_back(y.rank() == max_rank ? turned : stack({zeros_like(turned), turned}, -1));
    }
    return ys;
  };
}

/// Also if both are NaN, as the mean of nothing is, or the same infinity.
bool near(double a, double b, double tolerance) {
  return a == b || std::abs(a - b) <= tolerance || (std::isnan(a) && std::isnan(b));
}

/// Where values lie that suit two inputs at once.
Domain common(const Domain& a, const Domain& b) {
  Domain d{std::max(a.low, b.low), std::min(a.high, b.high), a.kinks, std::max(a.margin, b.margin)};
  d.kinks.insert(d.kinks.end(), b.kinks.begin(), b.kinks.end());
  return d;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  const NoGrad off;
  const Tensor x = contiguous(a.detach()), y = contiguous(b.detach());
  return x.shape() == y.shape() && x.dtype() == y.dtype() &&
         (x.numel() == 0 ||
          std::memcmp(x.raw(), y.raw(), static_cast<std::size_t>(x.numel()) * size_of(x.dtype())) == 0);
}

}  // namespace

TEST_CASE("operations: gradients and second derivatives agree with finite differences") {
  each_case([](const OpRow& row, const auto& shapes) { CHECK(gradcheck(row.call, inputs_of(row, shapes)) == ""); });
}

TEST_CASE("operations: the same for inputs and cotangents that are not dense") {
  each_case([](const OpRow& row, const auto& shapes) {
    Tensors xs;
    for (const Tensor& x : inputs_of(row, shapes)) xs.push_back(strided_copy(x));
    CHECK(gradcheck(with_strided_cotangents(row), xs) == "");
    const Tensors dense = row.call(inputs_of(row, shapes)), strided = row.call(xs);
    for (std::size_t i = 0; i < dense.size(); ++i) {
      const std::vector<double> a = dense[i].to_vector<double>(), b = strided[i].to_vector<double>();
      for (std::size_t j = 0; j < a.size(); ++j) CHECK(near(a[j], b[j], 1e-12 * std::abs(b[j])));
    }
  });
}

TEST_CASE("operations: one tensor given for several inputs gets the sum of their gradients") {
  each_case([](const OpRow& row, const auto& shapes) {
    const auto domain = [&row](std::size_t i) { return i < row.domains.size() ? row.domains[i] : Domain{}; };
    const Tensors xs = inputs_of(row, shapes);
    for (std::size_t j = 1; j < shapes.size(); ++j)
      for (std::size_t i = 0; i < j; ++i) {
        const Domain both = common(domain(i), domain(j));
        if (shapes[i] != shapes[j] || both.low >= both.high) continue;  // no value suits both
        Generator g(2);
        const Tensor shared = draw(shapes[i], both, g, float64).requires_grad_();
        const Function f = [&](const Tensors& in) {
          Tensors all = xs;
          all[i] = all[j] = in[0];
          return row.call(all);
        };
        CHECK(gradcheck(f, {shared}) == "");
      }
  });
  const Tensor x = tensor({0.5, 1.5, 2.5}, float64).requires_grad_();
  CHECK(gradcheck([](const Tensors& in) { return Tensors{pow(in[0], in[0])}; }, {x}) == "");
}

TEST_CASE("operations: forward mode is the transpose of reverse mode") {
  each_case([](const OpRow& row, const auto& shapes) {
    const Tensors xs = inputs_of(row, shapes);
    Generator g(3);
    Tensors vs;
    for (const Tensor& x : xs) vs.push_back(randn(x.shape(), float64, g));
    const Tensors forward = jvp(row.call, xs, vs);
    const Tensors ys = row.call(xs);
    Tensors outputs, us;
    double left = 0;
    for (std::size_t i = 0; i < ys.size(); ++i) {
      if (!ys[i].requires_grad()) continue;
      outputs.push_back(ys[i]);
      us.push_back(randn(ys[i].shape(), float64, g));
      left += sum(forward[i] * us.back()).item();
    }
    if (outputs.empty()) return;
    const Tensors reverse = grad(outputs, xs, {.cotangents = us, .allow_unused = true});
    double right = 0;
    for (std::size_t i = 0; i < xs.size(); ++i)
      if (reverse[i].defined()) right += sum(reverse[i] * vs[i]).item();
    CHECK(left == doctest::Approx(right).epsilon(1e-9));
  });
}

TEST_CASE("operations: float32 agrees with float64") {
  each_case([](const OpRow& row, const auto& shapes) {
    const Tensors wide = inputs_of(row, shapes);
    Tensors narrow;
    for (const Tensor& x : wide) narrow.push_back(to(x.detach(), float32).requires_grad_());
    const Tensors a = row.call(wide), b = row.call(narrow);
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      CHECK(b[i].dtype() == (is_floating(a[i].dtype()) ? float32 : a[i].dtype()));
      const std::vector<double> u = a[i].to_vector<double>(), v = b[i].to_vector<double>();
      for (std::size_t j = 0; j < u.size(); ++j) CHECK(near(v[j], u[j], 2e-4 * (1 + std::abs(u[j]))));
    }
  });
}

TEST_CASE("operations: under NoGrad they are plain arithmetic with the same values") {
  each_case([](const OpRow& row, const auto& shapes) {
    const Tensors xs = inputs_of(row, shapes);
    const Tensors recorded = row.call(xs);
    const NoGrad off;
    const Tensors plain = row.call(xs);
    for (std::size_t i = 0; i < plain.size(); ++i) {
      CHECK((!plain[i].requires_grad() || plain[i].is_leaf()));
      CHECK(same_bits(plain[i], recorded[i]));
    }
  });
}

TEST_CASE("operations: a wrong call names the operation, the shapes or values, and the line") {
  for (const OpRow& row : all_rows()) {
    CAPTURE(row.name);
    REQUIRE(row.bad);
    std::string what;
    try {
      row.bad();
    } catch (const Error& e) {
      what = e.what();
    }
    CHECK(what.substr(0, what.find('\n')) == row.message);
    CHECK(what.find("\n  at ") != std::string::npos);
  }
}

TEST_CASE("operations: any number of threads gives the same bits") {
  const int before = num_threads();
  for (const OpRow& row : all_rows()) {
    const auto& shapes = row.bench.empty() ? row.shapes[0] : row.bench;
    CAPTURE(row.name);
    Tensors first;
    for (int threads : {1, 2, 4}) {
      set_num_threads(threads);
      Tensors xs = inputs_of(row, row.shapes[0], float32);
      for (std::size_t i = 0; i < xs.size(); ++i) {
        // Large inputs in one drawing; inside the domain wherever that is an interval.
        const Domain d = i < row.domains.size() ? row.domains[i] : Domain{};
        Generator g(10 + i);
        xs[i] = (d.low + (d.high - d.low) * rand(shapes[i], float32, g)).detach().requires_grad_();
      }
      Tensors results = row.call(xs), outputs, cotangents;
      for (const Tensor& y : results)
        if (y.requires_grad()) {
          outputs.push_back(y);
          cotangents.push_back(full_like(y, 0.5));
        }
      if (!outputs.empty())
        for (const Tensor& g : grad(outputs, xs, {.cotangents = cotangents, .allow_unused = true}))
          if (g.defined()) results.push_back(g);
      if (threads == 1) first = results;
      REQUIRE(results.size() == first.size());
      for (std::size_t i = 0; i < results.size(); ++i) CHECK(same_bits(results[i], first[i]));
    }
  }
  set_num_threads(before);
}

TEST_CASE("operations: whatever is recorded has a row") {
  std::set<std::string> known{"leaf"};
  for (const OpRow& row : all_rows()) known.insert(row.name.substr(0, row.name.find(',')));
  // Backward passes of fused operations are exercised through the second order of these rows.
  for (const char* name : {"layer_norm_grad", "rms_norm_grad", "cross_entropy_grad", "chunked_attention_grad",
                           "scaled_dot_product_attention_grad", "recurrent_grad", "conv1d_input_grad",
                           "conv1d_weight_grad", "separate", "reversible_blocks"})
    known.insert(name);
  const auto look = [&](const Tensor& y) {
    const Tape tape = Tape::of(y);
    for (std::size_t i = 0; i < tape.size(); ++i) {
      const std::string name = tape[i].name();
      CHECK_MESSAGE(known.contains(name), "no row for ", name);
    }
  };
  each_case([&](const OpRow& row, const auto& shapes) {
    const Tensors xs = inputs_of(row, shapes);
    Tensor total = scalar(0, float64);
    for (const Tensor& y : row.call(xs))
      if (y.requires_grad()) total = total + sum(square(y));
    if (!total.requires_grad()) return;
    look(total);
    for (const Tensor& g : grad({total}, xs, {.create_graph = true, .allow_unused = true}))
      if (g.defined()) look(g);
  });
  nn::ReformerConfig config;
  config.vocabulary = 11;
  config.d_model = 8;
  config.d_ff = 8;
  config.axial_rows = config.axial_columns = 4;
  config.axial_row_dim = 4;
  config.lsh.chunk = 4;
  config.dropout = 0.1;
  nn::Reformer model(config);
  look(model.loss(model(zeros({1, 16}, int64)), zeros({1, 16}, int64)));
  nn::TransformerDecoder decoder(1, 8, 2, {.d_ff = 8});
  look(sum(decoder(randn({1, 3, 8}), randn({1, 2, 8}))));
}

TEST_CASE("operations: a traced node replays its forward pass, and its composed twin agrees") {
  each_case([](const OpRow& row, const auto& shapes) {
    const Tensors xs = inputs_of(row, shapes);
    const Tracing tracing;
    for (const Tensor& y : row.call(xs)) {
      const Tape tape = Tape::of(y);
      for (std::size_t i = 0; i < tape.size(); ++i) {
        const Trace* trace = tape[i].trace();
        if (tape[i].is_leaf()) continue;
        REQUIRE(trace);
        const NoGrad off;
        const std::string name = tape[i].name();
        CAPTURE(name);
        for (const auto* again : {&trace->replay, &trace->composed}) {
          if (!*again) continue;
          const Tensors replayed = (*again)(trace->inputs);
          REQUIRE(replayed.size() == trace->outputs.size());
          for (std::size_t o = 0; o < replayed.size(); ++o) {
            const std::vector<double> a = replayed[o].template to_vector<double>(),
                                      b = trace->outputs[o].template to_vector<double>();
            REQUIRE(a.size() == b.size());
            for (std::size_t j = 0; j < a.size(); ++j) CHECK(near(a[j], b[j], 1e-9 * (1 + std::abs(b[j]))));
          }
        }
      }
    }
  });
}

}  // namespace attune::tests
