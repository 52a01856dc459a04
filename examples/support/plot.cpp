#include "examples/support/plot.h"

#include <fmt/format.h>

#include <algorithm>

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

std::string data_block(const std::string& name, const attune::Tensor& matrix) {
  const std::vector<double> values = matrix.detach().to_vector<double>();
  std::vector<std::vector<double>> rows(static_cast<std::size_t>(matrix.size(0)));
  const std::size_t columns = rows.empty() ? 0 : values.size() / rows.size();
  for (std::size_t i = 0; i < values.size(); ++i) rows[i / columns].push_back(values[i]);
  return data_block(name, rows);
}

std::vector<std::vector<double>> averaged(const attune::nn::Series& series, std::size_t parts) {
  const std::size_t width = std::max<std::size_t>(1, series.size() / parts);
  std::vector<std::vector<double>> rows;
  for (std::size_t i = 0; i < series.size(); i += width) {
    const std::size_t end = std::min(i + width, series.size());
    double sum = 0;
    for (std::size_t j = i; j < end; ++j) sum += series[j].second;
    rows.push_back({static_cast<double>(series[end - 1].first), sum / static_cast<double>(end - i)});
  }
  return rows;
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
