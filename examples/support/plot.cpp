#include "examples/support/plot.h"

#include <fmt/format.h>

#include "autograd/runtime/error.h"
#include "autograd/trace/picture.h"

namespace examples {

std::string data_block(const std::string& name, const std::vector<std::vector<double>>& rows) {
  std::string s = "$" + name + " << EOD\n";
  for (const auto& row : rows) {
    for (double v : row) s += fmt::format("{:.6g} ", v);
    s += "\n";
  }
  return s + "EOD\n";
}

bool draw(const std::string& path, int width, int height, const std::string& script) {
  try {
    return attune::picture::gnuplot(path, width, height, script, {});
  } catch (const attune::Error& e) {
    std::string reason = e.what();
    if (reason.starts_with(path + ": ")) reason.erase(0, path.size() + 2);
    fmt::print(stderr, "{}: this picture could not be drawn: {}\n", path, reason);
    return false;
  }
}

}  // namespace examples
