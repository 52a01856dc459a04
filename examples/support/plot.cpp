#include "examples/support/plot.h"

#include <fmt/format.h>

#include <stdexcept>

#include "autograd/io/file.h"
#include "examples/support/filter.h"

namespace examples {

std::string data_block(const std::string& name, const std::vector<std::vector<double>>& rows) {
  std::string s = "$" + name + " << EOD\n";
  for (const auto& row : rows) {
    for (double v : row) s += fmt::format("{:.6g} ", v);
    s += "\n";
  }
  return s + "EOD\n";
}

bool draw(const std::string& path, int width, int height, const std::string& script, std::chrono::seconds limit) {
  try {
    const std::string picture = filter(
        "gnuplot", fmt::format("set terminal pngcairo size {},{} font 'DejaVu Sans,10'\n{}\n", width, height, script),
        limit);
    if (!picture.starts_with("\x89PNG")) throw std::runtime_error("gnuplot drew nothing");
    attune::io::write_text(path, picture);
    return true;
  } catch (const std::exception& e) {
    std::string reason = e.what();
    if (reason.starts_with(path + ": ")) reason.erase(0, path.size() + 2);
    fmt::print(stderr, "{}: this picture could not be drawn: {}\n", path, reason);
    return false;
  }
}

}  // namespace examples
