#include "autograd/trace/internal/drawing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "autograd/io/file.h"
#include "autograd/runtime/error.h"
#include "autograd/trace/internal/filter.h"

namespace attune::detail {

namespace {

constexpr std::chrono::seconds limit{30};

/// The bytes of the character that begins at `at`, or 0 if that is no UTF-8.
std::size_t character(const std::string& s, std::size_t at) {
  const auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const unsigned first = byte(at);
  const std::size_t n = first < 0x80   ? 1
                        : first < 0xC2 ? 0
                        : first < 0xE0 ? 2
                        : first < 0xF0 ? 3
                        : first < 0xF5 ? 4
                                       : 0;
  unsigned code = n < 2 ? first : first & (0x7Fu >> n);
  for (std::size_t i = 1; i < n; ++i) {
    if ((byte(at + i) & 0xC0u) != 0x80u) return 0;
    code = code << 6 | (byte(at + i) & 0x3Fu);
  }
  constexpr unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  return n != 0 && code >= least[n] && !surrogate && code <= 0x10FFFF ? n : 0;
}

/// C0, DEL, C1, line separators and what turns the direction of writing.
bool is_control(const std::string& c) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(c[i]); };
  if (c.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7F;
  if (c.size() == 2) return byte(0) == 0xC2 && byte(1) < 0xA0;
  if (c.size() != 3 || byte(0) != 0xE2) return false;
  return (byte(1) == 0x80 && byte(2) >= 0xA8 && byte(2) <= 0xAE) || (byte(1) == 0x81 && byte(2) >= 0xA6);
}

std::string escaped(const std::string& bytes) {
  if (bytes == "\n") return "\\n";
  if (bytes == "\t") return "\\t";
  std::string s;
  for (const char c : bytes) s += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return s;
}

std::size_t characters(const std::string& valid) {
  return static_cast<std::size_t>(std::count_if(
      valid.begin(), valid.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
}

bool looks_drawn(const std::string& kind, const std::string& picture) {
  if (kind == "png") return picture.starts_with("\x89PNG");
  return picture.find("<svg") != std::string::npos && picture.find("</svg>") != std::string::npos;
}

}  // namespace

std::string shown(const std::string& label, std::size_t most) {
  std::string s;
  std::size_t count = 0;
  for (std::size_t at = 0; at < label.size();) {
    const std::size_t n = character(label, at);
    const std::string c = label.substr(at, std::max<std::size_t>(n, 1));
    if (++count > most) return s + "…";
    s += n == 0 || is_control(c) ? escaped(c) : c;
    at += c.size();
  }
  return s;
}

std::string gnuplot_string(const std::string& label, std::size_t most) {
  std::string s = "\"";
  for (const char c : shown(label, most)) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == ' ';  // a digit would belong to the code before it
    s += plain ? std::string(1, c) : fmt::format("\\{:03o}", static_cast<unsigned char>(c));
  }
  return s + "\"";
}

std::string dot_string(const std::string& label, std::size_t most) {
  std::string s = "\"";
  for (const char c : shown(label, most)) {
    if (c == '"' || c == '\\') s += '\\';
    s += c == '&' ? "&amp;" : std::string(1, c);
  }
  return s + "\"";
}

std::string padded(const std::string& label, std::size_t width, bool right) {
  const std::size_t n = characters(label);
  const std::string space(n < width ? width - n : 0, ' ');
  return right ? space + label : label + space;
}

std::string kind_of_picture(const std::string& path, Here here) {
  for (const char* kind : {"svg", "png"})
    if (path.ends_with(std::string(".") + kind)) return kind;
  throw ValueError("picture: " + path + " ends in neither .svg nor .png", here);
}

bool draw(const std::string& path, const std::vector<std::string>& command, const std::string& script,
          const std::function<std::string()>& text, Here here) {
  const std::string kind = kind_of_picture(path, here);
  std::string reason;
  try {
    io::write_atomically(
        path,
        [&](const io::Sink& sink) {
          const std::string picture = filter(command, script, limit);
          if (!looks_drawn(kind, picture)) throw FilterError(command[0] + " drew nothing");
          sink(picture.data(), static_cast<std::int64_t>(picture.size()));
        },
        here);
    return true;
  } catch (const FilterError& e) {
    reason = e.what();
  }
  const std::string beside = path + ".txt";
  io::write_text(beside, text(), here);
  std::fputs(fmt::format("{}: this picture could not be drawn: {}; its data is in {}\n", shown(path, 4096), reason,
                         shown(beside, 4096))
                 .c_str(),
             stderr);
  return false;
}

namespace {

/// Whether a font has the character; true if nobody knows.
bool has_font(unsigned code) try {
  return filter({"fc-list", fmt::format(":charset={:x}", code), "family"}, "", limit).find_first_not_of(" \n") !=
         std::string::npos;
} catch (const FilterError&) {
  return true;
}

/// The bytes that gnuplot_string() wrote as codes, "\\346\\227\\245", from `at` on, if they are one character beyond
/// ASCII; `next` is then behind them.
std::string coded(const std::string& script, std::size_t at, std::size_t& next) {
  std::string bytes;
  next = at;
  while (next + 4 <= script.size() && script[next] == '\\' && (script[next + 1] == '2' || script[next + 1] == '3')) {
    if (script[next + 1] == '3' && !bytes.empty()) break;  // the next character's first byte
    bytes += static_cast<char>(std::stoi(script.substr(next + 1, 3), nullptr, 8));
    next += 4;
  }
  return bytes.size() >= 2 && character(bytes, 0) == bytes.size() ? bytes : "";
}

/// A script with the characters of its strings that no font has as "u65e5": gnuplot's PNG terminal draws such a one all
/// over the picture.
std::string with_fonts_alone(const std::string& script) {
  std::map<unsigned, bool> known;
  std::string out;
  for (std::size_t at = 0, next = 0; at < script.size();) {
    const std::string bytes = script[at] == '\\' ? coded(script, at, next) : "";
    if (bytes.empty()) {
      out += script[at++];
      continue;
    }
    unsigned code = static_cast<unsigned char>(bytes[0]) & (0x7Fu >> bytes.size());
    for (std::size_t i = 1; i < bytes.size(); ++i) code = code << 6 | (static_cast<unsigned char>(bytes[i]) & 0x3Fu);
    constexpr unsigned latin = 0x250;
    constexpr std::size_t most = 200;  // that are asked for; further ones are taken for missing
    if (code >= latin && !known.contains(code) && known.size() < most) known[code] = has_font(code);
    const bool drawn = code < latin || (known.contains(code) && known[code]);
    out += drawn ? script.substr(at, next - at) : fmt::format("u{:x} ", code);
    at = next;
  }
  return out;
}

}  // namespace

bool draw_by_gnuplot(const std::string& path, int width, int height, const std::string& script,
                     const std::function<std::string()>& text, Here here) {
  const std::string size = fmt::format("size {},{}", width, height);
  const std::string terminal = kind_of_picture(path, here) == "svg"
                                   ? "svg " + size + " noenhanced background rgb 'white' font 'DejaVu Sans,12'"
                                   : "pngcairo " + size + " noenhanced background rgb 'white' font 'DejaVu Sans,10'";
  const std::string drawn = path.ends_with("png") ? with_fonts_alone(script) : script;
  return draw(path, {"gnuplot"}, "set encoding utf8\nset terminal " + terminal + "\n" + drawn + "\n", text, here);
}

}  // namespace attune::detail
