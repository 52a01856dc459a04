// Time and memory of attention against length, width and depth: exact, local and LSH self-attention layers forward and
// backward, and a Reformer with reversible and with ordinary layers. Prints a table and the fitted exponents (t ~ n^e,
// least squares on logarithms, from 1024 tokens up, where fixed costs no longer show), and draws both on log axes.
//
// Memory is the pool's peak during a step over what was live before it; a Reformer's is less its parameters' gradients,
// all of which exist by the end of the backward pass, where the peak of a reversible one lies.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>

#include "autograd/autograd.h"
#include "examples/support/plot.h"
#include "nn/nn.h"

using namespace attune;

namespace {

constexpr std::int64_t chunk = 64;

struct Cost {
  double seconds = 0, bytes = 0;
};

/// The quickest of `repeats` runs after a first one, and the memory of the last.
Cost cost_of(const std::function<void()>& step, int repeats) {
  using clock = std::chrono::steady_clock;
  step();
  Cost c{.seconds = 1e30};
  for (int i = 0; i < repeats; ++i) {
    reset_peak_memory();
    const std::int64_t live = memory_stats().live_bytes;
    const auto begin = clock::now();
    step();
    c.seconds = std::min(c.seconds, std::chrono::duration<double>(clock::now() - begin).count());
    c.bytes = static_cast<double>(memory_stats().peak_bytes - live);
  }
  return c;
}

// ---- what is measured: series of (size, cost)

using Series = std::vector<std::pair<std::int64_t, Cost>>;
using Chart = std::map<std::string, Series>;  // by name

/// Rows of "part name size milliseconds megabytes".
void add(Chart& chart, const std::string& part, const std::string& name, std::int64_t size, const Cost& c) {
  chart[name].emplace_back(size, c);
  fmt::print("{:7} {:10} {:6} {:10.2f} ms {:9.2f} MB\n", part, name, size, 1e3 * c.seconds, 1e-6 * c.bytes);
  std::fflush(stdout);
}

Cost layer_cost(const std::string& kind, std::int64_t n, std::int64_t d) {
  const std::int64_t heads = std::max<std::int64_t>(1, d / 64);
  const Tensor dy = randn({1, n, d});
  Tensor x = randn({1, n, d}).requires_grad_();
  const auto measure = [&](nn::Module& layer, const std::function<Tensor()>& call) {
    const auto step = [&] {
      call().backward({.gradient = dy});
      layer.zero_grad();
      x.zero_grad();
    };
    return cost_of(step, n * d <= 1024 * 256 ? 5 : 2);
  };
  if (kind == "exact") {
    nn::MultiheadAttention layer(d, heads);
    return measure(layer, [&] { return layer(x, {.causal = true}).output; });
  }
  if (kind == "local") {
    nn::LocalSelfAttention layer(d, heads, {.chunk = chunk});
    return measure(layer, [&] { return layer(x); });
  }
  nn::LshSelfAttention layer(d, heads, {.hashes = 4, .chunk = chunk, .bucket_count = BucketCount::power_of_two});
  return measure(layer, [&] { return layer(x).output; });
}

Cost reformer_cost(bool reversible, std::int64_t depth, std::int64_t n) {
  const std::int64_t rows = n / chunk;
  nn::Reformer model({.vocabulary = 64,
                      .layers = std::vector<nn::ReformerAttention>(static_cast<std::size_t>(depth)),
                      .lsh = {.hashes = 1, .chunk = chunk, .bucket_count = BucketCount::power_of_two},
                      .axial_rows = rows,
                      .axial_columns = chunk,
                      .reversible = reversible});
  const Tensor tokens = randint(0, 64, {1, n});
  Cost c = cost_of(
      [&] {
        model.loss(model(tokens), tokens).backward();
        model.zero_grad();
      },
      1);
  c.bytes -= static_cast<double>(model.parameter_count()) * sizeof(float);
  return c;
}

// ---- fits and pictures

/// e of cost ~ size^e over sizes from `from` up; NaN for fewer than two.
double exponent(const Series& series, std::int64_t from, double Cost::*part) {
  double k = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (const auto& [size, cost] : series) {
    if (size < from) continue;
    const double x = std::log(static_cast<double>(size)), y = std::log(cost.*part);
    k += 1, sx += x, sy += y, sxx += x * x, sxy += x * y;
  }
  return (k * sxy - sx * sy) / (k * sxx - sx * sx);
}

struct Panel {
  std::string axis;
  std::int64_t fit_from;
  Chart chart;
};

void print_fits(const Panel& p) {
  for (const auto& [name, series] : p.chart)
    if (series.size() > 1)
      fmt::print("{:10} grows with {} to the power {:5.2f} in time, {:5.2f} in memory\n", name, p.axis,
                 exponent(series, p.fit_from, &Cost::seconds), exponent(series, p.fit_from, &Cost::bytes));
}

/// Time above, memory below, a column a panel.
void draw_panels(const std::string& path, const std::vector<Panel>& panels) {
  std::string blocks, plots;
  for (const bool memory : {false, true})
    for (std::size_t i = 0; i < panels.size(); ++i) {
      plots += fmt::format("set xlabel '{}'\nset ylabel '{}'\nplot ", panels[i].axis, memory ? "MB" : "ms");
      for (const auto& [name, series] : panels[i].chart) {
        const std::string block = fmt::format("b{}_{}", i, name);
        std::vector<std::vector<double>> rows;
        for (const auto& [size, c] : series)
          rows.push_back({static_cast<double>(size), 1e3 * c.seconds, 1e-6 * c.bytes});
        if (!memory) blocks += examples::data_block(block, rows);
        plots += fmt::format("${} using 1:{} with linespoints lw 2 pt 7 title '{}', ", block, memory ? 3 : 2, name);
      }
      plots += "\n";
    }
  examples::draw(
      path, static_cast<int>(360 * panels.size()), 640,
      blocks + fmt::format("set multiplot layout 2,{}\nset logscale xy\nset key left top\nset grid\n{}unset multiplot",
                           panels.size(), plots));
}

/// 1, 2, 4, ... times `factor` from `low` up to `high`.
std::vector<std::int64_t> powers(std::int64_t low, std::int64_t high, std::int64_t factor) {
  std::vector<std::int64_t> v;
  for (std::int64_t n = low; n <= high; n *= factor) v.push_back(n);
  return v;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Time and memory against length, width and depth"};
  bool full = false;
  std::string part, only, out = "scaling.png";
  std::int64_t depth_length = 0;
  std::vector<std::int64_t> depths;
  app.add_flag("--full", full, "lengths to 65536 and depths to 24 (several minutes)");
  app.add_option("--part", part, "one part only")->check(CLI::IsMember({"length", "width", "depth"}));
  app.add_option("--kind", only, "one kind only")
      ->check(CLI::IsMember({"exact", "local", "lsh", "reversible", "ordinary"}));
  app.add_option("--depths", depths, "the Reformer's depths")->delimiter(',');
  app.add_option("--depth-length", depth_length, "and its length, a multiple of 64");
  app.add_option("--out", out, "the picture; empty: none")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (depths.empty())
    depths = full ? std::vector<std::int64_t>{1, 2, 4, 8, 16, 24} : std::vector<std::int64_t>{1, 2, 4, 8};
  if (depth_length == 0) depth_length = full ? 16384 : 2048;
  manual_seed(1);

  // A panel of one part: what `cost` gives for each kind and size.
  std::vector<Panel> panels;
  const auto sweep = [&](const char* name, const char* axis, std::int64_t fit_from,
                         const std::vector<std::string>& kinds,
                         const std::function<std::vector<std::int64_t>(const std::string&)>& sizes,
                         const std::function<Cost(const std::string&, std::int64_t)>& cost) {
    if (!part.empty() && part != name) return;
    Panel& p = panels.emplace_back(Panel{axis, fit_from, {}});
    for (const std::string& kind : kinds)
      if (only.empty() || only == kind)
        for (const std::int64_t size : sizes(kind)) add(p.chart, name, kind, size, cost(kind, size));
  };
  const std::vector<std::string> attentions{"exact", "local", "lsh"};
  sweep(
      "length", "tokens", 1024, attentions,
      [&](const std::string& kind) {
        const std::int64_t longest = kind == "exact" ? 4096 : 16384;
        return full ? powers(256, 4 * longest, 2) : powers(256, longest, 4);
      },
      [](const std::string& kind, std::int64_t n) { return layer_cost(kind, n, 256); });
  sweep(
      "width", "width", 128, attentions, [&](const std::string&) { return powers(64, full ? 1024 : 512, 2); },
      [](const std::string& kind, std::int64_t d) { return layer_cost(kind, 2048, d); });
  sweep(
      "depth", "layers", 1, {"reversible", "ordinary"}, [&](const std::string&) { return depths; },
      [&](const std::string& kind, std::int64_t depth) {
        return reformer_cost(kind == "reversible", depth, depth_length);
      });
  fmt::print("\n");
  for (const Panel& p : panels) print_fits(p);
  if (!out.empty()) draw_panels(out, panels);
}
