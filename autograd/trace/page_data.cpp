#include "autograd/trace/internal/page_data.h"

#include <fmt/format.h>

namespace attune::page {

namespace {

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
  out += "," + column("label", [](const Node& n) { return quoted(n.label); });
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
  out += "," + column("check", [&](const Node& n) { return texts.of(n.check); });
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

std::string pass_json(const RecordedPass& pass, Texts& texts) {
  std::string out = fmt::format("{{\"number\":{},\"site\":{},\"root\":{},\"loss\":{},\"error\":{}", pass.number,
                                quoted(pass.site), pass.root, number(pass.loss), quoted(pass.error));
  out += ",\"nodes\":" + nodes_json(pass, texts) + ",\"steps\":" + list(pass.steps, step_json);
  return out + ",\"updates\":" +
         list(pass.updates,
              [](const RecordedUpdate& u) {
                return fmt::format("[{},{},{},{},{}]", u.node, u.before, u.after, u.change, number(u.ratio));
              }) +
         "}";
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

PageData page_data(const Recording& r, const PageOptions& options) {
  PageData data;
  const bool drawn = add_graphs(r, options, data);
  Texts texts;
  const auto passes = [&](const std::vector<RecordedPass>& each) {
    return list(each, [&](const RecordedPass& pass) { return pass_json(pass, texts); });
  };
  data.json = fmt::format("{{\"format\":\"attune-page\",\"version\":1,\"program\":{},\"drawn\":{},\"summarised\":{}",
                          quoted(r.program), drawn, r.summarised);
  data.json += ",\"passes\":" + passes(r.passes);
  data.json += ",\"parts\":" + passes(r.parts);
  data.json += ",\"progress\":" + list(r.progress, [&](const RecordedProgress& p) { return progress_json(p, texts); });
  data.json += ",\"sources\":" + sources_json(r);
  data.json += ",\"values\":" + values_json(r, options, texts, data);
  data.json += ",\"texts\":" + texts.json() + "}";
  return data;
}

}  // namespace attune::page
