#include "autograd/ops/recurrent.h"

#include <array>

#include "autograd/kernels/recurrent.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/second_derivative.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"

namespace attune {

using detail::dense;
using detail::elements;
using detail::with_floating;
using kernels::Cell;

namespace {

/// What a recurrence is, apart from its tensors.
struct Spec {
  Cell cell = Cell::tanh;
  bool reverse = false;
  double cell_clip = 0, projection_clip = 0;

  const char* name() const { return cell == Cell::lstm ? "lstm" : cell == Cell::gru ? "gru" : "rnn"; }
};

/// The places of the differentiable inputs in their list, undefined ones included, and of the outputs.
enum class In : std::size_t { x, h0, c0, w_hh, b_hh, w_hr };
constexpr std::size_t input_count = 6;
enum class Out : std::size_t { y, h, c };  // c: an LSTM's alone

template <class Place>
const Tensor& at(const Tensors& list, Place place) {
  return list[static_cast<std::size_t>(place)];
}

Tensors dense_all(const Tensors& xs) {
  Tensors out;
  for (const Tensor& x : xs) out.push_back(dense(x));
  return out;
}

/// `in` dense.
template <class T>
kernels::Recurrence<T> plan_of(const Tensors& in, const Tensor& lengths, const Spec& spec) {
  return {.cell = spec.cell,
          .steps = at(in, In::x).size(0),
          .batch = at(in, In::x).size(1),
          .hidden = at(in, In::w_hh).size(0) / kernels::gates_of(spec.cell),
          .projected = at(in, In::w_hr).defined() ? at(in, In::w_hr).size(0) : 0,
          .reverse = spec.reverse,
          .lengths = elements<const std::int64_t>(lengths),
          .cell_clip = static_cast<T>(spec.cell_clip),
          .projection_clip = static_cast<T>(spec.projection_clip),
          .x = elements<const T>(at(in, In::x)),
          .h0 = elements<const T>(at(in, In::h0)),
          .c0 = elements<const T>(at(in, In::c0)),
          .w_hh = elements<const T>(at(in, In::w_hh)),
          .b_hh = elements<const T>(at(in, In::b_hh)),
          .w_hr = elements<const T>(at(in, In::w_hr))};
}

/// h and, for an LSTM, c after one step: the formulas.
LstmState plain_step(const Spec& spec, const Tensor& x, const Tensor& h, const Tensor& c, const Tensors& in) {
  Tensor hw = matmul(h, transpose(at(in, In::w_hh)));
  if (at(in, In::b_hh).defined()) hw = hw + at(in, In::b_hh);
  if (spec.cell == Cell::tanh) return {tanh(x + hw), c};
  if (spec.cell == Cell::relu) return {relu(x + hw), c};
  if (spec.cell == Cell::gru) {
    const Tensors a = chunk(x, 3, 1), b = chunk(hw, 3, 1);
    const Tensor r = sigmoid(a[0] + b[0]), z = sigmoid(a[1] + b[1]), n = tanh(a[2] + r * b[2]);
    return {(1 - z) * n + z * h, c};
  }
  const Tensors gates = chunk(x + hw, 4, 1);
  Tensor cell = sigmoid(gates[1]) * c + sigmoid(gates[0]) * tanh(gates[2]);
  if (spec.cell_clip > 0) cell = clamp(cell, -spec.cell_clip, spec.cell_clip);
  Tensor state = sigmoid(gates[3]) * tanh(cell);
  if (at(in, In::w_hr).defined()) state = matmul(state, transpose(at(in, In::w_hr)));
  if (spec.projection_clip > 0) state = clamp(state, -spec.projection_clip, spec.projection_clip);
  return {state, cell};
}

/// y, h and c of the plain composition.
Tensors recurrent_composed(const Tensors& in, const Tensor& lengths, const Spec& spec, Here here) {
  const Op op{"recurrent_composed", here};
  const std::int64_t steps = at(in, In::x).size(0);
  LstmState now{at(in, In::h0), at(in, In::c0)};
  const Tensors xs = unbind(at(in, In::x), 0);
  Tensors ys(xs.size());
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int64_t t = spec.reverse ? steps - 1 - i : i;
    const auto place = static_cast<std::size_t>(t);
    if (!lengths.defined()) {
      now = plain_step(spec, xs[place], now.h, now.c, in);
      ys[place] = now.h;
      continue;
    }
    // Of a step that is left out nothing is computed from what it holds, which may be NaN.
    const Tensor valid = unsqueeze(gt(lengths, t), 1);
    const auto taken = [&](const Tensor& v) { return v.defined() ? where(valid, v, 0) : v; };
    const LstmState next = plain_step(spec, taken(xs[place]), taken(now.h), taken(now.c), in);
    ys[place] = where(valid, next.h, zeros_like(next.h));
    now = {where(valid, next.h, now.h), now.c.defined() ? where(valid, next.c, now.c) : now.c};
  }
  Tensors out{steps == 0 ? zeros({0, now.h.size(0), now.h.size(1)}, now.h.dtype()) : stack(ys), now.h};
  if (now.c.defined()) out.push_back(now.c);
  return out;
}

/// Gradients of the inputs that are `wanted` (x's, h0's and c0's come in any case); dys are those of y, h and c.
Tensors recurrent_grad(const Tensors& in, const Tensors& dys, const Tensor& y, const Tensor& kept,
                       const Tensor& lengths, const Spec& spec, const std::vector<bool>& wanted, Here here) {
  const Op op{"recurrent_grad", here};
  const Tensors values = dense_all(in), gs = dense_all(dys);
  Tensors dxs(input_count);
  for (std::size_t i = 0; i < input_count; ++i)
    if (in[i].defined() && (i < static_cast<std::size_t>(In::w_hh) || wanted[i])) dxs[i] = op.empty_like(in[i]);
  with_floating(y.dtype(), [&]<class T>(T) {
    kernels::Recurrence<T> r = plan_of<T>(values, lengths, spec);
    const Tensor outputs = dense(y);
    r.y = elements<T>(outputs);
    r.kept = elements<T>(kept);
    const kernels::RecurrenceGrad<T> g{.dy = elements<const T>(at(gs, Out::y)),
                                       .dx = elements<T>(at(dxs, In::x)),
                                       .dh = elements<T>(at(dxs, In::h0)),
                                       .dc = elements<T>(at(dxs, In::c0)),
                                       .dw_hh = elements<T>(at(dxs, In::w_hh)),
                                       .db_hh = elements<T>(at(dxs, In::b_hh)),
                                       .dw_hr = elements<T>(at(dxs, In::w_hr))};
    const Tensor& dh = at(gs, Out::h);
    std::copy_n(elements<const T>(dh), dh.numel(), g.dh);
    if (g.dc) std::copy_n(elements<const T>(at(gs, Out::c)), at(gs, Out::c).numel(), g.dc);
    kernels::recurrent_grad(r, g);
  });
  return detail::record_fused_grad(
      op, dxs, of<recurrent_grad>(in, dys, y.detach(), kept, lengths, spec, wanted), in, dys,
      [lengths, spec](const Tensors& xs) { return recurrent_composed(xs, lengths, spec, {}); });
}

/// h' and c' are the states before a step, dh and dc the gradients of those after it.
const char* rule_for(Cell cell, bool bias, bool projected) {
  switch (cell) {
    case Cell::tanh:
      return bias ? "dx = (1 - h^2) dh, dh0 = the first dx w_hh, dw_hh = sum of dx^T h', db_hh = sum of dx, "
                    "dh = dy + the next step's dx w_hh"
                  : "dx = (1 - h^2) dh, dh0 = the first dx w_hh, dw_hh = sum of dx^T h', "
                    "dh = dy + the next step's dx w_hh";
    case Cell::relu:
      return bias ? "dx = dh where h > 0, dh0 = the first dx w_hh, dw_hh = sum of dx^T h', db_hh = sum of dx, "
                    "dh = dy + the next step's dx w_hh"
                  : "dx = dh where h > 0, dh0 = the first dx w_hh, dw_hh = sum of dx^T h', "
                    "dh = dy + the next step's dx w_hh";
    case Cell::gru:
      return bias ? "dx = (dr, dz, dn), dh0 = the first z dh + a w_hh, dw_hh = sum of a^T h', db_hh = sum of a, "
                    "a = (dr, dz, r dn), dn = (1 - n^2) (1 - z) dh, dz = z (1 - z) (h' - n) dh, "
                    "dr = r (1 - r) (h' w_n^T + b_n) dn, dh = dy + the next step's z dh + a w_hh"
                  : "dx = (dr, dz, dn), dh0 = the first z dh + a w_hh, dw_hh = sum of a^T h', "
                    "a = (dr, dz, r dn), dn = (1 - n^2) (1 - z) dh, dz = z (1 - z) (h' - n) dh, "
                    "dr = r (1 - r) h' w_n^T dn, dh = dy + the next step's z dh + a w_hh";
    case Cell::lstm: break;
  }
  // The four cases, spelled out at the first call; nodes keep the pointer.
  static const auto* const rules = [] {
    auto* all = new std::array<std::string, 4>;
    for (unsigned i = 0; i < 4; ++i) {
      const bool adds = i & 1u, projects = i & 2u;
      (*all)[i] = std::string("dx = (di, df, dg, do), dh0 = the first dx w_hh, dc0 = the first f dc, ") +
                  "dw_hh = sum of dx^T h', " + (adds ? "db_hh = sum of dx, " : "") +
                  (projects ? "dw_hr = sum of dh^T u, " : "") +
                  "di = i (1 - i) g dc, df = f (1 - f) c' dc, dg = (1 - g^2) i dc, do = o (1 - o) tanh(c) du, "
                  "dc = o (1 - tanh(c)^2) du + the next step's f dc, " +
                  (projects ? "du = dh w_hr, u = o tanh(c), " : "du = dh, ") + "dh = dy + the next step's dx w_hh";
    }
    return all;
  }();
  return (*rules)[(bias ? 1u : 0u) + (projected ? 2u : 0u)].c_str();
}

/// The recorded operation: y, h and, for an LSTM, c.
Tensors recurrent(const Tensors& in, const Tensor& lengths, const Spec& spec, Here here) {
  const Op op{spec.name(), here};
  const std::int64_t steps = at(in, In::x).size(0), batch = at(in, In::x).size(1);
  const std::int64_t hidden = at(in, In::w_hh).size(0) / kernels::gates_of(spec.cell);
  const DType dtype = at(in, In::x).dtype();
  bool recorded = false;
  for (const Tensor& x : in) recorded |= grad_enabled() && x.defined() && x.requires_grad();
  const Tensors values = dense_all(in);
  Tensors ys{op.empty({steps, batch, at(in, In::h0).size(1)}, dtype), op.empty_like(at(in, In::h0))};
  if (spec.cell == Cell::lstm) ys.push_back(op.empty_like(at(in, In::c0)));
  const std::int64_t keeps = kernels::kept_of(spec.cell) * hidden;
  const Tensor kept = recorded && keeps > 0 ? op.empty({steps, batch, keeps}, dtype) : Tensor();
  with_floating(dtype, [&]<class T>(T) {
    kernels::Recurrence<T> r = plan_of<T>(values, lengths, spec);
    r.y = elements<T>(at(ys, Out::y));
    r.kept = elements<T>(kept);
    T* const c = spec.cell == Cell::lstm ? elements<T>(at(ys, Out::c)) : nullptr;
    kernels::recurrent(r, elements<T>(at(ys, Out::h)), c);
  });
  return op.record_joint(std::move(ys), of<recurrent, recurrent_composed>(in, lengths, spec),
                         rule_for(spec.cell, at(in, In::b_hh).defined(), at(in, In::w_hr).defined()),
                         [in = std::vector<Saved>(in.begin(), in.end()), kept, lengths, spec](
                             const Tensors& dys, const Needs& needs, const Tensors& outputs) {
                           std::vector<bool> wanted;
                           for (std::size_t i = 0; i < input_count; ++i) wanted.push_back(needs[i]);
                           return recurrent_grad(Tensors(in.begin(), in.end()), dys, at(outputs, Out::y).detach(), kept,
                                                 lengths, spec, wanted, {});
                         });
}

// ---- checks

std::string sizes(std::int64_t a, std::int64_t b) { return Shape{a, b}.str(); }

void check_shape(const Op& op, const char* what, const Tensor& t, const Shape& fits, const char* other,
                 const Tensor& like) {
  op.check_same_dtype(like, t);
  if (t.shape() != fits)
    op.fail_shape(std::string(what) + " " + t.shape().str() + " must be " + fits.str() + " for " + other + " " +
                  like.shape().str());
}

/// [B] int64, a copy.
Tensor checked_lengths(const Op& op, const Tensor& lengths, std::int64_t steps, std::int64_t batch) {
  if (!lengths.defined()) return {};
  if (!is_integer(lengths.dtype()))
    op.fail_dtype(std::string("lengths must be integers, got ") + name_of(lengths.dtype()));
  if (lengths.shape() != Shape{batch})
    op.fail_shape("lengths " + lengths.shape().str() + " must be " + Shape{batch}.str());
  const std::vector<std::int64_t> values = lengths.to_vector<std::int64_t>();
  for (std::int64_t n : values)
    if (n < 0 || n > steps)
      op.fail_value("the length " + std::to_string(n) + " is not in [0, " + std::to_string(steps) + "]");
  return index_tensor(values);
}

enum class Form { sequence, step };  // x [T, B, gates] or [B, gates]

RecurrentResult run(const Op& op, Cell cell, Form form_of_x, const Tensor& x, const Tensor& h0, const Tensor& c0,
                    const Tensor& w_hh, const Tensor& b_hh, const Tensor& w_hr, const RecurrentCall& o) {
  const bool step = form_of_x == Form::step;
  op.check_floating(x);
  op.check_same_dtype(x, w_hh);
  const std::int64_t gates = kernels::gates_of(cell);
  const char* const form = cell == Cell::lstm ? "[4 H, P]" : cell == Cell::gru ? "[3 H, H]" : "[H, H]";
  if (w_hh.rank() != 2 || w_hh.size(0) < gates || w_hh.size(0) % gates != 0 || w_hh.size(1) < 1)
    op.fail_shape("w_hh " + w_hh.shape().str() + " must be " + form);
  const std::int64_t hidden = w_hh.size(0) / gates, state = w_hh.size(1);
  if (!w_hr.defined() && state != hidden)
    op.fail_shape("w_hh " + w_hh.shape().str() + " must be " + sizes(gates * hidden, hidden) +
                  (cell == Cell::lstm ? " where there is no w_hr" : ""));
  if (x.rank() != (step ? 2 : 3) || x.size(-1) != gates * hidden)
    op.fail_shape("x " + x.shape().str() + " must be " + (step ? "[B, " : "[T, B, ") + std::to_string(gates * hidden) +
                  "] for w_hh " + w_hh.shape().str());
  const std::int64_t batch = x.size(-2);
  if (b_hh.defined()) check_shape(op, "b_hh", b_hh, {gates * hidden}, "w_hh", w_hh);
  if (w_hr.defined()) check_shape(op, "w_hr", w_hr, {state, hidden}, "w_hh", w_hh);
  if (h0.defined()) check_shape(op, step ? "h" : "h0", h0, {batch, state}, "x", x);
  if (c0.defined()) check_shape(op, step ? "c" : "c0", c0, {batch, hidden}, "x", x);
  if (!(o.cell_clip >= 0 && o.projection_clip >= 0)) op.fail_value("clips must not be negative");
  if (o.cell_clip > 0 && cell != Cell::lstm) op.fail_value("cell_clip is for an lstm");
  if (o.projection_clip > 0 && !w_hr.defined()) op.fail_value("projection_clip needs w_hr");
  const Spec spec{cell, o.reverse, o.cell_clip, o.projection_clip};
  const bool has_cell = cell == Cell::lstm;
  const Tensors in{step ? unsqueeze(x, 0) : x,
                   h0.defined() ? h0 : zeros({batch, state}, x.dtype()),
                   has_cell && !c0.defined() ? zeros({batch, hidden}, x.dtype()) : c0,
                   w_hh,
                   b_hh,
                   w_hr};
  const Tensors out = recurrent(in, checked_lengths(op, o.lengths, step ? 1 : x.size(0), batch), spec, {});
  return {at(out, Out::y), at(out, Out::h), has_cell ? at(out, Out::c) : Tensor()};
}

Cell cell_of(const Op& op, Activation f) {
  if (f != Activation::tanh && f != Activation::relu) op.fail_value("the activation must be tanh or relu");
  return f == Activation::tanh ? Cell::tanh : Cell::relu;
}

}  // namespace

RecurrentResult lstm(const Tensor& x, const Tensor& h0, const Tensor& c0, const Tensor& w_hh, const Tensor& b_hh,
                     const Tensor& w_hr, const RecurrentCall& o, Here here) {
  const Op op{"lstm", here};
  return run(op, Cell::lstm, Form::sequence, x, h0, c0, w_hh, b_hh, w_hr, o);
}

RecurrentResult gru(const Tensor& x, const Tensor& h0, const Tensor& w_hh, const Tensor& b_hh, const RecurrentCall& o,
                    Here here) {
  const Op op{"gru", here};
  return run(op, Cell::gru, Form::sequence, x, h0, {}, w_hh, b_hh, {}, o);
}

RecurrentResult rnn(const Tensor& x, const Tensor& h0, const Tensor& w_hh, const Tensor& b_hh, Activation f,
                    const RecurrentCall& o, Here here) {
  const Op op{"rnn", here};
  return run(op, cell_of(op, f), Form::sequence, x, h0, {}, w_hh, b_hh, {}, o);
}

LstmState lstm_cell(const Tensor& x, const LstmState& state, const Tensor& w_hh, const Tensor& b_hh, const Tensor& w_hr,
                    const RecurrentCall& o, Here here) {
  const Op op{"lstm_cell", here};
  const RecurrentResult r = run(op, Cell::lstm, Form::step, x, state.h, state.c, w_hh, b_hh, w_hr, o);
  return {r.h, r.c};
}

Tensor gru_cell(const Tensor& x, const Tensor& h, const Tensor& w_hh, const Tensor& b_hh, Here here) {
  const Op op{"gru_cell", here};
  return run(op, Cell::gru, Form::step, x, h, {}, w_hh, b_hh, {}, {}).h;
}

Tensor rnn_cell(const Tensor& x, const Tensor& h, const Tensor& w_hh, const Tensor& b_hh, Activation f, Here here) {
  const Op op{"rnn_cell", here};
  return run(op, cell_of(op, f), Form::step, x, h, {}, w_hh, b_hh, {}, {}).h;
}

}  // namespace attune
