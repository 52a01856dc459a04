// A recording as the JSON of docs/trace.md, and back.
#pragma once

#include <string>

#include "autograd/trace/recording.h"

namespace attune {

/// The JSON, UTF-8, in one line. Equal recordings give equal text.
std::string trace_json(const Recording& recording);
/// The recording that `text` stands for, without the elements of its values: `whole` is undefined. Throws ValueError
/// that says what is wrong: not JSON, missing or wrong entries, numbers that point nowhere.
Recording recording_of_json(const std::string& text, Here here);

}  // namespace attune
