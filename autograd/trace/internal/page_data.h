// The data blocks of a page: docs/page.md has their form.
#pragma once

#include <string>

#include "autograd/trace/page.h"

namespace attune {

struct PageData {
  std::string json;    ///< '<' is written as an escape: it can stand in a script element
  std::string values;  ///< base64 of the elements, little-endian; each value begins at a new group of four characters
  std::string stats;   ///< base64 of mean, std, norm as float64, for values that are not single elements
};

PageData page_data(const Recording& recording, const PageOptions& options);

/// `text` in base64, padded with zero bytes to whole groups of three.
void append_base64(std::string& to, const void* bytes, std::size_t size);

}  // namespace attune
