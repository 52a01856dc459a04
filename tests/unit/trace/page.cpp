// Pages of recordings, and their graphs. What a browser makes of them: tests/programs/test_page.py.
#include "autograd/trace/page.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>

#include "autograd/io/file.h"
#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"
#include "autograd/trace/internal/page_data.h"
#include "autograd/trace/layout.h"

using namespace attune;

namespace {

std::size_t count_of(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

int add_value(Recording& r, const Tensor& t) {
  r.values.push_back({t.shape(), t.dtype(), summarise(t), t, {}});
  return static_cast<int>(r.values.size()) - 1;
}

RecordedNode node(const std::string& operation, const std::string& module, const std::vector<int>& from,
                  const std::string& label = "") {
  RecordedNode n;
  n.operation = operation, n.module = module, n.label = label, n.leaf = operation == "leaf";
  for (const int each : from) {
    RecordedInput input;
    input.name = "x", input.node = each;
    n.inputs.push_back(input);
  }
  return n;
}

/// w and x; block.0 and block.1, each matmul and relu; then another module, and a sum.
RecordedPass blocks() {
  RecordedPass p;
  p.nodes = {node("leaf", "", {}, "block.0.w"),       node("leaf", "", {}, "x"),
             node("matmul", "block.0", {1, 0}, "%2"), node("relu", "block.0", {2}, "%3"),
             node("matmul", "block.1", {3, 3}, "%4"), node("relu", "block.1", {4}, "%5"),
             node("tanh", "head", {5}, "%6"),         node("sum", "", {6}, "%7")};
  p.root = 7;
  return p;
}

const GraphLevel& level_of(const std::vector<GraphLevel>& levels, const std::string& module) {
  for (const GraphLevel& level : levels)
    if (level.module == module) return level;
  throw std::runtime_error("no level " + module);
}

const GraphBox* box_of(const GraphLevel& level, const std::string& label) {
  for (const GraphBox& box : level.boxes)
    if (box.label == label) return &box;
  return nullptr;
}

}  // namespace

TEST_CASE("page: base64 in whole groups") {
  const auto base64 = [](const std::string& bytes) {
    std::string to;
    page::append_base64(to, bytes.data(), bytes.size());
    return to;
  };
  CHECK(base64("") == "");
  CHECK(base64("Man") == "TWFu");
  CHECK(base64("Ma") == "TWEA");
  CHECK(base64("\xff\xfe\xfd\xfc") == "//79/AAA");
}

TEST_CASE("page: texts are data, whatever they say") {
  CHECK(page::quoted("a\"b\\c\n<&>\x7f") == "\"a\\\"b\\\\c\\u000a\\u003c\\u0026\\u003e\\u007f\"");
  CHECK(page::number(std::nan("")) == "\"nan\"");
  CHECK(page::number(-INFINITY) == "\"-inf\"");
  CHECK(page::number(0.1) == "0.1");
  Recording r;
  r.program = "</title><script>alert(1)</script><!--";
  r.passes.push_back(blocks());
  r.passes[0].nodes[0].label = r.passes[0].nodes[0].rule = r.passes[0].error = r.program;
  r.sources[r.program] = {{1, r.program}};
  const std::string with = page_html(r, {.graphs = false}), without = page_html({}, {.graphs = false});
  for (const char* tag : {"<script", "</script", "<!--", "</title"})
    CHECK(count_of(with, tag) == count_of(without, tag));
  CHECK(count_of(with, "</script") == 5);
  CHECK(count_of(with, "default-src 'none'; script-src 'sha256-") == 1);
  for (const char* outside : {"http://", "https://", "@import", "url(h", "url(/", "src="})
    CHECK_MESSAGE(count_of(without, outside) == (std::string(outside) == "http://" ? 2 : 0),
                  outside);  // two namespaces
}

TEST_CASE("page: small values are whole, the smallest first, equal ones once") {
  Recording r;
  const auto whole = [&](const PageOptions& options) {
    page::Texts texts;
    page::PageData data;
    const std::string json = page::values_json(r, options, texts, data);
    const std::size_t at = json.find("\"at\":[") + 6;
    return json.substr(at, json.find(']', at) - at);
  };
  add_value(r, full({64, 64}, 0.5));
  add_value(r, full({80, 80}, 0.25));
  add_value(r, full({64, 64}, 0.5));
  add_value(r, full({2}, 1));
  CHECK(whole({}) == "0,1,0,2");
  CHECK(whole({.value_bytes = 30000}) == "0,-1,0,1");
  CHECK(whole({.value_bytes = 0}) == "-1,-2,-1,0");
}

TEST_CASE("page: written whole or not at all") {
  const std::string path = (std::filesystem::temp_directory_path() / "attune_page_test.html").string();
  Recording r;
  r.program = "first";
  write_page(path, r, {.graphs = false});
  r.program = "second";
  write_page(path, r, {.graphs = false});
  const std::string text = io::read_text(path);
  CHECK(text.find("<title>second") != std::string::npos);
  CHECK(text.substr(text.size() - 8) == "</html>\n");
  std::remove(path.c_str());
  try {
    write_page("/nonexistent/page.html", r);
    FAIL("it was written");
  } catch (const FileError& e) {
    CHECK(std::string(e.what()).find("/nonexistent/page.html") != std::string::npos);
  }
}

TEST_CASE("page: the levels of a graph, with repeated blocks folded") {
  const std::vector<GraphLevel> levels = graph_levels(blocks());
  const GraphLevel& outer = level_of(levels, "");
  const GraphBox* folded = box_of(outer, "block.0-1");
  REQUIRE(folded);
  CHECK(folded->modules == std::vector<std::string>{"block.0", "block.1"});
  CHECK(folded->kind == GraphBox::Kind::module);
  CHECK(box_of(outer, "head"));
  CHECK(box_of(outer, "x"));
  CHECK(box_of(outer, "sum"));
  CHECK(outer.boxes.size() == 4);
  CHECK(outer.lines.size() == 3);

  const GraphLevel& inner = level_of(levels, "block.0");
  REQUIRE(box_of(inner, "w"));  // the leaf that belongs there
  REQUIRE(box_of(inner, "x"));
  CHECK(box_of(inner, "x")->kind == GraphBox::Kind::input);
  REQUIRE(box_of(inner, "matmul"));
  CHECK(level_of(levels, "head").boxes.size() == 3);
  CHECK(graph_levels({}).size() == 1);
}

TEST_CASE("page: Graphviz places the boxes beside each other") {
  std::vector<GraphLevel> levels = graph_levels(blocks());
  if (!lay_out(levels)) {
    MESSAGE("dot is not installed");
    for (const GraphLevel& level : levels) CHECK(!level.laid_out);
    return;
  }
  for (const GraphLevel& level : levels) {
    CHECK(level.laid_out);
    for (const GraphLine& line : level.lines) CHECK((line.points.size() % 3 == 1 && line.points.size() >= 4));
    for (std::size_t i = 0; i < level.boxes.size(); ++i)
      for (std::size_t j = 0; j < i; ++j) {
        const GraphBox &a = level.boxes[i], &b = level.boxes[j];
        const bool apart =
            std::abs(a.x - b.x) * 2 >= a.width + b.width || std::abs(a.y - b.y) * 2 >= a.height + b.height;
        CHECK_MESSAGE(apart, a.label, " and ", b.label);
      }
  }
  const GraphLevel& outer = level_of(levels, "");
  CHECK(box_of(outer, "x")->y < box_of(outer, "sum")->y);  // forwards is down
  std::vector<GraphLevel> too_large = graph_levels(blocks());
  CHECK(lay_out(too_large, 3));
  CHECK(!level_of(too_large, "").laid_out);
  CHECK(level_of(too_large, "head").laid_out);
}
