#include "nn/recurrent/recurrent.h"

#include <cmath>

#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

void check_activation(const detail::Check& check, Activation f) {
  if (f != Activation::tanh && f != Activation::relu) check.fail("the activation must be tanh or relu");
}

Tensor or_none(const Parameter* t) { return t ? *t : Tensor(); }

/// Both biases of a step in one, if nothing comes between them: added to the inputs once.
Tensor joint_bias(const Parameter* b_ih, const Parameter* b_hh) { return b_ih ? *b_ih + *b_hh : Tensor(); }

}  // namespace

RecurrentNet::RecurrentNet(const char* name, Cell cell, std::int64_t in, std::int64_t hidden, const RecurrentOptions& o,
                           Here here)
    : Module(here),
      name_(name),
      cell_(cell),
      in_(in),
      hidden_(hidden),
      options_(o),
      ways_(o.bidirectional ? 2 : 1),
      out_(o.proj_size > 0 ? o.proj_size : hidden) {
  const detail::Check check{name, *this};
  check.at_least(1, in, "in");
  check.at_least(1, hidden, "hidden");
  check.at_least(1, o.layers, "layers");
  check.at_least(0, o.proj_size, "proj_size");
  check.probability(o.dropout, "dropout");
  if (cell != Cell::lstm && (o.proj_size != 0 || o.cell_clip != 0 || o.projection_clip != 0))
    check.fail("proj_size, cell_clip and projection_clip are an LSTM's");
  if (cell != Cell::rnn && o.activation != Activation::tanh) check.fail("the activation is an RNN's to choose");
  if (o.proj_size >= hidden)
    check.fail("proj_size = " + std::to_string(o.proj_size) + " must be below hidden = " + std::to_string(hidden));
  if (!(o.cell_clip >= 0 && o.projection_clip >= 0)) check.fail("clips must not be negative");
  if (o.projection_clip > 0 && o.proj_size == 0) check.fail("projection_clip needs a proj_size");
  check_activation(check, o.activation);
  const double bound = 1 / std::sqrt(static_cast<double>(hidden));
  const std::int64_t gates = cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1, rows = gates * hidden;
  for (std::int64_t i = 0; i < o.layers * ways_; ++i) {
    const std::string end = "_l" + std::to_string(i / ways_) + (i % ways_ == 1 ? "_reverse" : "");
    const auto make = [&](const char* what, const Shape& shape) {
      Parameter& w = parameter(what + end, zeros(shape));
      init::uniform_(w, -bound, bound);
      return &w;
    };
    Weights w{};
    w.w_ih = make("weight_ih", {rows, i < ways_ ? in : ways_ * out_});
    w.w_hh = make("weight_hh", {rows, out_});
    if (o.bias) {
      w.b_ih = make("bias_ih", {rows});
      w.b_hh = make("bias_hh", {rows});
    }
    if (o.proj_size > 0) w.w_hr = make("weight_hr", {out_, hidden});
    weights_.push_back(w);
  }
  if (o.dropout > 0) dropout_ = &child<Dropout>("dropout", o.dropout, o.generator ? *o.generator : default_generator());
}

RecurrentResult RecurrentNet::one_way(const Tensor& x, const LstmState& initial, const Weights& w,
                                      const RecurrentCall& call) const {
  if (cell_ == Cell::gru) return gru(linear(x, *w.w_ih, or_none(w.b_ih)), initial.h, *w.w_hh, or_none(w.b_hh), call);
  const Tensor gates = linear(x, *w.w_ih, joint_bias(w.b_ih, w.b_hh));
  if (cell_ == Cell::rnn) return rnn(gates, initial.h, *w.w_hh, {}, options_.activation, call);
  return lstm(gates, initial.h, initial.c, *w.w_hh, {}, or_none(w.w_hr), call);
}

RecurrentResult RecurrentNet::run(const Tensor& input, const LstmState& states_before, const Tensor& lengths,
                                  Here here) const {
  const Scope scope(*this, name_, here);
  const Tensors in = scope.in(Tensors{input, states_before.h, states_before.c});
  const Tensor& x = in[0];
  const Op op{name_, here};
  op.check_floating(x);
  const bool single = x.rank() == 2, batch_first = options_.batch_first;
  if ((!single && x.rank() != 3) || x.size(-1) != in_)
    op.fail_shape("x " + x.shape().str() + " must be " + (batch_first ? "[B, T, " : "[T, B, ") + std::to_string(in_) +
                  "] or [T, " + std::to_string(in_) + "]");
  if (single && lengths.defined()) op.fail_shape("lengths are for batches, x is " + x.shape().str());
  Tensor now = single ? unsqueeze(x, 1) : batch_first ? transpose(x, 0, 1) : x;  // [T, B, ..]
  const std::int64_t steps = now.size(0);
  if (lengths.defined() && is_integer(lengths.dtype()) && lengths.shape() == Shape{now.size(1)})
    now = masked_fill(now, unsqueeze(ge(unsqueeze(arange(steps, lengths.dtype()), 1), lengths), 2), 0);  // even if NaN
  const std::int64_t batch = now.size(1), count = static_cast<std::int64_t>(weights_.size());
  // The initial states one by one, [B, ..] each.
  const auto states = [&](const char* what, const Tensor& s, std::int64_t size) {
    if (!s.defined()) return Tensors(weights_.size());
    op.check_same_dtype(x, s);
    const Shape fits = single ? Shape{count, size} : Shape{count, batch, size};
    if (s.shape() != fits) op.fail_shape(std::string(what) + " " + s.shape().str() + " must be " + fits.str());
    return unbind(single ? unsqueeze(s, 1) : s, 0);
  };
  const Tensors h0 = states("h0", in[1], out_), c0 = states("c0", in[2], hidden_);
  Tensors hs, cs;
  for (std::size_t i = 0; i < weights_.size();) {
    Tensors outputs;
    for (std::int64_t way = 0; way < ways_; ++way, ++i) {
      const RecurrentResult r = one_way(now, {h0[i], c0[i]}, weights_[i],
                                        {.reverse = way == 1,
                                         .lengths = lengths,
                                         .cell_clip = options_.cell_clip,
                                         .projection_clip = options_.projection_clip});
      outputs.push_back(r.output);
      hs.push_back(r.h);
      cs.push_back(r.c);
    }
    now = ways_ == 1 ? outputs[0] : cat(outputs, 2);
    if (dropout_ && i < weights_.size()) now = (*dropout_)(now);
  }
  const auto together = [&](const Tensors& s) { return single ? squeeze(stack(s), 1) : stack(s); };
  now = single ? squeeze(now, 1) : batch_first ? transpose(now, 0, 1) : now;
  RecurrentResult r{now, together(hs), cell_ == Cell::lstm ? together(cs) : Tensor()};
  scope.out_parts(r.output, r.h, r.c);
  return r;
}

RecurrentResult RecurrentNet::run_step(const Tensor& x, const LstmState& state, Here here) const {
  const Scope scope(*this, name_, here, Scope::no_call);
  const Op op{name_, here};
  op.check_defined(x);
  if (options_.bidirectional) op.fail_value("a bidirectional network has no single steps");
  if (x.rank() != 2) op.fail_shape("x " + x.shape().str() + " of a step must be [B, " + std::to_string(in_) + "]");
  const int time = options_.batch_first ? 1 : 0;
  RecurrentResult r = run(unsqueeze(x, time), state, {}, {});
  r.output = squeeze(r.output, time);
  return r;
}

Tensor RecurrentNet::step(const Tensor& x, State& state, Here here) const {
  const Scope scope(*this, name_, here, Scope::no_call);
  const Op op{name_, here};
  op.check_defined(x);
  if (options_.bidirectional) op.fail_value("a bidirectional network has no single steps");
  if (x.rank() != 2 && x.rank() != 3)
    op.fail_shape("x " + x.shape().str() + " of the next steps must be [B, " + std::to_string(in_) + "] or [" +
                  (options_.batch_first ? "B, T, " : "T, B, ") + std::to_string(in_) + "]");
  RecurrentResult r = x.rank() == 2 ? run_step(x, {state.h, state.c}, {}) : run(x, {state.h, state.c}, {}, {});
  state.h = r.h;
  state.c = r.c;
  return r.output;
}

void RecurrentState::reorder(const Tensor& rows, Here here) {
  if (h.defined()) h = index_select(h, 1, rows, here);
  if (c.defined()) c = index_select(c, 1, rows, here);
}

namespace {

Tensor uniform(const Shape& shape, std::int64_t hidden) {
  Tensor w = zeros(shape);
  const double bound = 1 / std::sqrt(static_cast<double>(hidden));
  return init::uniform_(w, -bound, bound);
}

}  // namespace

RecurrentCell::RecurrentCell(const char* name, std::int64_t gates, std::int64_t in, std::int64_t hidden, bool bias,
                             Here here)
    : Module(here),
      name_(name),
      weight_ih_(parameter("weight_ih", uniform({gates * detail::Check(name, *this).at_least(1, hidden, "hidden"),
                                                 detail::Check(name, *this).at_least(1, in, "in")},
                                                hidden))),
      weight_hh_(parameter("weight_hh", uniform({gates * hidden, hidden}, hidden))) {
  if (!bias) return;
  bias_ih_ = &parameter("bias_ih", uniform({gates * hidden}, hidden));
  bias_hh_ = &parameter("bias_hh", uniform({gates * hidden}, hidden));
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

LstmState LSTMCell::operator()(const Tensor& input, const LstmState& state, Here here) const {
  const Scope scope(*this, name_, here);
  const Tensors in = scope.in(Tensors{input, state.h, state.c});
  const Tensor& x = in[0];
  const Tensor gates = projected(x, {});  // checks x, before the states are compared with it
  LstmState next = lstm_cell(gates, {batched("h", in[1], x), batched("c", in[2], x)}, weight_hh_, or_none(bias_hh_));
  if (x.rank() == 1) next = {squeeze(next.h, 0), squeeze(next.c, 0)};
  scope.out_parts(next.h, next.c);
  return next;
}

GRUCell::GRUCell(std::int64_t in, std::int64_t hidden, const CellOptions& o, Here here)
    : RecurrentCell("GRUCell", 3, in, hidden, o.bias, here) {}

Tensor GRUCell::operator()(const Tensor& input, const Tensor& before, Here here) const {
  const Scope scope(*this, name_, here);
  const Tensors in = scope.in(Tensors{input, before});
  const Tensor &x = in[0], &h = in[1];
  const Tensor gates = projected(x, {});
  const Tensor next = gru_cell(gates, batched("h", h, x), weight_hh_, or_none(bias_hh_));
  return scope.out(x.rank() == 1 ? squeeze(next, 0) : next);
}

RNNCell::RNNCell(std::int64_t in, std::int64_t hidden, Activation activation, const CellOptions& o, Here here)
    : RecurrentCell("RNNCell", 1, in, hidden, o.bias, here), activation_(activation) {
  check_activation({name_, *this}, activation);
}

Tensor RNNCell::operator()(const Tensor& input, const Tensor& before, Here here) const {
  const Scope scope(*this, name_, here);
  const Tensors in = scope.in(Tensors{input, before});
  const Tensor &x = in[0], &h = in[1];
  const Tensor gates = projected(x, {});
  const Tensor next = rnn_cell(gates, batched("h", h, x), weight_hh_, or_none(bias_hh_), activation_);
  return scope.out(x.rank() == 1 ? squeeze(next, 0) : next);
}

}  // namespace attune::nn
