#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string_view>
#include <unordered_map>

#include "autograd/ops/movement.h"
#include "autograd/tape/modes.h"
#include "autograd/trace/internal/page_data.h"
#include "autograd/trace/layout.h"

namespace attune {

namespace {

/// JSON text that stays inside a script element whatever it says.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\', out += c;
    } else if (u < 0x20 || c == '<' || c == '>' || c == '&' || u == 0x7f) {
      out += fmt::format("\\u{:04x}", u);
    } else {
      out += c;
    }
  }
  return out += '"';
}

std::string number(double x) {
  if (std::isnan(x)) return "\"nan\"";
  if (std::isinf(x)) return x > 0 ? "\"inf\"" : "\"-inf\"";
  return fmt::format("{}", x);
}

/// "[a,b,c]" of what `write` makes of each.
template <class Range, class Write>
std::string list(const Range& range, const Write& write) {
  std::string out = "[";
  for (const auto& each : range) {
    if (out.size() > 1) out += ',';
    out += write(each);
  }
  return out += ']';
}

std::string integer(std::int64_t i) { return fmt::format("{}", i); }

template <class Numbers>
std::string integers(const Numbers& numbers) {
  return list(numbers, [](auto i) { return integer(static_cast<std::int64_t>(i)); });
}

/// Texts that occur often, by number.
class Texts {
 public:
  std::string of(const std::string& text) {
    const auto [at, fresh] = numbers_.try_emplace(text, texts_.size());
    if (fresh) texts_.push_back(text);
    return integer(static_cast<std::int64_t>(at->second));
  }
  std::string json() const { return list(texts_, quoted); }

 private:
  std::unordered_map<std::string, std::size_t> numbers_;
  std::vector<std::string> texts_;
};

std::string_view elements(const Tensor& dense) {
  return {static_cast<const char*>(dense.raw()), static_cast<std::size_t>(dense.numel()) * size_of(dense.dtype())};
}

/// The elements of values, each distinct one once.
class Blobs {
 public:
  std::string of(const Tensor& t) {
    const NoGrad off;
    Tensor dense = contiguous(t);
    const auto [at, fresh] = numbers_.try_emplace(elements(dense), kept_.size());
    if (fresh) {
      append_base64(base64, at->first.data(), at->first.size());
      kept_.push_back(std::move(dense));
    }
    return integer(static_cast<std::int64_t>(at->second));
  }
  std::string base64;

 private:
  std::unordered_map<std::string_view, std::size_t> numbers_;  // the texts are those of kept_
  std::vector<Tensor> kept_;
};

std::int64_t bytes_of(const Tensor& t) {
  return t.defined() ? t.numel() * static_cast<std::int64_t>(size_of(t.dtype())) : 0;
}

/// A grid of means, of at most `side` rows and columns.
struct Picture {
  std::int64_t rows, columns;
  std::vector<float> cells;
};

std::int64_t picture_bytes(const Summary& s, std::int64_t side) {
  return 4 * std::min(s.picture_rows, side) * std::min(s.picture_columns, side);
}

Picture picture_of(const Summary& s, std::int64_t side) {
  Picture p{std::min(s.picture_rows, side), std::min(s.picture_columns, side), {}};
  if (p.rows == s.picture_rows && p.columns == s.picture_columns) return {p.rows, p.columns, s.picture};
  for (std::int64_t i = 0; i < p.rows; ++i)
    for (std::int64_t j = 0; j < p.columns; ++j) {
      double sum = 0;
      std::int64_t count = 0;
      for (std::int64_t y = i * s.picture_rows / p.rows; y < (i + 1) * s.picture_rows / p.rows; ++y)
        for (std::int64_t x = j * s.picture_columns / p.columns; x < (j + 1) * s.picture_columns / p.columns;
             ++x, ++count)
          sum += s.picture[static_cast<std::size_t>(y * s.picture_columns + x)];
      p.cells.push_back(static_cast<float>(sum / static_cast<double>(count)));
    }
  return p;
}

/// What the page keeps of the values' elements.
struct Choice {
  std::vector<bool> whole;  // the smallest, until the bytes are used up
  std::int64_t side = 32;   // of the pictures of the others: smaller ones if there are very many
};

/// For each value the first that has the same elements: on the page they are one.
std::vector<std::size_t> first_alike(const std::vector<RecordedValue>& values) {
  const NoGrad off;
  std::vector<Tensor> dense;  // they hold the map's texts
  std::unordered_map<std::string_view, std::size_t> seen;
  std::vector<std::size_t> first(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    first[i] = i;
    if (!values[i].whole.defined()) continue;
    dense.push_back(contiguous(values[i].whole));
    first[i] = seen.try_emplace(elements(dense.back()), i).first->second;
  }
  return first;
}

Choice choose(const std::vector<RecordedValue>& values, std::int64_t bytes) {
  Choice choice{std::vector<bool>(values.size()), 32};
  const std::vector<std::size_t> first = first_alike(values);
  const auto whole_bytes = [&](std::size_t i) { return first[i] == i ? bytes_of(values[i].whole) : 0; };
  const auto picture = [&](std::size_t i) { return first[i] == i ? picture_bytes(values[i].summary, choice.side) : 0; };
  const auto pictures = [&] {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      if (!values[i].whole.defined() || whole_bytes(i) > picture(i)) sum += picture(i);
    return sum;
  };
  while (choice.side > 8 && pictures() > bytes / 3) choice.side /= 2;
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return bytes_of(values[a].whole) < bytes_of(values[b].whole); });
  bytes -= pictures();
  for (const std::size_t i : order) {
    if (!values[i].whole.defined()) continue;
    if (first[i] != i) {  // it comes behind its first in the order
      choice.whole[i] = choice.whole[first[i]];
      continue;
    }
    // What is hardly larger than its summary costs nothing more.
    const bool small = whole_bytes(i) <= picture(i) + 64;
    if (!small && whole_bytes(i) > bytes + picture(i)) continue;
    if (!small) bytes += picture(i) - whole_bytes(i);
    choice.whole[i] = true;
  }
  return choice;
}

std::string summary_json(const Summary& s, std::int64_t side) {
  std::string out = "[" + number(s.min) + "," + number(s.max) + "," + integer(s.zeros) + "," + integer(s.nans) + "," +
                    integer(s.infinities) + "," + number(s.histogram_low) + "," + number(s.histogram_high) + ",";
  const Picture picture = picture_of(s, side);
  std::string cells;
  append_base64(cells, picture.cells.data(), sizeof(float) * picture.cells.size());
  return out + integers(s.histogram) + "," + integer(picture.rows) + "," + integer(picture.columns) + ",\"" + cells +
         "\"]";
}

std::string values_json(const Recording& r, const PageOptions& options, Texts& texts, PageData& data) {
  const Choice choice = choose(r.values, options.value_bytes);
  Blobs blobs;
  std::unordered_map<std::string, std::size_t> known;  // summaries, which equal values share
  std::string kinds = "[", at = "[", summaries = "[", slices = "{";
  const auto next = [](std::string& to) {
    if (to.size() > 1) to += ',';
  };
  for (std::size_t i = 0; i < r.values.size(); ++i) {
    const RecordedValue& v = r.values[i];
    next(kinds), kinds += texts.of(fmt::format("{}{}", name_of(v.dtype), v.shape.str()));
    next(at);
    if (choice.whole[i]) {
      at += blobs.of(v.whole);
    } else {
      const std::string json = summary_json(v.summary, choice.side);
      const auto [found, fresh] = known.try_emplace(json, known.size());
      if (fresh) next(summaries), summaries += json;
      at += fmt::format("-{}", found->second + 1);
    }
    if (!choice.whole[i] || numel(v.shape) != 1) {
      const double stats[] = {v.summary.mean, v.summary.std, v.summary.norm};
      append_base64(data.stats, stats, sizeof stats);
    }
    if (v.slices.empty()) continue;
    next(slices),
        slices += fmt::format("\"{}\":", i) + list(v.slices, [&](const auto& slice) {
                    const std::string kind =
                        fmt::format("{}{}", name_of(slice.second.dtype()), slice.second.shape().str());
                    return "[" + quoted(slice.first) + "," + texts.of(kind) + "," + blobs.of(slice.second) + "]";
                  });
  }
  data.values = std::move(blobs.base64);
  return "{\"kind\":" + kinds + "],\"at\":" + at + "],\"summary\":" + summaries + "],\"slices\":" + slices + "}}";
}

// ---- passes

/// A text of records and fields, so that call stacks and arguments, which many nodes share, are texts too.
template <class Range, class Fields>
std::string joined(const Range& range, const Fields& fields) {
  std::string out;
  for (const auto& each : range) out += (out.empty() ? "" : "\x1e") + fields(each);
  return out;
}

std::string nodes_json(const RecordedPass& pass, Texts& texts) {
  const auto column = [&](const char* name, const auto& write) {
    return fmt::format("\"{}\":", name) + list(pass.nodes, write);
  };
  using Node = RecordedNode;
  std::string out = "{" + column("sequence", [](const Node& n) { return fmt::format("{}", n.sequence); });
  out += "," + column("operation", [&](const Node& n) { return texts.of(n.operation); });
  out += "," + column("label", [&](const Node& n) { return texts.of(n.label); });
  out += "," + column("leaf", [](const Node& n) { return n.leaf ? "1" : "0"; });
  out += "," + column("module", [&](const Node& n) { return texts.of(n.module); });
  out += "," + column("stack", [&](const Node& n) {
           return texts.of(
               joined(n.stack, [](const RecordedCall& c) { return c.module + '\x1f' + c.name + '\x1f' + c.site; }));
         });
  out += "," + column("site", [&](const Node& n) { return texts.of(n.site); });
  out += "," + column("rule", [&](const Node& n) { return texts.of(n.rule); });
  out += "," + column("arguments", [&](const Node& n) {
           return texts.of(joined(n.arguments, [](const auto& a) { return a.first + '\x1f' + a.second; }));
         });
  out += "," + column("inputs", [&](const Node& n) {
           return list(n.inputs, [&](const RecordedInput& i) {
             return fmt::format("{},{},{},{},{},{},{}", texts.of(i.name), i.node, i.slot, i.value,
                                i.differentiable ? 1 : 0, texts.of(i.rule), texts.of(i.words));
           });
         });
  out += "," + column("outputs", [](const Node& n) { return integers(n.outputs); });
  out += "," + column("saved", [&](const Node& n) {
           return list(n.saved, [&](const auto& s) { return texts.of(s.first) + "," + integer(s.second); });
         });
  return out + "," + column("parts", [](const Node& n) { return integer(n.parts); }) + "}";
}

std::string step_json(const RecordedStep& step) {
  std::string out = "[" + integer(step.node) + "," + list(step.arrivals, [](const RecordedArrival& a) {
                      return fmt::format("{},{},{},{},{},{},{}", a.from, a.input, a.slot, a.value, a.sum, a.k, a.n);
                    });
  out += "," + integers(step.received) + "," + integers(step.returned) + "," + integers(step.sent) + ",";
  return out +
         list(step.grads, [](const RecordedChange& c) { return fmt::format("{},{},{}", c.slot, c.before, c.after); }) +
         "]";
}

std::string level_json(const GraphLevel& level) {
  std::string out = "{\"module\":" + quoted(level.module);
  if (!level.laid_out) return out + fmt::format(",\"size\":{}", level.boxes.size()) + "}";
  out += fmt::format(",\"width\":{:.1f},\"height\":{:.1f},\"boxes\":", level.width, level.height);
  out += list(level.boxes, [](const GraphBox& b) {
    return fmt::format("[{},{},{},{},{},{:.1f},{:.1f},{:.1f},{:.1f}]", static_cast<int>(b.kind), quoted(b.label),
                       b.node, b.count, list(b.modules, quoted), b.x, b.y, b.width, b.height);
  });
  return out + ",\"lines\":" +
         list(level.lines,
              [](const GraphLine& l) {
                return fmt::format("[{},{},", l.from, l.to) +
                       list(l.points, [](const auto& p) { return fmt::format("{:.1f},{:.1f}", p.first, p.second); }) +
                       "]";
              }) +
         "}";
}

std::string pass_json(const RecordedPass& pass, Texts& texts, const std::vector<GraphLevel>& levels) {
  std::string out = fmt::format("{{\"number\":{},\"site\":{},\"root\":{},\"loss\":{},\"error\":{}", pass.number,
                                quoted(pass.site), pass.root, number(pass.loss), quoted(pass.error));
  out += ",\"nodes\":" + nodes_json(pass, texts) + ",\"steps\":" + list(pass.steps, step_json);
  out += ",\"updates\":" + list(pass.updates, [](const RecordedUpdate& u) {
           return fmt::format("[{},{},{},{},{}]", u.node, u.before, u.after, u.change, number(u.ratio));
         });
  return out + ",\"graphs\":" + list(levels, level_json) + "}";
}

std::string progress_json(const RecordedProgress& p, Texts& texts) {
  const auto numbers = [&](const std::map<std::string, double>& by_name) {
    return list(by_name, [&](const auto& each) { return texts.of(each.first) + "," + number(each.second); });
  };
  return fmt::format("[{},{},{},{}]", p.number, number(p.loss), numbers(p.gradient_norms), numbers(p.update_ratios));
}

std::string sources_json(const Recording& r) {
  std::string out = "{";
  for (const auto& [file, lines] : r.sources) {
    out += (out.size() > 1 ? "," : "") + quoted(file) + ":{";
    bool first = true;
    for (const auto& [line, text] : lines) {
      out += (first ? "" : ",") + fmt::format("\"{}\":", line) + quoted(text);
      first = false;
    }
    out += "}";
  }
  return out + "}";
}

}  // namespace

void append_base64(std::string& to, const void* bytes, std::size_t size) {
  static const char* const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto* b = static_cast<const unsigned char*>(bytes);
  to.reserve(to.size() + (size + 2) / 3 * 4);
  for (std::size_t i = 0; i < size; i += 3) {
    const unsigned group = static_cast<unsigned>(b[i]) << 16 |
                           (i + 1 < size ? static_cast<unsigned>(b[i + 1]) << 8 : 0) | (i + 2 < size ? b[i + 2] : 0U);
    for (const int shift : {18, 12, 6, 0}) to += digits[group >> shift & 63];
  }
}

PageData page_data(const Recording& r, const PageOptions& options) {
  // All passes' graphs in one run of the tool that lays them out.
  std::vector<std::vector<GraphLevel>> graphs;
  std::vector<GraphLevel> all;
  for (const auto* passes : {&r.passes, &r.parts})
    for (const RecordedPass& pass : *passes) {
      graphs.push_back(options.graphs ? graph_levels(pass) : std::vector<GraphLevel>());
      std::move(graphs.back().begin(), graphs.back().end(), std::back_inserter(all));
    }
  const bool drawn = options.graphs && lay_out(all);
  auto level = all.begin();
  for (std::vector<GraphLevel>& pass : graphs)
    for (GraphLevel& each : pass) each = std::move(*level++);

  PageData data;
  Texts texts;
  auto graph = graphs.begin();
  const auto passes = [&](const std::vector<RecordedPass>& each) {
    return list(each, [&](const RecordedPass& pass) { return pass_json(pass, texts, *graph++); });
  };
  data.json = fmt::format("{{\"format\":\"attune-page\",\"version\":1,\"program\":{},\"drawn\":{},\"summarised\":{}",
                          quoted(r.program), drawn, r.summarised);
  data.json += ",\"passes\":" + passes(r.passes);
  data.json += ",\"parts\":" + passes(r.parts);
  data.json += ",\"progress\":" + list(r.progress, [&](const RecordedProgress& p) { return progress_json(p, texts); }) +
               ",\"sources\":" + sources_json(r);
  data.json += ",\"values\":" + values_json(r, options, texts, data);
  data.json += ",\"texts\":" + texts.json() + "}";
  return data;
}

}  // namespace attune
