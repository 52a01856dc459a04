// Recurrent networks: stacked layers of LSTM, GRU and plain cells over sequences, one or both ways. Parameters carry
// PyTorch's names and start from U(-1/sqrt(H), 1/sqrt(H)).
//
// Letters: T steps, B sequences, I inputs, H units, P the size of an output (H, or proj_size), L layers, D directions
// (1 or 2).
#pragma once

#include "autograd/ops/recurrent.h"
#include "nn/layers/dropout.h"

namespace attune::nn {

struct RecurrentOptions {
  std::int64_t layers = 1;
  Activation activation = Activation::tanh;  ///< or relu; an RNN's
  bool bias = true;
  bool batch_first = false;  ///< sequences are [B, T, ...] instead of [T, B, ...]; states are the same either way
  double dropout = 0;        ///< of each layer's output but the last one's, while training
  bool bidirectional = false;
  std::int64_t proj_size = 0;      ///< an LSTM's: h is projected to this size, below H (Sak et al. 2014); 0: not
  double cell_clip = 0;            ///< an LSTM's: bounds |c|; 0: not
  double projection_clip = 0;      ///< an LSTM's: bounds the projected |h|; 0: not
  Generator* generator = nullptr;  ///< of the dropout; null: the default one
};

/// What a recurrent network keeps from step to step while it decodes: undefined before the first, which is zeros.
struct RecurrentState {
  Tensor h;  ///< [L, B, P]
  Tensor c;  ///< [L, B, H]; an LSTM's
  /// Row i becomes what row rows[i] was: rows [B'] int64. Throws IndexError for a row that is not there.
  void reorder(const Tensor& rows, Here here = Here::current());
  void reserve(std::int64_t /*tokens*/) {}  ///< it does not grow
};

/// What LSTM, GRU and RNN share. x is [T, B, I] (or batch_first), or [T, I] for one sequence, which takes the B out of
/// all shapes. Undefined initial states are zeros. `lengths` [B] are the steps of padded sequences, in [0, T] and in
/// any order: padding puts out zeros, the last state is that of a sequence's own last step, and the backward direction
/// begins there.
///
/// A result's output is [T, B, D P] (or batch_first) of the last layer, forward, then backward; h is [L D, B, P], the
/// last states of layer 0 forward, layer 0 backward, layer 1 forward, ...; an LSTM's c is [L D, B, H]. step() is one
/// step, for decoding: x [B, I], output [B, P]; it throws ValueError if the network is bidirectional.
///
/// Constructors throw ValueError for options out of range or of another kind of network; calls throw ShapeError,
/// DTypeError and, for lengths, ValueError.
class RecurrentNet : public Module {
 public:
  using Options = RecurrentOptions;
  using State = RecurrentState;

  State start() const { return {}; }
  /// The outputs [B, T, P] (or as batch_first says) of the next T steps x [B, T, I], or [B, P] of one step [B, I]; the
  /// state goes on. Throws ValueError if the network is bidirectional.
  Tensor step(const Tensor& x, State& state, Here here = Here::current()) const;

 protected:
  enum class Cell : std::uint8_t { rnn, gru, lstm };
  /// `name` is a literal.
  RecurrentNet(const char* name, Cell cell, std::int64_t in, std::int64_t hidden, const RecurrentOptions& options,
               Here here);
  RecurrentResult run(const Tensor& x, const LstmState& initial, const Tensor& lengths, Here here) const;
  RecurrentResult run_step(const Tensor& x, const LstmState& state, Here here) const;

 private:
  struct Weights {
    Parameter *w_ih, *w_hh, *b_ih, *b_hh, *w_hr;
  };
  RecurrentResult one_way(const Tensor& x, const LstmState& initial, const Weights& w, const RecurrentCall& call) const;

  const char* name_;
  Cell cell_;
  std::int64_t in_, hidden_;
  RecurrentOptions options_;
  std::int64_t ways_, out_;       // D, P
  std::vector<Weights> weights_;  // [L D]
  Dropout* dropout_ = nullptr;
};

/// Long short-term memory (Hochreiter and Schmidhuber 1997).
///
///     nn::LSTM lstm(64, 128, {.layers = 2, .batch_first = true});
///     RecurrentResult r = lstm(x, {}, lengths);     // x [B, T, 64], lengths [B] int64
///     r.output;                                     // [B, T, 128]; r.h and r.c are the last states
class LSTM : public RecurrentNet {
 public:
  LSTM(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options = {}, Here here = Here::current())
      : RecurrentNet("LSTM", Cell::lstm, in, hidden, options, here) {}
  /// initial.h [L D, B, P], initial.c [L D, B, H].
  RecurrentResult operator()(const Tensor& x, const LstmState& initial = {}, const Tensor& lengths = {},
                             Here here = Here::current()) const {
    return run(x, initial, lengths, here);
  }
  using RecurrentNet::step;
  RecurrentResult step(const Tensor& x, const LstmState& state = {}, Here here = Here::current()) const {
    return run_step(x, state, here);
  }
};

/// Gated recurrent units (Cho et al. 2014), with the reset gate behind the product, as PyTorch has them.
class GRU : public RecurrentNet {
 public:
  GRU(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options = {}, Here here = Here::current())
      : RecurrentNet("GRU", Cell::gru, in, hidden, options, here) {}
  /// h0 [L D, B, H].
  RecurrentResult operator()(const Tensor& x, const Tensor& h0 = {}, const Tensor& lengths = {},
                             Here here = Here::current()) const {
    return run(x, {h0, {}}, lengths, here);
  }
  using RecurrentNet::step;
  RecurrentResult step(const Tensor& x, const Tensor& h = {}, Here here = Here::current()) const {
    return run_step(x, {h, {}}, here);
  }
};

/// Plain recurrence: h = activation(W x + b + U h + c).
class RNN : public RecurrentNet {
 public:
  RNN(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options = {}, Here here = Here::current())
      : RecurrentNet("RNN", Cell::rnn, in, hidden, options, here) {}
  /// h0 [L D, B, H].
  RecurrentResult operator()(const Tensor& x, const Tensor& h0 = {}, const Tensor& lengths = {},
                             Here here = Here::current()) const {
    return run(x, {h0, {}}, lengths, here);
  }
  using RecurrentNet::step;
  RecurrentResult step(const Tensor& x, const Tensor& h = {}, Here here = Here::current()) const {
    return run_step(x, {h, {}}, here);
  }
};

struct CellOptions {
  bool bias = true;
};

/// The parameters weight_ih [G H, I], weight_hh [G H, H], bias_ih and bias_hh [G H] of a single cell.
class RecurrentCell : public Module {
 public:
  using Options = CellOptions;

 protected:
  RecurrentCell(const char* name, std::int64_t gates, std::int64_t in, std::int64_t hidden, bool bias, Here here);
  /// x [B, I] or [I] projected to [B, G H], and a state [B, H] or [H] to match; throws ShapeError.
  Tensor projected(const Tensor& x, Here here) const;
  Tensor batched(const char* what, const Tensor& state, const Tensor& x) const;

  const char* name_;
  Parameter &weight_ih_, &weight_hh_;
  Parameter *bias_ih_ = nullptr, *bias_hh_ = nullptr;
};

/// One step of a cell: x [B, I] or [I], states [B, H] or [H], zeros if undefined.
class LSTMCell : public RecurrentCell {
 public:
  LSTMCell(std::int64_t in, std::int64_t hidden, const CellOptions& options = {}, Here here = Here::current());
  LstmState operator()(const Tensor& x, const LstmState& state = {}, Here here = Here::current()) const;
};
/// One step of a GRU.
class GRUCell : public RecurrentCell {
 public:
  GRUCell(std::int64_t in, std::int64_t hidden, const CellOptions& options = {}, Here here = Here::current());
  Tensor operator()(const Tensor& x, const Tensor& h = {}, Here here = Here::current()) const;
};
/// One step of a plain recurrence.
class RNNCell : public RecurrentCell {
 public:
  RNNCell(std::int64_t in, std::int64_t hidden, Activation activation = Activation::tanh,
          const CellOptions& options = {}, Here here = Here::current());
  Tensor operator()(const Tensor& x, const Tensor& h = {}, Here here = Here::current()) const;

 private:
  Activation activation_;
};

}  // namespace attune::nn
