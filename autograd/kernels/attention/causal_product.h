// Products of queries, keys and values under a triangle, in time and memory linear in the length: what causal linear
// attention is made of.
#pragma once

#include "autograd/kernels/attention/heads.h"

namespace attune::kernels {

struct CausalPlan {
  Size batch = 0, heads = 0, length = 0;
  Size features = 0;     ///< of queries and keys
  Size values = 0;       ///< size of a value
  bool reverse = false;  ///< from the end: query i sees keys j >= i
};

/// out_i = sum of (q_i . k_j) v_j over j <= i, or j >= i if `reverse`. A chunk of positions at a time, within which the
/// products of queries and keys are made; what lies before it is one matrix [features, values], the sum of its k_j^T
/// v_j. The order of sums depends on the plan alone, but where something is not finite: there, factors of 0 (of a
/// query, key or value) leave out what they meet, so that what a query does not see has no influence on it, not even
/// NaN, and its last bits may differ from those beside finite numbers. T is float or double.
template <class T>
void causal_product(const CausalPlan& plan, Heads<const T> q, Heads<const T> k, Heads<const T> v, Heads<T> out);

}  // namespace attune::kernels
