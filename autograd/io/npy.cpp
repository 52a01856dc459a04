#include "autograd/io/npy.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "autograd/io/file.h"
#include "autograd/io/internal/elements.h"
#include "autograd/io/internal/kind.h"
#include "autograd/io/internal/npy_array.h"
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
  const io::Element* element = nullptr;  // null for elements that no tensor has
  std::string code;                      // their type, as the file names it
  io::Order order = io::Order::little;
  std::optional<bool> fortran;
  std::optional<Shape> shape;

  void read() {
    expect('{');
    while (!take('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr" && code.empty())
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
    if (code.empty() || !fortran || !shape) file_.fail("the header must give descr, fortran_order and shape");
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
    if (rest_.substr(0, 1) == "[") return skip_records();
    code = quoted();
    if (code.empty()) malformed();
    const std::string_view type = code;
    const io::Element* const found = io::find_element(&io::Element::npy, type.substr(1));
    if (!found || !(type[0] == '<' || type[0] == '>' || (type[0] == '|' && found->bytes == 1))) return;
    element = found;
    order = type[0] == '>' ? io::Order::big : io::Order::little;
  }
  /// A list of fields, which may be lists themselves.
  void skip_records() {
    const std::string_view from = rest_;
    int open = 0;
    do {
      skip_blanks();
      if (rest_.empty()) malformed();
      if (rest_[0] == '\'' || rest_[0] == '"') {
        quoted();
        continue;
      }
      open += rest_[0] == '[' ? 1 : rest_[0] == ']' ? -1 : 0;
      rest_.remove_prefix(1);
    } while (open > 0);
    code = from.substr(0, from.size() - rest_.size());
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

/// The header of an .npy file, read from its start to `data_start`.
std::string header_of(const io::Input& file, std::int64_t& data_start) {
  std::uint8_t start[12] = {};
  if (file.size() < 10) file.fail("is too short for an .npy file: it has " + std::to_string(file.size()) + " bytes");
  file.read(0, start, 10);
  if (std::memcmp(start, magic, 6) != 0) {
    io::expect_kind(file, io::Kind::npy, ".npy file");
    file.fail("is no .npy file");
  }
  if (start[6] < 1 || start[6] > 3 || start[7] != 0)
    file.fail("has the unknown format version " + std::to_string(start[6]) + "." + std::to_string(start[7]));
  std::int64_t length = start[8] | start[9] << 8;
  data_start = 10;
  if (start[6] >= 2) {
    if (file.size() < 12) file.fail("ends inside the header");
    file.read(10, start + 10, 2);
    length |= static_cast<std::int64_t>(start[10]) << 16 | static_cast<std::int64_t>(start[11]) << 24;
    data_start = 12;
  }
  if (length > most_header)
    file.fail("claims a header of " + std::to_string(length) + " bytes; at most 10000 are allowed");
  if (data_start + length > file.size())
    file.fail("ends inside the header, whose " + std::to_string(length) + " bytes end at " +
              std::to_string(data_start + length) + "; the file has " + std::to_string(file.size()));
  std::string text(static_cast<std::size_t>(length), '\0');
  file.read(data_start, text.data(), length);
  data_start += length;
  return text;
}

}  // namespace

io::NpyArray io::read_npy(const Input& file) {
  std::int64_t data_start = 0;
  const std::string text = header_of(file, data_start);
  HeaderReader header(file, text);
  header.read();
  if (!header.element) return {Tensor(), header.code, nullptr};
  const std::int64_t bytes = bytes_of(*header.element, *header.shape), there = file.size() - data_start;
  if (bytes < 0) file.fail("has a shape whose bytes overflow 64 bits");
  if (there != bytes)
    file.fail((there < bytes ? "is cut off: " : "goes on behind its array: ") + std::to_string(bytes) +
              " bytes of data are expected for " + header.shape->str() + " " + header.code + ", and " +
              std::to_string(there) + " are there");
  Shape stored = *header.shape;
  if (*header.fortran) std::reverse(stored.begin(), stored.end());
  Read read = read_elements(file, data_start, *header.element, stored, header.order);
  if (read.fault) return {Tensor(), header.code, read.fault};
  if (!*header.fortran || read.tensor.rank() < 2) return {std::move(read.tensor), header.code, nullptr};
  Dims axes;
  for (int i = read.tensor.rank() - 1; i >= 0; --i) axes.push_back(i);
  const NoGrad off;
  return {contiguous(permute(read.tensor, axes)), header.code, nullptr};
}

Tensor load_npy(const std::string& path, Here here) { return load_npy(io::Input(path, here)); }

Tensor load_npy(const io::Input& file) {
  if (file.size() < 10) io::expect_kind(file, io::Kind::npy, ".npy file");
  const io::NpyArray array = io::read_npy(file);
  if (array.fault) file.fail(array.fault);
  if (array.code.starts_with('[')) file.fail("has records as elements, which cannot be read");
  if (!array.tensor.defined()) file.fail("has elements of type '" + array.code + "', which cannot be read");
  return array.tensor;
}

std::string io::npy_header(const Tensor& x) {
  std::string shape = x.shape().str();
  shape = "(" + shape.substr(1, shape.size() - 2) + (x.rank() == 1 ? ",)" : ")");
  const Element& element = element_of(x.dtype());
  std::string text = std::string("{'descr': '") + (element.bytes == 1 ? '|' : '<') + element.npy +
                     "', 'fortran_order': False, 'shape': " + shape + ", }";
  // The data begin at a multiple of 64 bytes, after a line's end.
  text.resize((text.size() + 11 + 63) / 64 * 64 - 11, ' ');
  text += '\n';
  const char version[] = {1, 0, static_cast<char>(text.size() & 255), static_cast<char>(text.size() >> 8)};
  return magic + std::string(version, 4) + text;
}

void save_npy(const std::string& path, const Tensor& x, Here here) {
  if (!x.defined()) throw ValueError("save_npy: the tensor is undefined", here);
  const std::string header = io::npy_header(x);
  io::write_atomically(
      path,
      [&](const io::Sink& sink) {
        sink(header.data(), static_cast<std::int64_t>(header.size()));
        io::write_elements(sink, x);
      },
      here);
}

}  // namespace attune
