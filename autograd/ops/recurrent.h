// Recurrent layers: LSTM (Hochreiter and Schmidhuber 1997, with forget gates), GRU (Cho et al. 2014) and plain networks
// (Elman 1990), a whole sequence as one operation. Formulas and gate order are PyTorch's.
//
// Letters: T steps, B sequences, H units, P the size of the state h (H unless projected), G gates. Inputs come
// projected, x = input w_ih^T + b_ih for all steps at once; w_hh is [G H, P], b_hh [G H] or undefined.
#pragma once

#include "autograd/runtime/activation.h"
#include "autograd/tensor/tensor.h"

namespace attune {

struct RecurrentCall {
  bool reverse = false;  ///< from the last step to the first; outputs stay where their inputs are
  /// [B] integers in [0, T], or undefined. Steps from lengths[b] on are padding: they leave the state as it is, put
  /// out zeros and have no influence, not even if they hold NaN. A reversed pass thus begins at step lengths[b] - 1.
  Tensor lengths{};
  double cell_clip = 0;        ///< LSTM: c is clipped to [-cell_clip, cell_clip]; 0: not at all
  double projection_clip = 0;  ///< LSTM with w_hr: likewise h
};

struct RecurrentResult {
  Tensor output;  ///< [T, B, P]: h after each step
  Tensor h;       ///< [B, P]: h after the last step
  Tensor c;       ///< [B, H]: the cell after the last step; undefined but for an LSTM
};

/// i, f, o = sigmoid, g = tanh of the gates x_t + h w_hh^T + b_hh (rows in the order i, f, g, o), c = f c + i g,
/// h = o tanh(c), projected if w_hr [P, H] is defined (Sak et al. 2014). x [T, B, 4 H], h0 [B, P], c0 [B, H]; either
/// may be undefined: zeros.
/// All three throw ShapeError if the shapes do not fit, DTypeError unless all are the same floating dtype (lengths
/// integer), ValueError for a length outside [0, T] and clips that do not fit.
RecurrentResult lstm(const Tensor& x, const Tensor& h0, const Tensor& c0, const Tensor& w_hh, const Tensor& b_hh = {},
                     const Tensor& w_hr = {}, const RecurrentCall& call = {}, Here here = Here::current());
/// r, z = sigmoid(x + h w^T + b), n = tanh(x_n + r (h w_n^T + b_n)), h = (1 - z) n + z h; rows in the order r, z, n.
/// x [T, B, 3 H], h0 [B, H] or undefined.
RecurrentResult gru(const Tensor& x, const Tensor& h0, const Tensor& w_hh, const Tensor& b_hh = {},
                    const RecurrentCall& call = {}, Here here = Here::current());
/// h = f(x + h w_hh^T + b_hh), f tanh or relu (ValueError for any other). x [T, B, H], h0 [B, H] or undefined.
RecurrentResult rnn(const Tensor& x, const Tensor& h0, const Tensor& w_hh, const Tensor& b_hh = {},
                    Activation f = Activation::tanh, const RecurrentCall& call = {}, Here here = Here::current());

struct LstmState {
  Tensor h;  ///< [B, P]
  Tensor c;  ///< [B, H]
};

/// One step, for decoding: x [B, G H], the states [B, ...] or undefined. The same numbers as a sequence of one step.
LstmState lstm_cell(const Tensor& x, const LstmState& state, const Tensor& w_hh, const Tensor& b_hh = {},
                    const Tensor& w_hr = {}, const RecurrentCall& call = {}, Here here = Here::current());
Tensor gru_cell(const Tensor& x, const Tensor& h, const Tensor& w_hh, const Tensor& b_hh = {},
                Here here = Here::current());
Tensor rnn_cell(const Tensor& x, const Tensor& h, const Tensor& w_hh, const Tensor& b_hh = {},
                Activation f = Activation::tanh, Here here = Here::current());

}  // namespace attune
