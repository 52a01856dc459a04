// What is shown at the end: tables and pictures.
#pragma once

#include "examples/reformer_copy/trainer.h"

namespace reformer_copy {

/// Accuracy when evaluated with 1, 2, 4, 8 hashes and full attention. Returns false if Ctrl-C came first.
bool print_evaluation(Trainer& trainer, const Options& o);

/// Loss and accuracy by step, and the attention of the first layer's first head with its buckets: PNG files in o.out,
/// their paths printed.
void draw_pictures(Trainer& trainer, const Options& o);

/// The options of the table's rows: full attention, then 4, 2 and 1 hashes.
std::vector<Options> table_runs(const Options& o);
/// Trains each row (with o.resume from its checkpoint, if there is one) and prints the accuracies beside the paper's
/// Table 2. Returns false, having said where it stopped, if Ctrl-C came first.
bool run_table(const Options& o);

}  // namespace reformer_copy
