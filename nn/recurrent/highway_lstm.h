// LSTMs with highway connections between their layers (Zhang et al. 2016; He et al. 2017).
#pragma once

#include "autograd/ops/recurrent.h"
#include "nn/layers/dropout.h"
#include "nn/layers/linear.h"

namespace attune::nn {

struct HighwayLstmOptions {
  std::int64_t layers = 1;
  bool highway = true;  ///< false: plain LSTM cells
  double dropout = 0;   ///< of each layer's output but the last one's, while training
  Generator* generator = nullptr;
};

/// A bidirectional LSTM whose outputs may carry a layer's input through: with o tanh(c) as a cell's own output,
/// h = r o tanh(c) + (1 - r) W x and r = sigmoid(U x + V h' + b), where h' is the state before; h is also the state
/// that goes on. Both directions of a layer read both of the layer below. A layer's input weights are the rows of one
/// matrix, in the order input, forget, memory, output, r, W. Parameters carry AllenNLP's names. Cells start orthogonal,
/// gate by gate, with forget biases of 1.
///
/// x is [B, T, in]; `lengths` [B] are the steps of padded sequences, in [0, T]: padding puts out zeros, and leaves the
/// state. A result's output is [B, T, 2 hidden], forward, then backward; h and c are [2 layers, B, hidden]: layer 0
/// forward, layer 0 backward, ... Initial states are of that shape; undefined ones are zeros. Constructors throw
/// ValueError for sizes below 1; calls throw ShapeError, DTypeError and, for lengths, ValueError.
class HighwayLSTM : public Module {
 public:
  using Options = HighwayLstmOptions;
  HighwayLSTM(std::int64_t in, std::int64_t hidden, const HighwayLstmOptions& options = {},
              Here here = Here::current());
  RecurrentResult operator()(const Tensor& x, const LstmState& initial = {}, const Tensor& lengths = {},
                             Here here = Here::current()) const;

 private:
  struct Cell {
    Linear *input, *state;
  };
  /// x [T, B, in] to the output [T, B, hidden].
  RecurrentResult one_way(const Tensor& x, LstmState state, const Cell& cell, bool reverse,
                          const Tensor& lengths) const;

  std::int64_t in_, hidden_;
  bool has_highway_;
  std::vector<Cell> cells_;  // layer 0 forward, layer 0 backward, ...
  Dropout* dropout_ = nullptr;
};

namespace detail {
/// LSTM cells as published: each gate's rows [hidden, ..] of all matrices orthogonal, biases zero but the forget gate's
/// 1.
void start_lstm_cell(const Linear& input, const Linear& state, std::int64_t hidden);
/// Steps [T, B, ..] with zeros where padding is, which may hold anything.
Tensor without_padding(const Tensor& x, const Tensor& lengths);
}  // namespace detail

}  // namespace attune::nn
