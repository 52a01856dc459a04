// A recording as the JSON of docs/trace.md, and back.
#pragma once

#include <functional>
#include <string>

#include "autograd/trace/recording.h"

namespace attune {

/// The JSON, UTF-8, in one line. Equal recordings give equal text.
std::string trace_json(const Recording& recording);

/// Finds the elements of a value: "v3", or "v3[0, :4]" of a part, for a value of this dtype and (whole) shape.
using FindTensor = std::function<Tensor(const std::string& name, const RecordedValue& value, bool part)>;
/// The recording that `text` stands for. Throws ValueError that says what is wrong: not JSON, missing or wrong entries,
/// numbers that point nowhere.
Recording recording_of_json(const std::string& text, const FindTensor& find);

}  // namespace attune
