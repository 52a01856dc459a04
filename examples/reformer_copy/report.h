// What is shown at the end: tables and pictures.
#pragma once

#include "examples/reformer_copy/trainer.h"

namespace reformer_copy {

/// Accuracy when evaluated with 1, 2, 4, 8 hashes and full attention, and the memory used.
void print_evaluation(Trainer& trainer, const Options& o);

/// Loss and accuracy by step, and the attention of the first layer's first head with its buckets: PNG files in o.out,
/// their paths printed.
void draw_pictures(Trainer& trainer, const Options& o);

/// Trains with 1, 2 and 4 hashes and full attention and prints the accuracies beside the paper's Table 2. Returns false
/// where interrupted.
bool run_table(const Options& o);

}  // namespace reformer_copy
