// The data blocks of a page: docs/page.md has their form.
#pragma once

#include <string>

#include "autograd/trace/internal/page_text.h"
#include "autograd/trace/page.h"

namespace attune::page {

struct PageData {
  std::string json;    ///< '<' is written as an escape: it can stand in a script element
  std::string graphs;  ///< JSON of its own, read when a graph is looked at
  std::string values;  ///< base64 of the elements, little-endian; each value begins at a new group of four characters
  std::string stats;   ///< base64 of mean, std, norm as float64, for values that are not single elements
};

PageData page_data(const Recording& recording, const PageOptions& options);

// Its parts.

/// The JSON of the values; their elements and statistics go to `data`.
std::string values_json(const Recording& recording, const PageOptions& options, Texts& texts, PageData& data);
/// The graphs of all passes, laid out in one run of the tool; whether it ran.
bool add_graphs(const Recording& recording, const PageOptions& options, PageData& data);
/// `text` in base64, padded with zero bytes to whole groups of three.
void append_base64(std::string& to, const void* bytes, std::size_t size);

}  // namespace attune::page
