// Exact attention of few queries, as a decoder has them: a tile of 64 columns would be nearly empty, and time is that
// of reading keys and values. They are read once, in the order in which they lie in memory, for all heads and all
// queries of an example; parts of the keys go to different threads, and which parts depends on the shape alone.
#pragma once

#include <vector>

#include "autograd/kernels/attention/attention.h"

namespace attune::kernels {

/// Whether attention() is for attention_of_few().
template <class T>
bool has_few_queries(const AttentionPlan<T>& plan);

/// As attention(). False in the result, [b h t], for queries whose output is not finite even without what has weight 0:
/// that is for others to say.
template <class T>
std::vector<bool> attention_of_few(const AttentionPlan<T>& plan, Heads<T> out, AttentionSums<T> sums);

}  // namespace attune::kernels
