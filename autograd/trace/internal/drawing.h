// What pictures share: how a program draws into a file, and how labels get into its scripts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/runtime/here.h"

namespace attune::detail {

/// UTF-8 without control characters: they, and bytes that are no UTF-8, as "\n" or "\x1b"; longer than `most`
/// characters, cut with "…".
std::string shown(const std::string& label, std::size_t most = 80);
/// A label as gnuplot's string: everything but letters and spaces by its code, so nothing in it means anything.
std::string gnuplot_string(const std::string& label, std::size_t most = 80);
/// A label as dot's string.
std::string dot_string(const std::string& label, std::size_t most = 80);
/// Aligned to `width` characters, not bytes; to the right if asked.
std::string padded(const std::string& label, std::size_t width, bool right = false);

/// "svg" or "png"; throws ValueError for any other ending.
std::string kind_of_picture(const std::string& path, Here here);

/// Draws into the file, as picture.h says: `command` is given `script` and writes the picture; on failure `text` goes
/// beside it.
bool draw(const std::string& path, const std::vector<std::string>& command, const std::string& script,
          const std::function<std::string()>& text, Here here);
/// The same by gnuplot.
bool draw_by_gnuplot(const std::string& path, int width, int height, const std::string& script,
                     const std::function<std::string()>& text, Here here);

}  // namespace attune::detail
