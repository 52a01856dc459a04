// The form of heads, for attention that projects its own.
#pragma once

#include <cstdint>

namespace attune::nn {

struct HeadOptions {
  std::int64_t head_dim = 0;  ///< 0: d_model / heads, which must then be whole
  /// A linear map from the joined heads to d_model; otherwise the joined heads are the output.
  bool project_output = true;
};

}  // namespace attune::nn
