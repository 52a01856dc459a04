// Reads a recording's JSON: whatever is missing, of another type or points nowhere is refused.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "autograd/runtime/error.h"
#include "autograd/trace/internal/trace_json.h"

namespace attune {

namespace {

using Json = nlohmann::json;

[[noreturn]] void fail(const std::string& what) { throw ValueError(what); }

const Json& entry(const Json& j, const char* name) {
  if (!j.is_object()) fail(std::string("an object with \"") + name + "\" is needed");
  const auto at = j.find(name);
  if (at == j.end()) fail(std::string("\"") + name + "\" is missing");
  return *at;
}

/// For what is left out if it is as usual.
bool absent(const Json& j, const char* name) { return j.is_object() && !j.contains(name); }

std::string text(const Json& j, const char* name) {
  const Json& e = entry(j, name);
  if (!e.is_string()) fail(std::string("\"") + name + "\" is no text");
  return e.get<std::string>();
}

bool flag(const Json& j, const char* name) {
  const Json& e = entry(j, name);
  if (!e.is_boolean()) fail(std::string("\"") + name + "\" is neither true nor false");
  return e.get<bool>();
}

double real_of(const Json& e, const char* name) {
  if (e.is_number()) return e.get<double>();
  if (e == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (e == "inf") return std::numeric_limits<double>::infinity();
  if (e == "-inf") return -std::numeric_limits<double>::infinity();
  fail(std::string("\"") + name + "\" is no number");
}
double real(const Json& j, const char* name) { return real_of(entry(j, name), name); }

/// A whole number in [low, high].
std::int64_t whole_of(const Json& e, const char* name, std::int64_t low, std::int64_t high) {
  if (!e.is_number_integer() || (e.is_number_unsigned() && e.get<std::uint64_t>() > static_cast<std::uint64_t>(high)))
    fail(std::string("\"") + name + "\" is no whole number in its range");
  const auto v = e.get<std::int64_t>();
  if (v < low || v > high)
    fail(std::string("\"") + name + "\" is " + std::to_string(v) + ", outside of [" + std::to_string(low) + ", " +
         std::to_string(high) + "]");
  return v;
}
constexpr std::int64_t anything = std::numeric_limits<std::int64_t>::max();
std::int64_t whole(const Json& j, const char* name, std::int64_t low = 0, std::int64_t high = anything) {
  return whole_of(entry(j, name), name, low, high);
}

template <class F>
void each(const Json& j, const char* name, F visit) {
  const Json& list = entry(j, name);
  if (!list.is_array()) fail(std::string("\"") + name + "\" is no list");
  for (const Json& e : list) visit(e);
}

std::string text_or(const Json& j, const char* name, const std::string& usual) {
  return absent(j, name) ? usual : text(j, name);
}
bool flag_or(const Json& j, const char* name, bool usual) { return absent(j, name) ? usual : flag(j, name); }
std::int64_t whole_or(const Json& j, const char* name, std::int64_t usual, std::int64_t low, std::int64_t high) {
  return absent(j, name) ? usual : whole(j, name, low, high);
}
template <class F>
void each_if_any(const Json& j, const char* name, F visit) {
  if (!absent(j, name)) each(j, name, visit);
}

template <class F>
void each_member(const Json& j, const char* name, F visit) {
  const Json& object = entry(j, name);
  if (!object.is_object()) fail(std::string("\"") + name + "\" is no object");
  for (const auto& [key, e] : object.items()) visit(key, e);
}

DType dtype(const std::string& name) {
  for (DType t : {DType::float32, DType::float64, DType::int64, DType::int32, DType::boolean})
    if (name == name_of(t)) return t;
  fail("\"" + name + "\" is no dtype");
}

RecordedValue value_of(const Json& j) {
  RecordedValue v;
  std::vector<std::int64_t> sizes;
  each(j, "shape", [&](const Json& e) { sizes.push_back(whole_of(e, "shape", 0, anything)); });
  if (sizes.size() > 10) fail("a shape of more than 10 axes");
  for (std::int64_t n : sizes) v.shape.push_back(n);
  numel(v.shape);  // or it does not fit 63 bits
  v.dtype = dtype(text(j, "dtype"));
  const bool is_whole = flag_or(j, "whole", true);
  if (is_whole && absent(j, "min") && numel(v.shape) == 1) return v;
  Summary& s = v.summary;
  s.min = real(j, "min"), s.max = real(j, "max"), s.mean = real(j, "mean"), s.std = real(j, "std");
  s.norm = real(j, "norm");
  s.zeros = whole(j, "zeros"), s.nans = whole(j, "nans"), s.infinities = whole(j, "infinities");
  if (is_whole) return v;
  const Json& h = entry(j, "histogram");
  s.histogram_low = real(h, "low"), s.histogram_high = real(h, "high");
  each(h, "counts", [&](const Json& e) { s.histogram.push_back(whole_of(e, "counts", 0, anything)); });
  const Json& p = entry(j, "picture");
  s.picture_rows = whole(p, "rows", 0, 32), s.picture_columns = whole(p, "columns", 0, 32);
  each(p, "cells", [&](const Json& e) { s.picture.push_back(static_cast<float>(real_of(e, "cells"))); });
  if (static_cast<std::int64_t>(s.picture.size()) != s.picture_rows * s.picture_columns || s.histogram.size() > 32)
    fail("a picture or histogram of another size than announced");
  return v;
}

constexpr std::int64_t most_int = std::numeric_limits<int>::max();

/// Reads passes: knows how many values and parts there are.
struct PassReader {
  std::int64_t values, parts;

  int value(const Json& e, const char* name) const { return static_cast<int>(whole_of(e, name, -1, values - 1)); }
  int value_or(const Json& j, const char* name, int usual) const {
    return absent(j, name) ? usual : value(entry(j, name), name);
  }
  std::vector<int> list(const Json& j, const char* name) const {
    std::vector<int> all;
    each_if_any(j, name, [&](const Json& e) { all.push_back(value(e, name)); });
    return all;
  }

  RecordedInput input(const Json& i, std::int64_t nodes) const {
    RecordedInput in;
    in.name = text_or(i, "name", ""), in.rule = text_or(i, "rule", ""), in.words = text_or(i, "words", "");
    in.differentiable = flag_or(i, "differentiable", false);
    in.node = static_cast<int>(whole_or(i, "node", -1, -1, nodes - 1));
    in.slot = static_cast<std::uint32_t>(whole_or(i, "slot", 0, 0, most_int));
    in.value = value_or(i, "value", -1);
    return in;
  }

  RecordedNode node(const Json& j, std::int64_t nodes, std::size_t position) const {
    RecordedNode n;
    n.sequence = static_cast<std::uint64_t>(whole(j, "sequence"));
    n.operation = text(j, "operation"), n.leaf = flag_or(j, "leaf", false);
    n.label = text_or(j, "label", "%" + std::to_string(position));
    n.module = text_or(j, "module", ""), n.site = text_or(j, "site", ""), n.rule = text_or(j, "rule", "");
    each_if_any(j, "stack", [&](const Json& c) {
      n.stack.push_back({text_or(c, "module", ""), text(c, "name"), text_or(c, "site", "")});
    });
    each_if_any(j, "arguments", [&](const Json& a) {
      if (!a.is_array() || a.size() != 2 || !a[0].is_string() || !a[1].is_string())
        fail("an argument is no pair of texts");
      n.arguments.emplace_back(a[0].get<std::string>(), a[1].get<std::string>());
    });
    each_if_any(j, "inputs", [&](const Json& i) { n.inputs.push_back(input(i, nodes)); });
    n.outputs = list(j, "outputs");
    each_if_any(j, "saved", [&](const Json& s) {
      if (!s.is_array() || s.size() != 2 || !s[0].is_string()) fail("a saved tensor is no pair of name and value");
      n.saved.emplace_back(s[0].get<std::string>(), value(s[1], "saved"));
    });
    n.check = text_or(j, "check", "");
    n.parts = static_cast<int>(whole_or(j, "parts", -1, -1, parts - 1));
    return n;
  }

  RecordedStep step(const Json& j, std::int64_t nodes) const {
    RecordedStep s;
    s.node = static_cast<int>(whole(j, "node", 0, nodes - 1));
    s.received = list(j, "received"), s.returned = list(j, "returned"), s.sent = list(j, "sent");
    const auto number = [&](const Json& e, const char* name, int usual) {
      return static_cast<int>(whole_or(e, name, usual, 0, most_int));
    };
    each_if_any(j, "arrivals", [&](const Json& a) {
      const int v = value_or(a, "value", -1);
      s.arrivals.push_back({static_cast<int>(whole_or(a, "from", -1, -1, nodes - 1)), number(a, "input", 0),
                            number(a, "slot", 0), v, value_or(a, "sum", v), number(a, "k", 1), number(a, "n", 1)});
    });
    each_if_any(j, "grads", [&](const Json& g) {
      s.grads.push_back({number(g, "slot", 0), value_or(g, "before", -1), value_or(g, "after", -1)});
    });
    return s;
  }

  RecordedPass pass(const Json& j) const {
    RecordedPass p;
    p.number = whole(j, "number"), p.site = text(j, "site"), p.loss = real(j, "loss"), p.error = text(j, "error");
    const Json& all = entry(j, "nodes");
    const auto nodes = static_cast<std::int64_t>(all.size());
    p.root = static_cast<int>(whole(j, "root", nodes == 0 ? -1 : 0, nodes - 1));
    each(j, "nodes", [&](const Json& n) { p.nodes.push_back(node(n, nodes, p.nodes.size())); });
    each(j, "steps", [&](const Json& s) { p.steps.push_back(step(s, nodes)); });
    each(j, "updates", [&](const Json& u) {
      p.updates.push_back({static_cast<int>(whole(u, "node", 0, nodes - 1)), value(entry(u, "before"), "before"),
                           value(entry(u, "after"), "after"), value(entry(u, "change"), "change"), real(u, "ratio")});
    });
    return p;
  }
};

RecordedProgress progress_of(const Json& j) {
  RecordedProgress p;
  p.number = whole(j, "number");
  p.loss = real(j, "loss");
  each_member(j, "gradient_norms",
              [&](const std::string& k, const Json& e) { p.gradient_norms[k] = real_of(e, "gradient_norms"); });
  each_member(j, "update_ratios",
              [&](const std::string& k, const Json& e) { p.update_ratios[k] = real_of(e, "update_ratios"); });
  return p;
}

void read_sources(const Json& j, Recording& r) {
  each_member(j, "sources", [&](const std::string& file, const Json& lines) {
    if (!lines.is_object()) fail("the lines of a source are no object");
    for (const auto& [number, line] : lines.items()) {
      if (number.empty() || number.size() > 9 || number.find_first_not_of("0123456789") != std::string::npos ||
          !line.is_string())
        fail("a source line is no number and text");
      r.sources[file][std::stoi(number)] = line.get<std::string>();
    }
  });
}

}  // namespace

Recording recording_of_json(const std::string& source, const FindTensor& find) {
  const Json j = Json::parse(source, nullptr, false);
  if (j.is_discarded()) fail("its text is no JSON");
  if (text(j, "format") != "attune-trace") fail("its format is \"" + text(j, "format") + "\", not \"attune-trace\"");
  if (const std::int64_t version = whole(j, "version"); version != 1)
    fail("its version is " + std::to_string(version) + "; this program reads version 1");
  Recording r;
  r.program = text(j, "program");
  r.summarised = whole(j, "summarised");
  read_sources(j, r);
  std::size_t at = 0;
  each(j, "values", [&](const Json& e) {
    RecordedValue v = value_of(e);
    const std::string name = "v" + std::to_string(at++);
    if (flag_or(e, "whole", true)) {
      v.whole = find(name, v, false);
      v.summary = summarise(v.whole);
    }
    if (e.contains("slices"))
      each(e, "slices", [&](const Json& s) {
        if (!s.is_string()) fail("a slice is no text");
        v.slices.emplace_back(s.get<std::string>(), find(name + s.get<std::string>(), v, true));
      });
    r.values.push_back(std::move(v));
  });
  const Json& parts = entry(j, "parts");
  const PassReader reader{static_cast<std::int64_t>(r.values.size()), static_cast<std::int64_t>(parts.size())};
  each(j, "passes", [&](const Json& p) { r.passes.push_back(reader.pass(p)); });
  each(j, "parts", [&](const Json& p) { r.parts.push_back(reader.pass(p)); });
  each(j, "progress", [&](const Json& p) { r.progress.push_back(progress_of(p)); });
  return r;
}

}  // namespace attune
