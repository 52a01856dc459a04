#include "examples/support/plot.h"

#include <fmt/format.h>

#include <cstdio>

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
  FILE* pipe = popen("gnuplot 2>&1", "w");
  bool ok = pipe != nullptr;
  if (ok) {
    std::string quoted;
    for (char c : path) quoted += c == '\'' ? std::string("''") : std::string(1, c);
    fmt::print(pipe, "set terminal pngcairo size {},{} font 'DejaVu Sans,10'\nset output '{}'\n{}\nset output\n", width,
               height, quoted, script);
    ok = pclose(pipe) == 0;
  }
  if (!ok) fmt::print(stderr, "{}: gnuplot could not draw this picture (is gnuplot installed?)\n", path);
  return ok;
}

}  // namespace examples
