// Pictures: drawn, or told why not with the data as text, whatever the values and labels are.

#include "autograd/trace/picture.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "autograd/io/file.h"
#include "autograd/tape/tape.h"
#include "autograd/trace/internal/drawing.h"
#include "nn/nn.h"
#include "tests/unit/plain.h"

namespace attune::tests {
namespace {

namespace fs = std::filesystem;

const std::string hostile = "`touch PWNED` $(touch PWNED) 'a' \"b\" \\n @x ^2 _3 {} %s <b>&lt;</b>\n\t\x01\xff é";

/// A folder of its own, which goes with it.
struct Folder {
  Folder() { fs::create_directory(path); }
  ~Folder() { fs::remove_all(path); }
  std::string of(const std::string& name) const { return path + "/" + name; }
  std::string path = (fs::temp_directory_path() / ("attune-pictures-" + std::to_string(::getpid()))).string();
};

/// While it lives, no program is found, or those in a folder alone.
struct Path {
  explicit Path(const std::string& folder) { ::setenv("PATH", folder.c_str(), 1); }
  ~Path() { ::setenv("PATH", before.c_str(), 1); }
  std::string before = std::getenv("PATH");
};

/// What is written to stderr while it lives.
struct Stderr {
  explicit Stderr(const std::string& file) : path(file), before(::dup(2)) {
    std::fflush(stderr);
    static_cast<void>(std::freopen(path.c_str(), "w", stderr));
  }
  ~Stderr() {
    text();
    ::close(before);
  }
  std::string text() {
    std::fflush(stderr);
    ::dup2(before, 2);
    return io::read_text(path);
  }
  std::string path;
  int before;
};

bool is_picture(const std::string& path) {
  const std::string bytes = io::read_text(path);
  if (path.ends_with("png")) return bytes.starts_with("\x89PNG");
  return bytes.find("<svg") != std::string::npos && bytes.find("</svg>") != std::string::npos;
}

struct Net : nn::Module {
  nn::Linear& up = child<nn::Linear>("up", 3, 4);
  nn::Linear& down = child<nn::Linear>("down", 4, 2);
  Tensor operator()(const Tensor& x) { return down(relu(up(x))); }
};

}  // namespace

TEST_CASE("pictures: labels are shown and never understood") {
  CHECK(detail::shown("plain é") == "plain é");
  CHECK(detail::shown("a\nb\tc\x1b") == "a\\nb\\tc\\x1b");
  CHECK(detail::shown("\xff\xc0\xaf") == "\\xff\\xc0\\xaf");
  CHECK(detail::shown("\xe2\x80\xae") == "\\xe2\\x80\\xae");  // it would turn the direction of what follows
  CHECK(detail::shown(std::string("a\0b", 3)) == "a\\x00b");
  CHECK(detail::shown("éééé", 2) == "éé…");
  CHECK(detail::gnuplot_string("a 1`\"") == "\"a \\061\\140\\042\"");
  CHECK(detail::dot_string("a\"\\&b") == "\"a\\\"\\\\&amp;b\"");
  CHECK(detail::padded("é", 3, true) == "  é");
}

TEST_CASE("pictures: of every kind, with hostile labels and odd values") {
  const Folder folder;
  const std::string before = fs::current_path();
  fs::current_path(folder.path);
  Net net;
  sum(net(ones({2, 3}))).backward();
  const Tensor odd = tensor({{1, not_a_number, inf}, {-inf, 0, -1e300}}, float64);
  for (const std::string kind : {".png", ".svg"}) {
    const auto drawn = [&](bool done, const std::string& name) {
      CAPTURE(name);
      CHECK(done);
      CHECK(is_picture(folder.of(name)));
    };
    const auto at = [&](const std::string& name) { return folder.of(name + kind); };
    drawn(picture::graph(at("g"), mean(net(ones({2, 3})))), "g" + kind);
    drawn(picture::graph(at("none"), ones({2})), "none" + kind);
    drawn(
        picture::heatmap(at("h"), odd, {.x_labels = {hostile, "", "c"}, .y_labels = {"r", hostile}, .title = hostile}),
        "h" + kind);
    for (const Tensor& x :
         {zeros({0, 3}), zeros({3, 0}), tensor(2.5), ones({1}), ones({1, 5}), ones({5, 1}), full({2, 2}, not_a_number),
          ones({3, 4}, boolean), reshape(arange(6), {2, 3}), -ones({2, 2})})
      drawn(picture::heatmap(at("x"), x), "x" + kind);
    drawn(picture::alignment(at("a"), softmax(ones({2, 3})), {"le", hostile, "."}, {"the", "cat"}), "a" + kind);
    drawn(picture::curve(at("c"), {{.name = hostile, .y = {1, not_a_number, inf, 2, 0}}, {.name = "", .y = {}}},
                         {.title = hostile, .x_label = hostile, .y_label = hostile, .log_y = true}),
          "c" + kind);
    drawn(picture::curve(at("c0"), {}), "c0" + kind);
    drawn(picture::gradient_histograms(at("d"), {{hostile, odd}, {"none", leaf({1})}, {"empty", zeros({0})}}),
          "d" + kind);
    drawn(picture::gradient_histograms(at("p"), net.named_parameters()), "p" + kind);
    drawn(picture::gnuplot(at("s"), 300, 200, "plot x"), "s" + kind);
  }
  CHECK(!fs::exists("PWNED"));
  fs::current_path(before);
}

TEST_CASE("pictures: without the program the data is there as text") {
  const Folder folder;
  const std::string path = folder.of("h.png");
  Stderr told(folder.of("stderr"));
  {
    const Path none(folder.path);
    CHECK(!picture::heatmap(path, tensor({{1.5, -2}, {not_a_number, 0}}, float64),
                            {.x_labels = {"a", "éé"}, .y_labels = {"first", "b"}, .title = "t"}));
    CHECK(!picture::alignment(folder.of("a.svg"), ones({1, 1}), {"x"}, {"y"}));
    CHECK(!picture::curve(folder.of("c.svg"), {{.name = "loss", .y = {3, 2}}}));
    CHECK(!picture::gradient_histograms(folder.of("d.svg"), {{"w", tensor({3, -4, 0, 0}, float64)}}));
    const Tensor x = leaf({1, 2}), y = sum(x * x);
    CHECK(!picture::graph(folder.of("g.png"), y));
    CHECK(io::read_text(folder.of("g.png.txt")) == Tape::of(y).str());
    CHECK(!picture::gnuplot(folder.of("s.png"), 10, 10, "plot x"));
    CHECK(io::read_text(folder.of("s.png.txt")) == "plot x");
  }
  const std::string text = told.text();
  CHECK(text.find(path +
                  ": this picture could not be drawn: gnuplot cannot be run (is it installed?): No such file or "
                  "directory; its data is in " +
                  path + ".txt\n") == 0);
  CHECK(text.find("g.png: this picture could not be drawn: dot cannot be run") != std::string::npos);
  CHECK(!fs::exists(path));
  CHECK(io::read_text(path + ".txt") ==
        "t\n[2, 2]\n"
        "         a  éé\n"
        "first  1.5  -2\n"
        "b      NaN   0\n");
  CHECK(io::read_text(folder.of("c.svg.txt")).find("             1              2\n") != std::string::npos);
  CHECK(io::read_text(folder.of("d.svg.txt")) == "Gradients by layer\nw  [4]  rms 2.5, 50 % zero\n");
}

TEST_CASE("pictures: a program that fails, draws nothing or does not read leaves what was there") {
  const Folder folder;
  const std::string path = folder.of("c.png");
  io::write_text(path, "before");
  const auto reason = [&](const std::string& script) {
    io::write_text(folder.of("gnuplot"), "#!/bin/sh\n" + script + "\n");
    fs::permissions(folder.of("gnuplot"), fs::perms::owner_all);
    Stderr told(folder.of("stderr"));
    {
      const Path mine(folder.path + ":/usr/bin:/bin");
      // More than a pipe holds: a program that ends without reading it must not end this one.
      CHECK(!picture::gnuplot(path, 10, 10, std::string(1 << 20, '#')));
    }
    CHECK(io::read_text(path) == "before");
    const std::string text = told.text();
    return text.substr(text.find("drawn: ") + 7, text.find("; its data") - text.find("drawn: ") - 7);
  };
  CHECK(reason("cat > /dev/null; echo first >&2; echo no font >&2; exit 3") == "gnuplot failed: no font");
  CHECK(reason("exit 0") == "gnuplot drew nothing");
  CHECK(reason("kill -9 $$") == "gnuplot failed");
}

TEST_CASE("pictures: what cannot be drawn or written throws before any work") {
  const Folder folder;
  const Path none(folder.path);
  CHECK(refusal<ValueError>([&] {
          picture::heatmap(folder.of("x.gif"), ones({2, 2}));
        }) == "picture: " + folder.of("x.gif") + " ends in neither .svg nor .png");
  CHECK(refusal<FileError>([&] { picture::curve("/nonexistent/c.png", {}); }) ==
        "/nonexistent/c.png: cannot be written: No such file or directory");
  CHECK(refusal<FileError>([&] { picture::graph("/nonexistent/c.svg", Tensor()); }) ==
        "/nonexistent/c.svg: cannot be written: No such file or directory");
  CHECK(refusal<ShapeError>([&] {
          picture::heatmap(folder.of("x.png"), ones({2, 2, 2}));
        }) == "heatmap: a matrix is drawn, got [2, 2, 2]");
  CHECK(refusal<ShapeError>([&] { picture::heatmap(folder.of("x.png"), Tensor()); }) ==
        "heatmap: the tensor is undefined");
  CHECK(refusal<ShapeError>([&] { picture::alignment(folder.of("x.png"), ones({2})); }) ==
        "alignment: the weights must be [target, source], got [2]");
  CHECK(refusal<ValueError>([&] {
          picture::alignment(folder.of("x.png"), ones({2, 3}), {"a"});
        }) == "alignment: 1 source words for 3 of them");
  CHECK(refusal<ValueError>([&] {
          picture::curve(folder.of("x.png"), {{.name = "a", .y = {1, 2}, .x = {1}}});
        }) == "curve: a has 1 x and 2 y");
  CHECK(fs::is_empty(folder.path));
}

}  // namespace attune::tests
