// A recording as one HTML file that needs nothing else: the tape, its graph, the passes' steps forwards and back.
#pragma once

#include <cstdint>
#include <string>

#include "autograd/runtime/here.h"
#include "autograd/trace/recording.h"

namespace attune {

struct PageOptions {
  /// What elements of values may take, before they become text. Summaries always fit; of whole values, what the view of
  /// attention draws comes first, then the smallest; the page says of the others that they are summarised.
  std::int64_t value_bytes = std::int64_t{9} << 19;
  bool graphs = true;  ///< laid out by Graphviz, if it is installed
};

/// The page. It asks for nothing from any network, and its content security policy forbids it to; texts of the
/// recording (names, sources) are data in it, never markup. docs/page.md says what it shows.
std::string page_html(const Recording& recording, const PageOptions& options = {});

/// Writes the page; the old file stays until the new one is whole. Throws FileError with the path and the reason.
void write_page(const std::string& path, const Recording& recording, const PageOptions& options = {},
                Here here = Here::current());

}  // namespace attune
