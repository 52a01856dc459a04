#include "autograd/io/npy.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "autograd/io/file.h"
#include "autograd/io/internal/elements.h"
#include "autograd/ops/movement.h"
#include "autograd/runtime/error.h"
#include "autograd/tape/modes.h"

namespace attune {

namespace {

constexpr char magic[] = "\x93NUMPY";
constexpr std::int64_t most_header = 10'000;

/// The header: a Python dictionary of exactly three keys in any order, as numpy writes it:
/// {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
class HeaderReader {
 public:
  HeaderReader(const io::Input& file, std::string_view text) : file_(file), rest_(text) {}
  const io::Element* element = nullptr;
  std::optional<bool> fortran;
  std::optional<Shape> shape;

  void read() {
    expect('{');
    while (!take('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr" && !element)
        read_descr();
      else if (key == "fortran_order" && !fortran)
        read_order();
      else if (key == "shape" && !shape)
        read_shape();
      else
        file_.fail("has an unexpected header entry '" + std::string(key) + "'");
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (!rest_.empty()) malformed();
    if (!element || !fortran || !shape) file_.fail("the header must give descr, fortran_order and shape");
  }

 private:
  [[noreturn]] void malformed() const { file_.fail("the header is no dictionary of descr, fortran_order and shape"); }
  void skip_blanks() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\n"), rest_.size())); }
  bool take(std::string_view word) {
    skip_blanks();
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool take(char c) { return take(std::string_view(&c, 1)); }
  void expect(char c) {
    if (!take(c)) malformed();
  }
  std::string_view quoted() {
    const char quote = take('\'') ? '\'' : '"';
    if (quote == '"') expect('"');
    const std::size_t end = rest_.find(quote);
    if (end == std::string_view::npos) malformed();
    const std::string_view text = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return text;
  }

  void read_descr() {
    skip_blanks();
    if (rest_.substr(0, 1) == "[") file_.fail("has records as elements, which cannot be read");
    const std::string_view code = quoted();
    for (const io::Element& e : io::elements())
      if (e.npy && code == e.npy) element = &e;
    if (!element) file_.fail("has elements of type '" + std::string(code) + "', which cannot be read");
  }
  void read_order() {
    if (take("True"))
      fortran = true;
    else if (take("False"))
      fortran = false;
    else
      malformed();
  }
  void read_shape() {
    expect('(');
    shape.emplace();
    bool comma = true;
    while (!take(')')) {
      if (!comma) malformed();
      if (shape->rank() == max_rank) file_.fail("has more than " + std::to_string(max_rank) + " axes");
      shape->push_back(natural());
      take('L');  // which Python 2 appended
      comma = take(',');
    }
    if (shape->rank() == 1 && !comma) malformed();  // a number in parentheses is no tuple
  }
  std::int64_t natural() {
    skip_blanks();
    std::int64_t n = 0;
    const std::size_t digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
    if (digits == 0) malformed();
    for (char c : rest_.substr(0, digits))
      if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, c - '0', &n))
        file_.fail("has a size beyond 64 bits");
    rest_.remove_prefix(digits);
    return n;
  }

  const io::Input& file_;
  std::string_view rest_;
};

}  // namespace

Tensor load_npy(const std::string& path, Here here) {
  const io::Input file(path, here);
  std::uint8_t start[12] = {};
  if (file.size() < 10) file.fail("is too short for an .npy file");
  file.read(0, start, 10);
  if (std::memcmp(start, magic, 6) != 0) file.fail("is no .npy file");
  if (start[6] < 1 || start[6] > 3 || start[7] != 0)
    file.fail("has the unknown format version " + std::to_string(start[6]) + "." + std::to_string(start[7]));
  std::int64_t length = start[8] | start[9] << 8, data_start = 10;
  if (start[6] >= 2) {
    if (file.size() < 12) file.fail("ends inside the header");
    file.read(8, start + 8, 4);
    length |= static_cast<std::int64_t>(start[10]) << 16 | static_cast<std::int64_t>(start[11]) << 24;
    data_start = 12;
  }
  if (length > most_header)
    file.fail("claims a header of " + std::to_string(length) + " bytes; at most 10000 are allowed");
  if (data_start + length > file.size()) file.fail("ends inside the header");
  std::string text(static_cast<std::size_t>(length), '\0');
  file.read(data_start, text.data(), length);
  data_start += length;

  HeaderReader header(file, text);
  header.read();
  const std::int64_t bytes = io::bytes_of(*header.element, *header.shape);
  if (bytes < 0) file.fail("has a shape whose bytes overflow 64 bits");
  if (file.size() - data_start != bytes)
    file.fail("holds " + std::to_string(file.size() - data_start) + " bytes of data for " + header.shape->str() + " " +
              header.element->npy);
  Shape stored = *header.shape;
  if (*header.fortran) std::reverse(stored.begin(), stored.end());
  Tensor t = io::read_elements(file, data_start, *header.element, stored, "");
  if (!*header.fortran || t.rank() < 2) return t;
  Dims axes;
  for (int i = t.rank() - 1; i >= 0; --i) axes.push_back(i);
  const NoGrad off;
  return contiguous(permute(t, axes));
}

void save_npy(const std::string& path, const Tensor& x, Here here) {
  if (!x.defined()) throw ValueError("save_npy: the tensor is undefined", here);
  std::string shape = x.shape().str();
  shape = "(" + shape.substr(1, shape.size() - 2) + (x.rank() == 1 ? ",)" : ")");
  std::string text = std::string("{'descr': '") + io::element_of(x.dtype()).npy +
                     "', 'fortran_order': False, 'shape': " + shape + ", }";
  // The data begin at a multiple of 64 bytes, after a line's end.
  text.resize((text.size() + 11 + 63) / 64 * 64 - 11, ' ');
  text += '\n';
  io::write_atomically(
      path,
      [&](const io::Sink& sink) {
        const auto length = static_cast<std::uint16_t>(text.size());
        const std::uint8_t version[] = {1, 0, static_cast<std::uint8_t>(length & 255),
                                        static_cast<std::uint8_t>(length >> 8)};
        sink(magic, 6);
        sink(version, 4);
        sink(text.data(), static_cast<std::int64_t>(text.size()));
        io::write_elements(sink, x);
      },
      here);
}

}  // namespace attune
