#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <string_view>

#include "autograd/io/internal/checksum.h"
#include "autograd/io/internal/zip.h"

namespace attune::io {

namespace {

constexpr std::int64_t end_bytes = 22, locator_bytes = 20, end64_bytes = 56, central_bytes = 46, local_bytes = 30;
constexpr std::int64_t most_directory = 100'000'000;
constexpr std::uint64_t none16 = 0xffff, none32 = 0xffffffff;  // the number stands elsewhere, in 64 bits
constexpr std::int64_t deflate_at_most = 1032;                 // a byte cannot become more

/// Little-endian numbers, from first to last; the caller has checked that they are there.
struct Fields {
  const char* at;
  std::uint64_t take(int bytes) {
    std::uint64_t v = 0;
    for (int i = 0; i < bytes; ++i) v |= static_cast<std::uint64_t>(static_cast<unsigned char>(at[i])) << 8 * i;
    at += bytes;
    return v;
  }
  void skip(int bytes) { at += bytes; }
};

std::string read_string(const Input& file, std::int64_t offset, std::int64_t bytes) {
  std::string s(static_cast<std::size_t>(bytes), '\0');
  file.read(offset, s.data(), bytes);
  return s;
}

[[noreturn]] void fail(const Input& file, const ZipEntry& e, const std::string& what) {
  file.fail("\"" + e.name + "\" in the archive " + what);
}

/// Takes from the extra fields of a directory's entry the numbers that did not fit into 32 bits.
bool widen(std::string_view extra, std::uint64_t& size, std::uint64_t& packed, std::uint64_t& header) {
  while (extra.size() >= 4) {
    Fields field{extra.data()};
    const std::uint64_t id = field.take(2), bytes = field.take(2);
    extra.remove_prefix(4);
    if (bytes > extra.size()) return false;
    if (id == 1) {
      std::uint64_t left = bytes;
      for (std::uint64_t* n : {&size, &packed, &header}) {
        if (*n != none32) continue;
        if (left < 8) return false;
        *n = field.take(8);
        left -= 8;
      }
      return true;
    }
    extra.remove_prefix(bytes);
  }
  return size != none32 && packed != none32 && header != none32;
}

}  // namespace

ZipReader::ZipReader(const Input& file) : file_(file) {
  const Directory directory = find_directory();
  read_directory(directory);
  check_places(static_cast<std::int64_t>(directory.offset));
}

ZipReader::Directory ZipReader::find_directory() const {
  const std::int64_t bytes = std::min(file_.size(), end_bytes + 0xffff), start = file_.size() - bytes;
  const std::string tail = read_string(file_, start, bytes);
  // The end's record is followed by nothing but its own comment.
  std::int64_t at = bytes - end_bytes;
  for (; at >= 0; --at)
    if (tail.compare(static_cast<std::size_t>(at), 4, "PK\5\6") == 0 &&
        Fields{tail.data() + at + 20}.take(2) == static_cast<std::uint64_t>(bytes - at - end_bytes))
      break;
  if (at < 0)
    file_.fail("is no whole zip archive: the directory at its end is missing, behind the " +
               std::to_string(file_.size()) + " bytes that are there (is it cut off?)");
  Fields end{tail.data() + at + 4};
  const std::uint64_t disk = end.take(2), directory_disk = end.take(2), here = end.take(2);
  Directory d;
  d.count = end.take(2);
  d.bytes = end.take(4);
  d.offset = end.take(4);
  std::int64_t end_at = start + at;
  if (const std::int64_t locator = end_at - locator_bytes; locator >= 0) {
    const std::string text = read_string(file_, locator, locator_bytes);
    if (text.starts_with("PK\6\7")) {
      Fields field{text.data() + 8};
      const std::uint64_t end64 = field.take(8);
      if (locator < end64_bytes || end64 > static_cast<std::uint64_t>(locator - end64_bytes))
        file_.fail("is a damaged zip archive: its directory lies outside of it");
      end_at = static_cast<std::int64_t>(end64);
      const std::string record = read_string(file_, end_at, end64_bytes);
      if (!record.starts_with("PK\6\6")) file_.fail("is a damaged zip archive: no directory where its end says");
      Fields numbers{record.data() + 32};
      d.count = numbers.take(8);
      d.bytes = numbers.take(8);
      d.offset = numbers.take(8);
    }
  }
  if ((disk != 0 && disk != none16) || (directory_disk != 0 && directory_disk != none16) ||
      (here != d.count && here != none16))
    file_.fail("is a zip archive in several volumes");
  const auto limit = static_cast<std::uint64_t>(end_at);
  if (d.offset > limit || d.bytes > limit - d.offset)
    file_.fail("is a damaged zip archive: its directory lies outside of it");
  if (d.bytes > static_cast<std::uint64_t>(most_directory))
    file_.fail("claims a zip directory of " + std::to_string(d.bytes) + " bytes; at most 100000000 are read");
  if (d.count > d.bytes / static_cast<std::uint64_t>(central_bytes))
    file_.fail("is a damaged zip archive: " + std::to_string(d.count) + " members do not fit in its directory");
  return d;
}

void ZipReader::read_directory(const Directory& d) {
  const std::string text = read_string(file_, static_cast<std::int64_t>(d.offset), static_cast<std::int64_t>(d.bytes));
  std::string_view rest = text;
  std::set<std::string> names;
  const auto damaged = [&] { file_.fail("is a damaged zip archive: its directory is malformed"); };
  for (std::uint64_t i = 0; i < d.count; ++i) {
    if (rest.size() < static_cast<std::size_t>(central_bytes) || !rest.starts_with("PK\1\2")) damaged();
    Fields field{rest.data() + 8};
    ZipEntry e;
    e.encrypted = (field.take(2) & 1) != 0;
    e.method = static_cast<std::uint16_t>(field.take(2));
    field.skip(4);
    e.crc = static_cast<std::uint32_t>(field.take(4));
    std::uint64_t packed = field.take(4), size = field.take(4);
    const std::uint64_t name = field.take(2), extra = field.take(2), comment = field.take(2);
    field.skip(8);
    std::uint64_t header = field.take(4);
    rest.remove_prefix(static_cast<std::size_t>(central_bytes));
    if (name + extra + comment > rest.size()) damaged();
    e.name = rest.substr(0, name);
    if (!widen(rest.substr(name, extra), size, packed, header)) damaged();
    rest.remove_prefix(name + extra + comment);
    if (e.name.empty() || e.name.find('\0') != std::string::npos) file_.fail("has a member without a proper name");
    if (!names.insert(e.name).second) fail(file_, e, "is there twice");
    if (header > d.offset || packed > d.offset - header) fail(file_, e, "lies outside of it");
    if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail(file_, e, "claims " + std::to_string(size) + " bytes");
    e.header = static_cast<std::int64_t>(header);
    e.packed = static_cast<std::int64_t>(packed);
    e.size = static_cast<std::int64_t>(size);
    entries_.push_back(std::move(e));
  }
}

void ZipReader::check_places(std::int64_t directory) {
  std::vector<ZipEntry*> in_order;
  for (ZipEntry& e : entries_) in_order.push_back(&e);
  std::sort(in_order.begin(), in_order.end(),
            [](const ZipEntry* a, const ZipEntry* b) { return a->header < b->header; });
  std::int64_t covered = 0;
  for (ZipEntry* e : in_order) {
    if (e->header < covered) fail(file_, *e, "overlaps another one");
    if (e->header > directory - local_bytes) fail(file_, *e, "lies outside of it");
    const std::string header = read_string(file_, e->header, local_bytes);
    Fields lengths{header.data() + 26};
    const auto name = static_cast<std::int64_t>(lengths.take(2)), extra = static_cast<std::int64_t>(lengths.take(2));
    if (!header.starts_with("PK\3\4")) fail(file_, *e, "is damaged: there is no header where the directory says");
    e->data = e->header + local_bytes + name + extra;
    if (e->data > directory || e->packed > directory - e->data) fail(file_, *e, "lies outside of it");
    if (read_string(file_, e->header + local_bytes, name) != e->name)
      fail(file_, *e, "is damaged: its header has another name");
    covered = e->data + e->packed;
    const bool possible = e->method == 0   ? e->size == e->packed
                          : e->method == 8 ? e->size / deflate_at_most <= e->packed
                                           : true;
    if (!possible)
      fail(file_, *e,
           "claims " + std::to_string(e->size) + " bytes, which cannot come of " + std::to_string(e->packed) +
               " packed ones");
  }
}

const ZipEntry* ZipReader::find(const std::string& name) const {
  for (const ZipEntry& e : entries_)
    if (e.name == name) return &e;
  return nullptr;
}

namespace {

/// One pass over a member.
class Unpacking {
 public:
  Unpacking(const Input& file, const ZipEntry& entry) : file_(file), entry_(entry) {
    if (entry.encrypted) fail("is encrypted, which cannot be read");
    if (entry.method != 0 && entry.method != 8)
      fail("is packed by method " + std::to_string(entry.method) + "; stored and deflated members can be read");
    if (entry.method == 8) {
      if (::inflateInit2(&stream_, -MAX_WBITS) != Z_OK) fail("cannot be unpacked: no memory");
      inflating_ = true;
    }
  }
  ~Unpacking() {
    if (inflating_) ::inflateEnd(&stream_);
  }
  Unpacking(const Unpacking&) = delete;
  Unpacking& operator=(const Unpacking&) = delete;

  void read(std::int64_t offset, void* to, std::int64_t bytes) {
    if (offset != done_) fail("was not read in order");
    if (entry_.method == 0)
      file_.read(entry_.data + offset, to, bytes);
    else
      inflate(static_cast<Bytef*>(to), bytes);
    crc_ = crc32(crc_, to, bytes);
    done_ += bytes;
    if (done_ == entry_.size) finish();
  }
  void finish() {
    if (inflating_) expect_end();
    if (crc_ != entry_.crc) fail("is damaged: its checksum does not fit");
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { io::fail(file_, entry_, what); }

  int step() {
    if (stream_.avail_in == 0 && taken_ < entry_.packed) {
      const std::int64_t n = std::min<std::int64_t>(entry_.packed - taken_, sizeof in_);
      file_.read(entry_.data + taken_, in_, n);
      taken_ += n;
      stream_.next_in = in_;
      stream_.avail_in = static_cast<uInt>(n);
    }
    return ::inflate(&stream_, Z_NO_FLUSH);
  }
  void inflate(Bytef* to, std::int64_t bytes) {
    while (bytes > 0) {
      const auto room = static_cast<uInt>(std::min<std::int64_t>(bytes, 1 << 30));
      stream_.next_out = to;
      stream_.avail_out = room;
      const int state = step();
      const std::int64_t got = static_cast<std::int64_t>(room) - stream_.avail_out;
      to += got;
      bytes -= got;
      if (state == Z_STREAM_END && bytes > 0) fail("is damaged: it is shorter than it says");
      if (state != Z_OK && state != Z_STREAM_END) fail("is damaged: it cannot be unpacked");
    }
  }
  void expect_end() {
    Bytef more = 0;
    for (int state = Z_OK; state != Z_STREAM_END;) {
      stream_.next_out = &more;
      stream_.avail_out = 1;
      state = step();
      if (stream_.avail_out == 0) fail("is damaged: it is longer than it says");
      if (state != Z_OK && state != Z_STREAM_END) fail("is damaged: it cannot be unpacked");
    }
    inflating_ = false;
    ::inflateEnd(&stream_);
  }

  const Input& file_;
  const ZipEntry& entry_;
  z_stream stream_{};
  bool inflating_ = false;
  std::int64_t done_ = 0, taken_ = 0;
  std::uint32_t crc_ = 0;
  Bytef in_[1 << 16];
};

}  // namespace

Input::Reader ZipReader::reader(const ZipEntry& entry) const {
  const auto unpacking = std::make_shared<Unpacking>(file_, entry);
  if (entry.size == 0) unpacking->finish();
  return [unpacking](std::int64_t offset, void* to, std::int64_t bytes) { unpacking->read(offset, to, bytes); };
}

std::string ZipReader::read_all(const ZipEntry& entry, std::int64_t most_bytes) const {
  return Input(file_.path() + ": " + entry.name, entry.size, reader(entry), file_.here()).read_all(most_bytes);
}

}  // namespace attune::io
