// Recurrent layers over whole sequences, forward and backward: a GEMM and one pointwise pass a step. T is
// float or double.
//
// Shapes: T steps, B sequences, H units, P = projected or H (the size of the state h), G gates, K kept values a unit.
#pragma once

#include "autograd/kernels/size.h"

namespace attune::kernels {

/// What a step computes. Gates lie side by side in a row: LSTM i, f, g, o; GRU r, z, n.
enum class Cell : std::uint8_t { tanh, relu, gru, lstm };

constexpr Size gates_of(Cell c) { return c == Cell::lstm ? 4 : c == Cell::gru ? 3 : 1; }
/// Values a unit that the backward pass wants: LSTM i, f, g, o, c, tanh(c); GRU r, z, n and the n part of h w^T + b.
constexpr Size kept_of(Cell c) { return c == Cell::lstm ? 6 : c == Cell::gru ? 4 : 0; }

template <class T>
struct Recurrence {
  Cell cell = Cell::tanh;
  Size steps = 0, batch = 0, hidden = 0;
  Size projected = 0;    // LSTM only: the size that h is projected to; 0: h is not projected
  bool reverse = false;  // from the last step to the first
  // [B]: steps from lengths[b] on leave the state alone and put out 0; null: none
  const std::int64_t* lengths = nullptr;
  T cell_clip = 0, projection_clip = 0;  // LSTM only: bounds of |c| and of the projected |h|; 0: none
  const T* x = nullptr;                  // [T, B, G H]: the projected inputs
  const T* h0 = nullptr;                 // [B, P]
  const T* c0 = nullptr;                 // [B, H], LSTM only
  const T* w_hh = nullptr;               // [G H, P]
  const T* b_hh = nullptr;               // [G H] or null
  const T* w_hr = nullptr;               // [P, H] if projected
  T* y = nullptr;                        // [T, B, P]; the backward pass reads it
  T* kept = nullptr;                     // [T, B, K H], or null if no backward pass will follow

  Size state() const { return projected != 0 ? projected : hidden; }
};

/// Fills y, kept and the last states h [B, P] and, for an LSTM, c [B, H].
template <class T>
void recurrent(const Recurrence<T>& r, T* h, T* c);

template <class T>
struct RecurrenceGrad {
  const T* dy = nullptr;  // [T, B, P]
  T* dx = nullptr;        // [T, B, G H]
  T* dh = nullptr;        // [B, P]: that of the last state, becomes that of h0
  T* dc = nullptr;        // [B, H]: likewise, LSTM only
  T* dw_hh = nullptr;     // as the weights; null if not wanted
  T* db_hh = nullptr;
  T* dw_hr = nullptr;
};

template <class T>
void recurrent_grad(const Recurrence<T>& r, const RecurrenceGrad<T>& g);

}  // namespace attune::kernels
