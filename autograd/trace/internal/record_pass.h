// One traced pass as a RecordedPass.
#pragma once

#include <string>

#include "autograd/trace/internal/source.h"
#include "autograd/trace/internal/values.h"
#include "autograd/trace/labels.h"

namespace attune {

struct PassOptions {
  bool sources = true;
  std::int64_t largest_parts = 0;  ///< 0: no composed forms
  double check_seconds = 0;        ///< 0: no rule is compared with finite differences
};

/// Nodes and steps of the traced pass that ran from root last, its tensors among `values`, the lines of its call sites
/// and the composed forms of its fused nodes in `recording`. Its number, site and error are the caller's.
RecordedPass record_pass(const Labels& labels, const Tensor& root, Values& values, Recording& recording,
                         const PassOptions& options);

/// Keeps what "NAME[0, :4]" names: part of the output of the last node of that label, or of that module. Throws
/// ValueError for text of another form; a name that is not there is none of this pass's.
void keep_slice(const std::string& wanted, const RecordedPass& pass, Values& values, Here here);

}  // namespace attune
