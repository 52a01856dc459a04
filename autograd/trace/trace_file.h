// Trace files: a recording as a safetensors file, which Python's readers open too. docs/trace.md has its form.
#pragma once

#include <string>

#include "autograd/io/file.h"
#include "autograd/trace/recording.h"

namespace attune {

/// Writes `recording` to `path`, all or not at all. Throws FileError.
void save_trace(const std::string& path, const Recording& recording, Here here = Here::current());

/// Reads it back. Everything is checked before it is used: throws FileError with the path and what is wrong for a file
/// that is no safetensors file, no trace, or one whose numbers point nowhere.
Recording load_trace(const std::string& path, Here here = Here::current());
Recording load_trace(const io::Input& file);

}  // namespace attune
