// Tasks of long sequences that are made, not read: whether attention finds what it needs, however far off.
#pragma once

#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune {
class Generator;
}

namespace examples {

/// Sequences and what is asked of them.
struct TaskBatch {
  attune::Tensor tokens;   ///< [b, n] int64
  attune::Tensor labels;   ///< [b, n] int64: what each position is to give; -100 where nothing is asked
  attune::Tensor padding;  ///< [b, n] bool, true hides; undefined without padding
};

/// The duplication task's `0 w 0 w` (Kitaev et al. 2020), n even, with each symbol of w drawn from 1..symbols: the
/// second w is asked for, a symbol at a time, each of the position before it.
TaskBatch twice(std::int64_t b, std::int64_t n, std::int64_t symbols, attune::Generator& g);

/// The share of the labels that logits [b, n, vocabulary] have right, off the tape.
double accuracy(const attune::Tensor& logits, const TaskBatch& x);

struct LongTask {
  const char* name;
  std::int64_t vocabulary;
  bool causal;  ///< a position may not see those behind it, which hold the answer
  TaskBatch (*draw)(std::int64_t b, std::int64_t n, attune::Generator& g);
};

/// duplication  the second w of twice(), a symbol at a time
/// listops      the values of nested expressions such as [MAX 2 [MIN 4 7 ] 0 ] (Nangia and Bowman 2018), each at its
///              end; the outermost one has room in at least half of the sequence, which it need not fill
/// retrieval    four marked symbols, somewhere among blanks; the last eighth of the sequence asks for them, at random
///
/// n is even and at least 16.
const std::vector<LongTask>& long_tasks();

}  // namespace examples
