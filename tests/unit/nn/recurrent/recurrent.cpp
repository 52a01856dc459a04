// LSTM, GRU and RNN: values by loops, padding against each sequence alone, gradients, errors.

#include <cstring>

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

double sigma(double v) { return 1 / (1 + std::exp(-v)); }

/// One direction of one layer by loops over x [T, B, I] without padding: outputs [T, B, P] and the last states.
struct ByLoops {
  Plain y, h, c;
};

ByLoops by_loops(const Plain& x, const Plain& h0, const Plain& c0, const nn::StateDict& w, const std::string& end,
                 std::int64_t gates, bool reverse, bool is_relu = false) {
  const std::int64_t steps = x.shape[0], batch = x.shape[1], in = x.shape[2];
  const Plain w_ih(w.at("weight_ih" + end)), w_hh(w.at("weight_hh" + end));
  const std::int64_t hidden = w_hh.shape[0] / gates, state = w_hh.shape[1];
  const bool biased = w.contains("bias_ih" + end), projected = w.contains("weight_hr" + end);
  ByLoops r{Plain({steps, batch, state}), h0, c0};
  for (std::int64_t i = 0; i < steps; ++i)
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t t = reverse ? steps - 1 - i : i;
      Values from_x, from_h, whole;
      for (std::int64_t j = 0; j < gates * hidden; ++j) {
        double a = biased ? Plain(w.at("bias_ih" + end))[{j}] : 0, u = biased ? Plain(w.at("bias_hh" + end))[{j}] : 0;
        for (std::int64_t k = 0; k < in; ++k) a += w_ih[{j, k}] * x[{t, b, k}];
        for (std::int64_t k = 0; k < state; ++k) u += w_hh[{j, k}] * r.h[{b, k}];
        from_x.push_back(a);
        from_h.push_back(u);
      }
      for (std::int64_t j = 0; j < hidden; ++j) {
        const auto at = [&](std::int64_t g) { return static_cast<std::size_t>(g * hidden + j); };
        const auto both = [&](std::int64_t g) { return from_x[at(g)] + from_h[at(g)]; };
        if (gates == 1) {
          whole.push_back(is_relu ? std::max(0.0, both(0)) : std::tanh(both(0)));
        } else if (gates == 3) {
          const double reset = sigma(both(0)), z = sigma(both(1)), m = std::tanh(from_x[at(2)] + reset * from_h[at(2)]);
          whole.push_back((1 - z) * m + z * r.h[{b, j}]);
        } else {
          double& c = r.c[{b, j}];
          c = sigma(both(1)) * c + sigma(both(0)) * std::tanh(both(2));
          whole.push_back(sigma(both(3)) * std::tanh(c));
        }
      }
      for (std::int64_t p = 0; p < state; ++p) {
        double h = whole[static_cast<std::size_t>(p)];
        if (projected) {
          h = 0;
          for (std::int64_t j = 0; j < hidden; ++j)
            h += Plain(w.at("weight_hr" + end))[{p, j}] * whole[static_cast<std::size_t>(j)];
        }
        r.h[{b, p}] = r.y[{t, b, p}] = h;
      }
    }
  return r;
}

Tensor from(const Plain& p) { return tensor(p.v, p.shape, float64); }

bool same_bits(const Tensor& a, const Tensor& b) {
  const NoGrad off;
  const Tensor x = contiguous(a.detach()), y = contiguous(b.detach());
  return x.shape() == y.shape() && x.dtype() == y.dtype() &&
         std::memcmp(x.raw(), y.raw(), static_cast<std::size_t>(x.numel()) * size_of(x.dtype())) == 0;
}

Tensors all_of(const RecurrentResult& r) {
  return r.c.defined() ? Tensors{r.output, r.h, r.c} : Tensors{r.output, r.h};
}

}  // namespace

TEST_CASE("rnn: layers in both directions agree with loops, and states come in PyTorch's order") {
  const std::int64_t steps = 4, batch = 3, in = 2, hidden = 3;
  const Tensor x = normal({steps, batch, in});
  for (const bool both : {false, true})
    for (const bool biased : {false, true})
      for (const int kind : {0, 1, 2, 3, 4}) {  // RNN with tanh and relu, GRU, LSTM, projected LSTM
        INFO(both, biased, kind);
        const std::int64_t layers = 2, ways = both ? 2 : 1, gates = kind < 2 ? 1 : kind == 2 ? 3 : 4;
        const std::int64_t proj = kind == 4 ? 2 : 0, out = proj > 0 ? proj : hidden;
        const Tensor h0 = normal({layers * ways, batch, out}, 2), c0 = normal({layers * ways, batch, hidden}, 3);
        std::unique_ptr<nn::Module> m;
        RecurrentResult got;
        const auto run = [&](auto made, const auto& state) {
          made->to(float64);
          got = (*made)(x, state);
          m = std::move(made);
        };
        if (kind < 2)
          run(std::make_unique<nn::RNN>(
                  in, hidden,
                  nn::RecurrentOptions{.layers = layers,
                                       .activation = kind == 1 ? Activation::relu : Activation::tanh,
                                       .bias = biased,
                                       .bidirectional = both}),
              h0);
        else if (kind == 2)
          run(std::make_unique<nn::GRU>(in, hidden,
                                        nn::RecurrentOptions{.layers = layers, .bias = biased, .bidirectional = both}),
              h0);
        else
          run(std::make_unique<nn::LSTM>(
                  in, hidden,
                  nn::RecurrentOptions{.layers = layers, .bias = biased, .bidirectional = both, .proj_size = proj}),
              LstmState{h0, c0});
        const nn::StateDict w = m->state_dict();
        CHECK(w.size() == static_cast<std::size_t>(layers * ways * ((biased ? 4 : 2) + (proj > 0))));
        Tensor now = x;
        for (std::int64_t layer = 0; layer < layers; ++layer) {
          Tensors ys;
          for (std::int64_t way = 0; way < ways; ++way) {
            const std::int64_t i = layer * ways + way;
            const ByLoops e =
                by_loops(Plain(now), Plain(select(h0, 0, i)), Plain(select(c0, 0, i)), w,
                         "_l" + std::to_string(layer) + (way == 1 ? "_reverse" : ""), gates, way == 1, kind == 1);
            CHECK(close(select(got.h, 0, i).detach(), e.h));
            if (gates == 4) CHECK(close(select(got.c, 0, i).detach(), e.c));
            ys.push_back(from(e.y));
          }
          now = cat(ys, 2);
        }
        CHECK(close(got.output.detach(), Plain(now)));
        CHECK(got.c.defined() == (gates == 4));
      }
}

TEST_CASE("rnn: with lengths each sequence is computed as if it were alone") {
  const std::int64_t steps = 5, in = 3, hidden = 4;
  const std::vector<std::int64_t> lengths{3, 5, 0, 1};
  const Tensor x = normal({steps, 4, in});
  const auto check = [&](auto& m, auto state_of) {
    m.to(float64);
    const RecurrentResult all = m(x, state_of(-1), index_tensor(lengths));
    for (std::int64_t b = 0; b < 4; ++b) {
      const std::int64_t len = lengths[static_cast<std::size_t>(b)];
      INFO("sequence ", b, " of ", len);
      const RecurrentResult one = m(slice(slice(x, 1, b, b + 1), 0, 0, len), state_of(b));
      const auto of = [&](const Tensor& t) { return slice(t, 1, b, b + 1).detach(); };
      CHECK(close(slice(of(all.output), 0, 0, len), Plain(one.output)));
      const Tensor rest = slice(of(all.output), 0, len);
      CHECK(same(rest, zeros_like(rest)));
      CHECK(close(of(all.h), Plain(one.h)));
      if (all.c.defined()) CHECK(close(of(all.c), Plain(one.c)));
    }
  };
  const auto part = [](const Tensor& s, std::int64_t b) { return b < 0 ? s : slice(s, 1, b, b + 1); };
  const Tensor h = normal({4, 4, hidden}, 2), c = normal({4, 4, hidden}, 3), small = normal({4, 4, 2}, 4);
  nn::LSTM lstm_net(in, hidden, {.layers = 2, .bidirectional = true}),
      projected(in, hidden, {.layers = 2, .bidirectional = true, .proj_size = 2, .cell_clip = 0.4});
  nn::GRU gru_net(in, hidden, {.layers = 2, .bidirectional = true});
  nn::RNN rnn_net(in, hidden, {.layers = 2, .bidirectional = true});
  check(lstm_net, [&](std::int64_t b) { return LstmState{part(h, b), part(c, b)}; });
  check(projected, [&](std::int64_t b) { return LstmState{part(small, b), part(c, b)}; });
  check(gru_net, [&](std::int64_t b) { return part(h, b); });
  check(rnn_net, [&](std::int64_t b) { return part(h, b); });
}

TEST_CASE("rnn: gradients of both orders in inputs, states and every parameter") {
  const Tensor lengths = index_tensor({2, 3, 0});
  const Tensor x = normal_leaf({3, 3, 2}, 1);
  nn::LSTM lstm_net(2, 2, {.layers = 2, .bidirectional = true}),
      projected(2, 3, {.bidirectional = true, .proj_size = 2});
  CHECK(check_gradients(lstm_net,
                        [&](const Tensors& in) {
                          return all_of(lstm_net(in[0], {in[1], in[2]}, lengths));
                        },
                        {x, normal_leaf({4, 3, 2}, 2), normal_leaf({4, 3, 2}, 3)}) == "");
  CHECK(check_gradients(projected,
                        [&](const Tensors& in) {
                          return all_of(projected(in[0], {in[1], in[2]}, lengths));
                        },
                        {x, normal_leaf({2, 3, 2}, 2), normal_leaf({2, 3, 3}, 3)}) == "");
  nn::GRU gru_net(2, 2, {.layers = 2, .bidirectional = true});
  CHECK(check_gradients(gru_net, [&](const Tensors& in) { return all_of(gru_net(in[0], in[1], lengths)); },
                        {x, normal_leaf({4, 3, 2}, 2)}) == "");
  nn::RNN rnn_net(2, 2, {.layers = 2, .bias = false, .bidirectional = true});
  CHECK(check_gradients(rnn_net, [&](const Tensors& in) { return all_of(rnn_net(in[0], in[1], lengths)); },
                        {x, normal_leaf({4, 3, 2}, 2)}) == "");
  nn::LSTMCell cell(2, 3);
  CHECK(check_gradients(cell,
                        [&](const Tensors& in) {
                          const LstmState s = cell(in[0], {in[1], in[2]});
                          return Tensors{s.h, s.c};
                        },
                        {normal_leaf({2, 2}), normal_leaf({2, 3}, 2), normal_leaf({2, 3}, 3)}) == "");
}

TEST_CASE("rnn: batch_first, single sequences, strided inputs and empty sizes") {
  nn::LSTM m(3, 4, {.layers = 2, .bidirectional = true}),
      first(3, 4, {.layers = 2, .batch_first = true, .bidirectional = true});
  first.load_state_dict(m.state_dict());
  m.to(float64), first.to(float64);
  const Tensor x = normal({5, 2, 3});
  const RecurrentResult a = m(x), b = first(contiguous(transpose(x, 0, 1)));
  CHECK(close(transpose(b.output, 0, 1).detach(), Plain(a.output.detach())));
  CHECK(close(b.h.detach(), Plain(a.h.detach())));
  for (const Tensor& same_x : layouts(x)) CHECK(close(m(same_x).output.detach(), Plain(a.output.detach())));
  const RecurrentResult one = m(select(x, 1, 1), {zeros({4, 4}, float64), zeros({4, 4}, float64)});
  CHECK(one.output.shape() == Shape{5, 8});
  CHECK(one.h.shape() == Shape{4, 4});
  CHECK(close(one.output.detach(), Plain(select(a.output, 1, 1).detach())));
  CHECK(close(one.c.detach(), Plain(select(a.c, 1, 1).detach())));

  const Tensor h0 = normal_leaf({4, 2, 4}, 2), c0 = normal_leaf({4, 2, 4}, 3);
  const RecurrentResult none = m(zeros({0, 2, 3}, float64), {h0, c0});
  CHECK(none.output.shape() == Shape{0, 2, 8});
  CHECK(same(none.h.detach(), h0.detach()));
  CHECK(same(none.c.detach(), c0.detach()));
  CHECK(same(grad({none.h}, {h0}, {.cotangents = {normal({4, 2, 4}, 5)}})[0], normal({4, 2, 4}, 5)));
  const RecurrentResult nobody = m(zeros({5, 0, 3}, float64), {}, index_tensor(std::vector<std::int64_t>{}));
  CHECK(nobody.output.shape() == Shape{5, 0, 8});
  CHECK(nobody.h.shape() == Shape{4, 0, 4});
  const Tensor w = m.parameters()[1];
  CHECK(same(grad({sum(nobody.output)}, {w})[0], zeros_like(w)));
}

TEST_CASE("rnn: float32 follows float64, any number of threads gives the same bits") {
  const int before = num_threads();
  nn::LSTM wide(20, 70, {.layers = 2, .bidirectional = true, .proj_size = 33});
  nn::GRU gated(20, 70, {.bidirectional = true});
  Generator g(1);
  const Tensor x = randn({6, 37, 20}, float32, g).requires_grad_();
  std::vector<std::int64_t> lengths;
  for (std::int64_t b = 0; b < 37; ++b) lengths.push_back(b % 7);
  const auto results = [&](const Tensor& in) {
    Tensors all = all_of(wide(in, {}, index_tensor(lengths)));
    for (const Tensor& t : all_of(gated(in))) all.push_back(t);
    Tensors wanted{in}, outputs{all[0], all[1], all[2], all[3]}, cotangents;
    for (const Tensor& y : outputs) cotangents.push_back(full_like(y, 0.25));
    for (const nn::Module* m : std::vector<const nn::Module*>{&wide, &gated})
      for (const Tensor& p : m->parameters()) wanted.push_back(p);
    for (const Tensor& d : grad(outputs, wanted, {.cotangents = cotangents})) all.push_back(d);
    return all;
  };
  Tensors first;
  for (int threads : {1, 2, 5}) {
    set_num_threads(threads);
    const Tensors now = results(x);
    if (threads == 1) first = now;
    for (std::size_t i = 0; i < now.size(); ++i) CHECK(same_bits(now[i], first[i]));
  }
  set_num_threads(before);
  wide.to(float64), gated.to(float64);
  const Tensors exact = results(to(x.detach(), float64).requires_grad_());
  for (std::size_t i = 0; i < exact.size(); ++i) CHECK(close(first[i].detach(), Plain(exact[i].detach()), 2e-4));
}

TEST_CASE("rnn: dropout lies between layers, in training only") {
  Generator g(1), twin(1);
  nn::GRU m(3, 8, {.layers = 3, .dropout = 0.5, .generator = &g}), plain(3, 8, {.layers = 3}),
      again(3, 8, {.layers = 3, .dropout = 0.5, .generator = &twin});
  plain.load_state_dict(m.state_dict());
  again.load_state_dict(m.state_dict());
  const Tensor x = randn({4, 2, 3});
  const RecurrentResult a = m(x), b = plain(x);
  CHECK(same(a.output, again(x).output));
  CHECK(!same(a.output, b.output));
  CHECK(same(select(a.h, 0, 0), select(b.h, 0, 0)));  // the first layer's input is whole
  for (double v : a.output.to_vector<double>()) CHECK(v != 0);
  m.eval();
  CHECK(same(m(x).output, b.output));
}

TEST_CASE("rnn: parameters, their start, and options out of range") {
  nn::LSTM m(3, 16, {.bidirectional = true, .proj_size = 5});
  std::vector<std::string> names;
  for (const auto& [name, value] : m.named_parameters()) {
    names.push_back(name);
    for (double v : value.to_vector<double>()) CHECK(std::abs(v) <= 0.25);
    CHECK(amax(abs(value.detach())).item() > 0.15);
  }
  CHECK(names == std::vector<std::string>{"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0",
                                          "weight_ih_l0_reverse", "weight_hh_l0_reverse", "bias_ih_l0_reverse",
                                          "bias_hh_l0_reverse", "weight_hr_l0_reverse"});
  CHECK(thrown([] { nn::LSTM(3, 4, {.proj_size = 4}); }) == "ValueError: LSTM: proj_size = 4 must be below hidden = 4");
  CHECK(thrown([] { nn::LSTM(3, 4, {.projection_clip = 1}); }) ==
        "ValueError: LSTM: projection_clip needs a proj_size");
  CHECK(thrown([] { nn::LSTM(3, 4, {.cell_clip = -1}); }) == "ValueError: LSTM: clips must not be negative");
  CHECK(thrown([] { nn::GRU(0, 4); }) == "ValueError: GRU: in = 0 must be at least 1");
  CHECK(thrown([] { nn::GRU(3, 4, {.layers = 0}); }) == "ValueError: GRU: layers = 0 must be at least 1");
  CHECK(thrown([] { nn::RNN(3, 4, {.dropout = 2}); }) == "ValueError: RNN: dropout = 2.000000 is not in [0, 1]");
  CHECK(thrown([] { nn::RNN(3, 4, {.activation = Activation::silu}); }) ==
        "ValueError: RNN: the activation must be tanh or relu");
  const std::string lstm_only = "proj_size, cell_clip and projection_clip are an LSTM's";
  CHECK(thrown([] { nn::GRU(3, 4, {.proj_size = 2}); }) == "ValueError: GRU: " + lstm_only);
  CHECK(thrown([] { nn::RNN(3, 4, {.cell_clip = 1}); }) == "ValueError: RNN: " + lstm_only);
  CHECK(thrown([] { nn::LSTM(3, 4, {.activation = Activation::relu}); }) ==
        "ValueError: LSTM: the activation is an RNN's to choose");
}

TEST_CASE("rnn: wrong calls name the layer, the shapes and the line") {
  const nn::LSTM m(3, 4, {.proj_size = 2});
  const nn::GRU g(3, 4, {.batch_first = true});
  const Tensor x = zeros({5, 2, 3});
  CHECK(thrown([&] { m(zeros({5, 2, 4})); }) == "ShapeError: LSTM: x [5, 2, 4] must be [T, B, 3] or [T, 3]");
  CHECK(thrown([&] { g(zeros({3})); }) == "ShapeError: GRU: x [3] must be [B, T, 3] or [T, 3]");
  CHECK(thrown([&] { m(x, {zeros({1, 2, 4}), {}}); }) == "ShapeError: LSTM: h0 [1, 2, 4] must be [1, 2, 2]");
  CHECK(thrown([&] { m(x, {{}, zeros({1, 2, 2})}); }) == "ShapeError: LSTM: c0 [1, 2, 2] must be [1, 2, 4]");
  CHECK(thrown([&] { m(x, {}, index_tensor({5})); }) == "ShapeError: LSTM: lstm: lengths [1] must be [2]");
  CHECK(thrown([&] { m(x, {}, index_tensor({5, 6})); }) == "ValueError: LSTM: lstm: the length 6 is not in [0, 5]");
  CHECK(thrown([&] { m(x, {}, index_tensor({5, -1})); }) == "ValueError: LSTM: lstm: the length -1 is not in [0, 5]");
  CHECK(thrown([&] { m(x, {}, zeros({2})); }) == "DTypeError: LSTM: lstm: lengths must be integers, got float32");
  CHECK(thrown([&] {
          m(zeros({5, 3}), {}, index_tensor({5}));
        }) == "ShapeError: LSTM: lengths are for batches, x is [5, 3]");
  CHECK(thrown([&] { m(to(x, int64)); }).starts_with("DTypeError: LSTM: needs float32 or float64, got int64"));
  CHECK(thrown([&] { m(to(x, float64)); }).starts_with("DTypeError: LSTM: linear: dtypes differ"));
  CHECK(thrown([] {
          lstm(zeros({2, 2, 8}), {}, {}, zeros({7, 2}));
        }) == "ShapeError: lstm: w_hh [7, 2] must be [4 H, P]");
  CHECK(thrown([] {
          gru(zeros({2, 2, 6}), {}, zeros({6, 2}), zeros({5}));
        }) == "ShapeError: gru: b_hh [5] must be [6] for w_hh [6, 2]");
  CHECK(thrown([] {
          lstm(zeros({2, 2, 8}), {}, {}, zeros({8, 1}), {}, zeros({1, 3}));
        }) == "ShapeError: lstm: w_hr [1, 3] must be [1, 2] for w_hh [8, 1]");
  CHECK(thrown([] {
          rnn(zeros({2, 2, 2}), {}, zeros({2, 2}), {}, Activation::gelu);
        }) == "ValueError: rnn: the activation must be tanh or relu");
  CHECK(thrown([] {
          gru(zeros({2, 2, 6}), {}, zeros({6, 2}), {}, {.cell_clip = 1});
        }) == "ValueError: gru: cell_clip is for an lstm");
  CHECK(thrown([] {
          gru_cell(zeros({6}), {}, zeros({6, 2}));
        }) == "ShapeError: gru_cell: x [6] must be [B, 6] for w_hh [6, 2]");
  // What a cell says is of its own arguments, not of the sequence of one step that it computes with.
  CHECK(thrown([] {
          gru_cell(zeros({2, 6}), zeros({3, 2}), zeros({6, 2}));
        }) == "ShapeError: gru_cell: h [3, 2] must be [2, 2] for x [2, 6]");
  CHECK(thrown([] {
          rnn_cell(zeros({3, 4}), {}, zeros({2, 2}));
        }) == "ShapeError: rnn_cell: x [3, 4] must be [B, 2] for w_hh [2, 2]");
  CHECK(thrown([] {
          lstm_cell(zeros({3, 8}), {zeros({3, 2}), zeros({2, 2})}, zeros({8, 2}));
        }) == "ShapeError: lstm_cell: c [2, 2] must be [3, 2] for x [3, 8]");
  CHECK(thrown([] {
          lstm_cell(zeros({2, 8}), {}, zeros({8, 2}), {}, {}, {.lengths = to(tensor({2, 1}), int64)});
        }) == "ValueError: lstm_cell: the length 2 is not in [0, 1]");
  std::string what;
  int line = 0;
  try {
    line = __LINE__ + 1;
    m(zeros({5, 2, 4}));
  } catch (const Error& e) {
    what = e.what();
  }
  CHECK(what.ends_with("recurrent.cpp:" + std::to_string(line)));
}

TEST_CASE("recurrent networks: what padding holds reaches no parameter") {
  const Tensor lengths = index_tensor({2, 4, 1});
  const Tensor padding = unsqueeze(ge(unsqueeze(arange(4), 1), lengths), 2);
  nn::LSTM lstm(3, 4, {.layers = 2, .bidirectional = true, .proj_size = 2});
  nn::GRU gru(3, 4, {.bidirectional = true});
  nn::RNN rnn(3, 4, {.bidirectional = true});
  const auto check = [&](const nn::Module& m, const std::function<Tensor(const Tensor&)>& run) {
    const auto find = [&](double what) {
      const Tensor x = masked_fill(to(normal({4, 3, 3}, 1), float32), padding, what).requires_grad_();
      Tensors in{x};
      for (const Tensor& p : m.parameters()) in.push_back(p);
      return grad({sum(square(run(x)))}, in);
    };
    const Tensors clean = find(0);
    for (const double what : {not_a_number, -inf}) {
      const Tensors found = find(what);
      for (std::size_t i = 0; i < clean.size(); ++i) CHECK(same(found[i], clean[i]));
    }
  };
  check(lstm, [&](const Tensor& x) { return lstm(x, {}, lengths).output; });
  check(gru, [&](const Tensor& x) { return gru(x, {}, lengths).output; });
  check(rnn, [&](const Tensor& x) { return rnn(x, {}, lengths).output; });
}
