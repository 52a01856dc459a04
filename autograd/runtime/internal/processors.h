// How many processors this process may use.
#pragma once

#include <string>

namespace attune::detail {

/// The processors that this thread may run on, but no more than the control group's share of time pays for; at least 1.
int usable_processors();

/// Whole processors that a control group's quota allows, rounded up: "200000 100000" (the file cpu.max) is 2;
/// 0 if it sets no bound or is not understood.
int processors_in_quota(const std::string& quota_and_period);

}  // namespace attune::detail
