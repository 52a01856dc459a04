// The pointwise part of a recurrent step for one sequence, from one instruction set; recurrent.h says
// what they compute.
#pragma once

#include "autograd/kernels/size.h"

namespace attune::kernels {

template <class T>
struct CellRow {
  Size n;       // units
  const T* x;   // [G n] projected input
  const T* hw;  // [G n] h w^T + b
  T* h;         // [n] the new state; GRU: the old one before
  T* c;         // [n] LSTM: old, then new
  T* kept;      // [K n] or null
  T clip;       // of c, infinite for none
};

template <class T>
struct CellGradRow {
  Size n;
  const T* kept;  // [K n]
  const T* h;     // [n] GRU: the state before the step; tanh and relu: the one after
  const T* c;     // [n] LSTM: the cell before the step
  T* dh;          // [n] gradient of the new state, becomes what reaches the old one past the gates
  T* dc;          // [n] LSTM: of the new cell, becomes that of the old one
  T* dx;          // [G n] of x
  T* dhw;         // [G n] of hw; if the cell has it equal to dx, the same pointer
  T clip;
};

template <class T>
struct CellKernels {
  void (*step[4])(const CellRow<T>&);  // indexed by Cell
  void (*grad[4])(const CellGradRow<T>&);
};

/// Those of the best instruction set that the machine has.
template <class T>
const CellKernels<T>& cell_kernels();

}  // namespace attune::kernels
