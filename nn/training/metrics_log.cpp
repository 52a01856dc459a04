#include "nn/training/metrics_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "autograd/io/file.h"
#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"

namespace attune::nn {

namespace {

constexpr std::string_view first_columns = "step,seconds";
constexpr std::int64_t most_bytes = std::int64_t{1} << 32;

bool is_name(const std::string& s) {
  const auto fits = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("_-/. ").find(static_cast<char>(c)) != std::string_view::npos;
  };
  return !s.empty() && s != "step" && s != "seconds" && std::all_of(s.begin(), s.end(), fits);
}

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells(1);
  for (const char c : line)
    if (c == ',')
      cells.emplace_back();
    else
      cells.back() += c;
  return cells;
}

}  // namespace

void MetricsLog::open(const std::string& csv_path, const std::string& event_path, std::int64_t last_step, Here here) {
  csv_path_ = csv_path;
  event_path_ = event_path;
  if (!csv_path.empty()) write_csv(last_step, here);
  if (!event_path.empty()) events_ = std::make_unique<EventFile>(event_path, last_step, here);
}

/// What the file that is there has up to last_step, under the columns of now.
void MetricsLog::write_csv(std::int64_t last_step, Here here) {
  std::string rows;
  if (last_step >= 0 && std::filesystem::exists(csv_path_)) {
    std::istringstream file(io::read_text(csv_path_, most_bytes, here));
    std::string line;
    std::getline(file, line);
    if (!line.starts_with(first_columns)) throw FileError(csv_path_ + ": is there and is no log of a run", here);
    std::vector<std::string> columns = cells_of(line);
    columns.erase(columns.begin(), columns.begin() + 2);
    std::vector<std::string> all = columns;  // in the file's order, then what is new
    for (const std::string& name : columns_)
      if (std::find(all.begin(), all.end(), name) == all.end()) all.push_back(name);
    columns_ = all;
    while (std::getline(file, line) && !file.eof()) {  // a last line without an end was cut off
      const std::vector<std::string> cells = cells_of(line);
      if (cells.size() != columns.size() + 2 || std::atoll(cells[0].c_str()) > last_step) break;
      rows += line + std::string(columns_.size() - columns.size(), ',') + "\n";
    }
  }
  std::string header(first_columns);
  for (const std::string& name : columns_) header += "," + name;
  io::write_text(csv_path_, header + "\n" + rows, here);
}

void MetricsLog::add(const Metrics& metrics, Here here) {
  for (const auto& [name, value] : metrics) {
    if (!is_name(name))
      throw ValueError("log: \"" + name + "\" is no name of a metric: letters, digits and \"_-/. \" make one", here);
    for (const auto& [other, there] : now_)
      if (other == name) throw ValueError("log: \"" + name + "\" has a value in this step already", here);
    now_.emplace_back(name, value);
  }
}

void MetricsLog::end_step(std::int64_t step, double seconds) {
  bool grown = false;
  for (const auto& [name, value] : now_) {
    series_[name].emplace_back(step, value);
    if (std::find(columns_.begin(), columns_.end(), name) != columns_.end()) continue;
    columns_.push_back(name);
    grown = true;
  }
  if (!csv_path_.empty()) {
    std::string line = fmt::format("{},{:.3f}", step, seconds);
    for (const std::string& name : columns_) {
      line += ",";
      for (const auto& [other, value] : now_)
        if (other == name) line += fmt::format("{}", value);
    }
    line += "\n";
    try {
      if (grown) write_csv(step - 1, {});
      append(line);
    } catch (const FileError&) {
      complain(csv_path_);
    }
  }
  if (events_ && !now_.empty() && !events_->add(step, now_)) complain(event_path_);
  now_.clear();
}

/// A line, or nothing: what half of one leaves would be read with the next.
void MetricsLog::append(const std::string& line) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(csv_path_, error);
  std::FILE* file = std::fopen(csv_path_.c_str(), "ab");
  bool whole = file && std::fwrite(line.data(), 1, line.size(), file) == line.size();
  whole = file && std::fclose(file) == 0 && whole;
  if (whole) return;
  if (!error) std::filesystem::resize_file(csv_path_, size, error);
  complain(csv_path_);
}

void MetricsLog::complain(const std::string& path) {
  if (!complained_) std::fprintf(stderr, "%s: could not be written; the run goes on\n", path.c_str());
  complained_ = true;
}

const Series& MetricsLog::series(const std::string& name) const {
  static const Series none;
  const auto at = series_.find(name);
  return at == series_.end() ? none : at->second;
}

StateDict MetricsLog::state_dict() const {
  StateDict state;
  for (const auto& [name, series] : series_) {
    std::vector<double> values;
    for (const auto& [step, value] : series) values.insert(values.end(), {static_cast<double>(step), value});
    state[name] = tensor(values, {static_cast<std::int64_t>(series.size()), 2}, DType::float64);
  }
  return state;
}

void MetricsLog::load_state_dict(const StateDict& state, Here here) {
  std::map<std::string, Series> loaded;
  for (const auto& [name, values] : state) {
    if (!is_name(name) || values.dtype() != DType::float64 || values.rank() != 2 || values.size(1) != 2)
      throw ValueError("metrics: \"" + name + "\" is no series of steps and values [n, 2]", here);
    const std::vector<double> v = values.to_vector<double>();
    Series& series = loaded[name];
    for (std::size_t i = 0; i < v.size(); i += 2) {
      if (!(v[i] >= 1 && v[i] <= 0x1p53) || (!series.empty() && static_cast<double>(series.back().first) >= v[i]))
        throw ValueError("metrics: \"" + name + "\" has steps out of order", here);
      series.emplace_back(static_cast<std::int64_t>(v[i]), v[i + 1]);
    }
  }
  series_ = std::move(loaded);
  for (const auto& [name, series] : series_)
    if (std::find(columns_.begin(), columns_.end(), name) == columns_.end()) columns_.push_back(name);
  now_.clear();
}

}  // namespace attune::nn
