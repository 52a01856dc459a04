#include "nn/recurrent/recurrent.h"

#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

void check_activation(Activation f, const char* name, Here here) {
  if (f != Activation::tanh && f != Activation::relu)
    throw ValueError(std::string(name) + ": the activation must be tanh or relu", here);
}

Tensor or_none(const Tensor* t) { return t ? *t : Tensor(); }

/// Both biases of a step in one, where nothing comes between them: added to the inputs once.
Tensor joint_bias(const Tensor* b_ih, const Tensor* b_hh) { return b_ih ? *b_ih + *b_hh : Tensor(); }

}  // namespace

RecurrentNet::RecurrentNet(const Config& c, Here here) : config_(c) {
  detail::at_least(1, c.in, c.name, "in", here);
  detail::at_least(1, c.hidden, c.name, "hidden", here);
  detail::at_least(1, c.layers, c.name, "layers", here);
  detail::at_least(0, c.proj_size, c.name, "proj_size", here);
  detail::probability(c.dropout, c.name, "dropout", here);
  if (c.proj_size >= c.hidden)
    throw ValueError(std::string(c.name) + ": proj_size = " + std::to_string(c.proj_size) +
                         " must be below hidden = " + std::to_string(c.hidden),
                     here);
  if (!(c.cell_clip >= 0 && c.projection_clip >= 0))
    throw ValueError(std::string(c.name) + ": clips must not be negative", here);
  if (c.projection_clip > 0 && c.proj_size == 0)
    throw ValueError(std::string(c.name) + ": projection_clip needs a proj_size", here);
  check_activation(c.activation, c.name, here);
  const double bound = 1 / std::sqrt(static_cast<double>(c.hidden));
  const std::int64_t rows = c.gates * c.hidden, out = c.proj_size > 0 ? c.proj_size : c.hidden;
  const std::int64_t ways = c.bidirectional ? 2 : 1;
  for (std::int64_t i = 0; i < c.layers * ways; ++i) {
    const std::string end = "_l" + std::to_string(i / ways) + (i % ways == 1 ? "_reverse" : "");
    const auto make = [&](const char* name, const Shape& shape) {
      Tensor& w = parameter(name + end, zeros(shape), here);
      init::uniform_(w, -bound, bound);
      return &w;
    };
    Weights w{};
    w.w_ih = make("weight_ih", {rows, i < ways ? c.in : ways * out});
    w.w_hh = make("weight_hh", {rows, out});
    if (c.bias) {
      w.b_ih = make("bias_ih", {rows});
      w.b_hh = make("bias_hh", {rows});
    }
    if (c.proj_size > 0) w.w_hr = make("weight_hr", {out, c.hidden});
    weights_.push_back(w);
  }
  if (c.dropout > 0)
    dropout_ = &child<Dropout>({"dropout", here}, c.dropout, c.generator ? *c.generator : default_generator(), here);
}

Recurrent RecurrentNet::one_way(const Tensor& x, const LstmState& initial, const Weights& w,
                                const RecurrentOptions& o) const {
  if (config_.gates == 3) return gru(linear(x, *w.w_ih, or_none(w.b_ih)), initial.h, *w.w_hh, or_none(w.b_hh), o);
  const Tensor gates = linear(x, *w.w_ih, joint_bias(w.b_ih, w.b_hh));
  if (config_.gates == 1) return rnn(gates, initial.h, *w.w_hh, {}, config_.activation, o);
  return lstm(gates, initial.h, initial.c, *w.w_hh, {}, or_none(w.w_hr), o);
}

RecurrentOutput RecurrentNet::run(const Tensor& x, const LstmState& initial, const Tensor& lengths, Here here) const {
  const Scope scope(*this, config_.name, here);
  const Op op{config_.name, here};
  const Config& c = config_;
  op.check_floating(x);
  const bool single = x.rank() == 2;
  if ((!single && x.rank() != 3) || x.size(-1) != c.in)
    op.fail_shape("x " + x.shape().str() + " must be " + (c.batch_first ? "[B, T, " : "[T, B, ") +
                  std::to_string(c.in) + "] or [T, " + std::to_string(c.in) + "]");
  if (single && lengths.defined()) op.fail_shape("lengths are for batches, x is " + x.shape().str());
  Tensor now = single ? unsqueeze(x, 1) : c.batch_first ? transpose(x, 0, 1) : x;  // [T, B, ..]
  const std::int64_t batch = now.size(1), count = static_cast<std::int64_t>(weights_.size());
  const std::int64_t ways = c.bidirectional ? 2 : 1, out = c.proj_size > 0 ? c.proj_size : c.hidden;
  // The initial states one by one, [B, ..] each.
  const auto states = [&](const char* what, const Tensor& s, std::int64_t size) {
    if (!s.defined()) return Tensors(weights_.size());
    op.check_same_dtype(x, s);
    const Shape fits = single ? Shape{count, size} : Shape{count, batch, size};
    if (s.shape() != fits) op.fail_shape(std::string(what) + " " + s.shape().str() + " must be " + fits.str());
    return unbind(single ? unsqueeze(s, 1) : s, 0);
  };
  const Tensors h0 = states("h0", initial.h, out), c0 = states("c0", initial.c, c.hidden);
  Tensors hs, cs;
  for (std::size_t i = 0; i < weights_.size();) {
    Tensors ys;
    for (std::int64_t way = 0; way < ways; ++way, ++i) {
      const Recurrent r = one_way(
          now, {h0[i], c0[i]}, weights_[i],
          {.reverse = way == 1, .lengths = lengths, .cell_clip = c.cell_clip, .projection_clip = c.projection_clip});
      ys.push_back(r.y);
      hs.push_back(r.h);
      cs.push_back(r.c);
    }
    now = ways == 1 ? ys[0] : cat(ys, 2);
    if (dropout_ && i < weights_.size()) now = (*dropout_)(now);
  }
  const auto together = [&](const Tensors& s) { return single ? squeeze(stack(s), 1) : stack(s); };
  return {single          ? squeeze(now, 1)
          : c.batch_first ? transpose(now, 0, 1)
                          : now,
          together(hs), c.gates == 4 ? together(cs) : Tensor()};
}

RecurrentOutput RecurrentNet::run_step(const Tensor& x, const LstmState& state, Here here) const {
  const Scope scope(*this, config_.name, here);
  const Op op{config_.name, here};
  op.check_defined(x);
  if (config_.bidirectional) op.fail_value("a bidirectional network has no single steps");
  if (x.rank() != 2)
    op.fail_shape("x " + x.shape().str() + " of a step must be [B, " + std::to_string(config_.in) + "]");
  const int time = config_.batch_first ? 1 : 0;
  RecurrentOutput r = run(unsqueeze(x, time), state, {}, {});
  r.output = squeeze(r.output, time);
  return r;
}

LSTM::LSTM(std::int64_t in, std::int64_t hidden, const LSTMOptions& o, Here here)
    : RecurrentNet({"LSTM", 4, in, hidden, o.layers, o.bias, o.batch_first, o.bidirectional, o.dropout, o.proj_size,
                    o.cell_clip, o.projection_clip, Activation::tanh, o.generator},
                   here) {}

GRU::GRU(std::int64_t in, std::int64_t hidden, const GRUOptions& o, Here here)
    : RecurrentNet({"GRU", 3, in, hidden, o.layers, o.bias, o.batch_first, o.bidirectional, o.dropout, 0, 0, 0,
                    Activation::tanh, o.generator},
                   here) {}

RNN::RNN(std::int64_t in, std::int64_t hidden, const RNNOptions& o, Here here)
    : RecurrentNet({"RNN", 1, in, hidden, o.layers, o.bias, o.batch_first, o.bidirectional, o.dropout, 0, 0, 0,
                    o.activation, o.generator},
                   here) {}

namespace {

Tensor uniform(const Shape& shape, std::int64_t hidden) {
  Tensor w = zeros(shape);
  const double bound = 1 / std::sqrt(static_cast<double>(hidden));
  return init::uniform_(w, -bound, bound);
}

}  // namespace

RecurrentCell::RecurrentCell(const char* name, std::int64_t gates, std::int64_t in, std::int64_t hidden, bool bias,
                             Here here)
    : name_(name),
      weight_ih_(parameter("weight_ih",
                           uniform({gates * detail::at_least(1, hidden, name, "hidden", here),
                                    detail::at_least(1, in, name, "in", here)},
                                   hidden),
                           here)),
      weight_hh_(parameter("weight_hh", uniform({gates * hidden, hidden}, hidden), here)) {
  if (!bias) return;
  bias_ih_ = &parameter("bias_ih", uniform({gates * hidden}, hidden), here);
  bias_hh_ = &parameter("bias_hh", uniform({gates * hidden}, hidden), here);
}

Tensor RecurrentCell::projected(const Tensor& x, Here here) const {
  const Op op{name_, here};
  op.check_floating(x);
  const std::int64_t in = weight_ih_.size(1);
  if ((x.rank() != 1 && x.rank() != 2) || x.size(-1) != in)
    op.fail_shape("x " + x.shape().str() + " must be [B, " + std::to_string(in) + "] or [" + std::to_string(in) + "]");
  return linear(x.rank() == 1 ? unsqueeze(x, 0) : x, weight_ih_, or_none(bias_ih_));
}

Tensor RecurrentCell::batched(const char* what, const Tensor& state, const Tensor& x) const {
  if (!state.defined()) return {};
  const Op op{name_, {}};
  op.check_same_dtype(x, state);
  const bool single = x.rank() == 1;
  Tensor s = single && state.rank() == 1 ? unsqueeze(state, 0) : state;
  const std::int64_t hidden = weight_hh_.size(1);
  if (s.shape() != Shape{single ? 1 : x.size(0), hidden})
    op.fail_shape(what + (" " + state.shape().str()) + " must be " +
                  (single ? Shape{hidden} : Shape{x.size(0), hidden}).str() + " for x " + x.shape().str());
  return s;
}

LSTMCell::LSTMCell(std::int64_t in, std::int64_t hidden, const CellOptions& o, Here here)
    : RecurrentCell("LSTMCell", 4, in, hidden, o.bias, here) {}

LstmState LSTMCell::operator()(const Tensor& x, const LstmState& state, Here here) const {
  const Scope scope(*this, name_, here);
  const Tensor gates = projected(x, {});  // checks x, before the states are compared with it
  const LstmState next =
      lstm_cell(gates, {batched("h", state.h, x), batched("c", state.c, x)}, weight_hh_, or_none(bias_hh_));
  return x.rank() == 1 ? LstmState{squeeze(next.h, 0), squeeze(next.c, 0)} : next;
}

GRUCell::GRUCell(std::int64_t in, std::int64_t hidden, const CellOptions& o, Here here)
    : RecurrentCell("GRUCell", 3, in, hidden, o.bias, here) {}

Tensor GRUCell::operator()(const Tensor& x, const Tensor& h, Here here) const {
  const Scope scope(*this, name_, here);
  const Tensor gates = projected(x, {});
  const Tensor next = gru_cell(gates, batched("h", h, x), weight_hh_, or_none(bias_hh_));
  return x.rank() == 1 ? squeeze(next, 0) : next;
}

RNNCell::RNNCell(std::int64_t in, std::int64_t hidden, Activation activation, const CellOptions& o, Here here)
    : RecurrentCell("RNNCell", 1, in, hidden, o.bias, here), activation_(activation) {
  check_activation(activation, name_, here);
}

Tensor RNNCell::operator()(const Tensor& x, const Tensor& h, Here here) const {
  const Scope scope(*this, name_, here);
  const Tensor gates = projected(x, {});
  const Tensor next = rnn_cell(gates, batched("h", h, x), weight_hh_, or_none(bias_hh_), activation_);
  return x.rank() == 1 ? squeeze(next, 0) : next;
}

}  // namespace attune::nn
