// Learning rate schedules: the factor on the base learning rate in step 1, 2, ... Each throws ValueError for numbers of
// steps out of range.
#pragma once

#include <cstdint>
#include <functional>

#include "autograd/runtime/here.h"

namespace attune::optim {

using Schedule = std::function<double(std::int64_t step)>;

/// Linear from 1/warmup to 1 in the first `warmup` steps, then 1.
Schedule warmup(std::int64_t warmup, Here here = Here::current());
/// Warm-up, then half a cosine down to `floor` at step `total`, and `floor` after it (Loshchilov and Hutter 2017).
Schedule cosine(std::int64_t total, std::int64_t warmup = 0, double floor = 0, Here here = Here::current());
/// Warm-up, then a line down to `floor` at step `total`, and `floor` after it.
Schedule linear(std::int64_t total, std::int64_t warmup = 0, double floor = 0, Here here = Here::current());
/// Warm-up, then sqrt(warmup / step).
Schedule inverse_sqrt(std::int64_t warmup, Here here = Here::current());
/// d_model^-1/2 min(step^-1/2, step warmup^-3/2), for a base learning rate of 1 (Vaswani et al. 2017, 5.3).
Schedule noam(std::int64_t d_model, std::int64_t warmup, Here here = Here::current());
/// gamma^floor((step - 1) / every).
Schedule step_decay(std::int64_t every, double gamma, Here here = Here::current());

}  // namespace attune::optim
