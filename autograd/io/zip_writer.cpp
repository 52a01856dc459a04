#include <zlib.h>

#include <algorithm>
#include <new>
#include <utility>

#include "autograd/io/internal/checksum.h"
#include "autograd/io/internal/zip.h"

namespace attune::io {

namespace {

// Nobody needs more than the format's first version had, but for 64 bits and names beyond ASCII.
constexpr std::uint16_t version = 20, version_zip64 = 45, utf8_names = 1 << 11, sizes_follow = 1 << 3;
constexpr std::uint16_t first_of_january_1980 = 1 << 5 | 1;  // always, so that equal members give equal bytes

/// Little-endian numbers behind each other.
class Record {
 public:
  explicit Record(const char* signature) : bytes_(signature, 4) {}
  Record& put(std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bytes_ += static_cast<char>(value >> 8 * i & 255);
    return *this;
  }
  Record& put(const std::string& text) {
    bytes_ += text;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// Deflates what it gets into a sink.
class Deflater {
 public:
  explicit Deflater(const Sink& sink) : sink_(sink) {
    if (::deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
      throw std::bad_alloc();
  }
  ~Deflater() { ::deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  void put(const void* data, std::int64_t bytes) {
    const auto* at = static_cast<const Bytef*>(data);
    while (bytes > 0) {
      const std::int64_t n = std::min<std::int64_t>(bytes, 1 << 30);
      stream_.next_in = const_cast<Bytef*>(at);  // which zlib does not write to
      stream_.avail_in = static_cast<uInt>(n);
      run(Z_NO_FLUSH);
      at += n;
      bytes -= n;
    }
  }
  void finish() { run(Z_FINISH); }

 private:
  void run(int flush) {
    do {
      stream_.next_out = out_;
      stream_.avail_out = sizeof out_;
      ::deflate(&stream_, flush);
      sink_(out_, static_cast<std::int64_t>(sizeof out_ - stream_.avail_out));
    } while (stream_.avail_out == 0);
  }

  const Sink& sink_;
  z_stream stream_{};
  Bytef out_[1 << 16];
};

}  // namespace

void ZipWriter::put(const std::string& bytes) {
  sink_(bytes.data(), static_cast<std::int64_t>(bytes.size()));
  written_ += bytes.size();
}

void ZipWriter::add(const std::string& name, std::int64_t size, bool deflate,
                    const std::function<void(const Sink&)>& write) {
  Member m{name, written_, 0, static_cast<std::uint64_t>(size), 0, deflate};
  // What deflating makes of a size is not known yet; it may be a little more.
  const bool wide = large(m.size + (deflate ? m.size / 1000 + 1024 : 0));
  const Sink sum = [&](const void* data, std::int64_t bytes) { m.crc = crc32(m.crc, data, bytes); };
  if (!deflate) {
    write(sum);
    m.packed = m.size;
  }
  Record header("PK\3\4");
  header.put(wide ? version_zip64 : version, 2).put(utf8_names | (deflate ? sizes_follow : 0), 2);
  header.put(deflate ? 8 : 0, 2).put(0, 2).put(first_of_january_1980, 2).put(m.crc, 4);
  const std::uint64_t here = deflate ? 0 : m.size;
  header.put(wide ? 0xffffffff : here, 4).put(wide ? 0xffffffff : here, 4).put(name.size(), 2).put(wide ? 20 : 0, 2);
  header.put(name);
  if (wide) header.put(1, 2).put(16, 2).put(here, 8).put(here, 8);
  put(header.bytes());
  if (deflate) {
    const std::uint64_t from = written_;
    const Sink packed = [&](const void* data, std::int64_t bytes) {
      sink_(data, bytes);
      written_ += static_cast<std::uint64_t>(bytes);
    };
    Deflater deflater(packed);
    write([&](const void* data, std::int64_t bytes) {
      sum(data, bytes);
      deflater.put(data, bytes);
    });
    deflater.finish();
    m.packed = written_ - from;
    const int width = wide ? 8 : 4;
    put(Record("PK\7\10").put(m.crc, 4).put(m.packed, width).put(m.size, width).bytes());
  } else {
    write(sink_);
    written_ += m.size;
  }
  members_.push_back(std::move(m));
}

void ZipWriter::finish() {
  const std::uint64_t directory = written_;
  for (const Member& m : members_) {
    const bool wide = large(m.size) || large(m.packed) || large(m.offset);
    const auto narrow = [&](std::uint64_t n) { return wide ? 0xffffffff : n; };
    Record r("PK\1\2");
    r.put(wide ? version_zip64 : version, 2).put(wide ? version_zip64 : version, 2);
    r.put(utf8_names | (m.deflated ? sizes_follow : 0), 2).put(m.deflated ? 8 : 0, 2);
    r.put(0, 2).put(first_of_january_1980, 2).put(m.crc, 4).put(narrow(m.packed), 4).put(narrow(m.size), 4);
    r.put(m.name.size(), 2).put(wide ? 28 : 0, 2).put(0, 8).put(0, 2).put(narrow(m.offset), 4).put(m.name);
    if (wide) r.put(1, 2).put(24, 2).put(m.size, 8).put(m.packed, 8).put(m.offset, 8);
    put(r.bytes());
  }
  const std::uint64_t bytes = written_ - directory, count = members_.size();
  const bool wide = large(directory) || large(bytes) || count >= 0xffff;
  if (wide) {
    const std::uint64_t at = written_;
    Record r("PK\6\6");
    r.put(44, 8).put(version_zip64, 2).put(version_zip64, 2).put(0, 8).put(count, 8).put(count, 8);
    put(r.put(bytes, 8).put(directory, 8).bytes());
    put(Record("PK\6\7").put(0, 4).put(at, 8).put(1, 4).bytes());
  }
  Record end("PK\5\6");
  end.put(0, 4).put(wide ? 0xffff : count, 2).put(wide ? 0xffff : count, 2);
  put(end.put(wide ? 0xffffffff : bytes, 4).put(wide ? 0xffffffff : directory, 4).put(0, 2).bytes());
}

}  // namespace attune::io
