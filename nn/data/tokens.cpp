#include "nn/data/tokens.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "autograd/io/file.h"
#include "autograd/io/internal/checksum.h"
#include "autograd/io/replacement.h"
#include "autograd/ops/create.h"
#include "autograd/runtime/error.h"

static_assert(std::endian::native == std::endian::little);

namespace attune::nn {

namespace {

constexpr std::array<char, 8> magic{'A', 'T', 'T', 'U', 'N', 'E', 'I', 'D'};

struct Header {
  std::array<char, 8> magic{};
  std::uint32_t width = 0, checksum = 0;
  std::uint64_t vocabulary = 0, count = 0, reserved = 0;
};
static_assert(sizeof(Header) == 40);

std::uint32_t width_for(std::int64_t vocabulary) { return vocabulary <= 1 << 8 ? 1 : vocabulary <= 1 << 16 ? 2 : 4; }

template <class Id>
void widen(const std::byte* from, std::int64_t n, std::int64_t* to) {
  for (std::int64_t i = 0; i < n; ++i) {
    Id id = 0;
    std::memcpy(&id, from + i * static_cast<std::int64_t>(sizeof id), sizeof id);
    to[i] = id;
  }
}

void widen(const std::byte* from, std::uint32_t width, std::int64_t n, std::int64_t* to) {
  switch (width) {
    case 1: return widen<std::uint8_t>(from, n, to);
    case 2: return widen<std::uint16_t>(from, n, to);
    default: return widen<std::int32_t>(from, n, to);
  }
}

void put(std::byte* p, std::uint32_t width, std::int64_t i, std::int64_t id) {
  std::memcpy(p + static_cast<std::int64_t>(width) * i, &id, width);  // little-endian
}

void check_vocabulary(std::int64_t vocabulary, const char* name, Here here) {
  if (vocabulary < 1 || vocabulary > std::int64_t{1} << 31)
    throw ValueError(std::string(name) + ": a vocabulary of " + std::to_string(vocabulary) + " is not in 1..2^31",
                     here);
}

/// The ids in `width` bytes each; `before` is how many there are of the stream, for the error.
std::vector<std::byte> packed(const std::vector<std::int64_t>& ids, std::int64_t vocabulary, std::int64_t before,
                              const char* name, Here here) {
  const std::uint32_t width = width_for(vocabulary);
  std::vector<std::byte> bytes(ids.size() * width);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary)
      throw IndexError(std::string(name) + ": id " + std::to_string(ids[i]) + " at " +
                           std::to_string(before + static_cast<std::int64_t>(i)) + " is not in the vocabulary of " +
                           std::to_string(vocabulary),
                       here);
    put(bytes.data(), width, static_cast<std::int64_t>(i), ids[i]);
  }
  return bytes;
}

}  // namespace

struct Tokens::Storage {
  std::vector<std::byte> memory;
  void* mapped = MAP_FAILED;
  std::size_t mapped_bytes = 0;
  const std::byte* ids = nullptr;
  std::int64_t count = 0;
  std::uint32_t width = 4, checksum = 0;
  std::string path;     // "" in memory
  int descriptor = -1;  // of the mapped file

  /// Reading pages behind a file's end would end the program.
  void check_size(Here here) const {
    struct stat now {};
    if (mapped == MAP_FAILED || (::fstat(descriptor, &now) == 0 && now.st_size >= static_cast<off_t>(mapped_bytes)))
      return;
    throw FileError(path + ": was cut after it was opened", here);
  }

  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  ~Storage() {
    if (mapped != MAP_FAILED) ::munmap(mapped, mapped_bytes);
    if (descriptor >= 0) ::close(descriptor);
  }
};

Tokens::Tokens(const std::vector<std::int64_t>& ids, std::int64_t vocabulary, Here here)
    : size_(static_cast<std::int64_t>(ids.size())), vocabulary_(vocabulary) {
  check_vocabulary(vocabulary, "Tokens", here);
  auto s = std::make_shared<Storage>();
  s->width = width_for(vocabulary);
  s->count = size_;
  s->memory = packed(ids, vocabulary, 0, "Tokens", here);
  s->ids = s->memory.data();
  s->checksum = io::crc32(0, s->ids, static_cast<std::int64_t>(s->memory.size()));
  storage_ = std::move(s);
}

Tokens Tokens::open(const std::string& path, Here here) {
  const io::Input file(path, here);  // refuses what is no regular file
  Header h;
  if (file.size() < static_cast<std::int64_t>(sizeof h)) file.fail("is no file of token ids: it is too short");
  file.read(0, &h, sizeof h);
  if (h.magic != magic) file.fail("is no file of token ids");
  const std::uint64_t bytes = static_cast<std::uint64_t>(file.size()) - sizeof h;
  if (h.vocabulary < 1 || h.vocabulary > std::uint64_t{1} << 31 || h.reserved != 0 ||
      h.width != width_for(static_cast<std::int64_t>(h.vocabulary)))
    file.fail("is damaged: its header makes no sense");
  if (h.count > bytes / h.width || h.count * h.width != bytes)
    file.fail("has " + std::to_string(bytes) + " bytes of ids where its header says " + std::to_string(h.count) +
              " ids of " + std::to_string(h.width));
  auto s = std::make_shared<Storage>();
  s->path = path;
  s->width = h.width;
  s->checksum = h.checksum;
  s->count = static_cast<std::int64_t>(h.count);
  s->mapped_bytes = static_cast<std::size_t>(file.size());
  s->descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (s->descriptor >= 0) s->mapped = ::mmap(nullptr, s->mapped_bytes, PROT_READ, MAP_SHARED, s->descriptor, 0);
  if (s->mapped == MAP_FAILED) file.fail(std::string("cannot be mapped: ") + std::strerror(errno));
  s->check_size(here);
  s->ids = static_cast<const std::byte*>(s->mapped) + sizeof h;
  Tokens t;
  t.size_ = s->count;
  t.vocabulary_ = static_cast<std::int64_t>(h.vocabulary);
  t.storage_ = std::move(s);
  return t;
}

void Tokens::check_range(std::int64_t begin, std::int64_t n, Here here) const {
  if (begin < 0 || n < 0 || begin > size_ - n)
    throw IndexError("Tokens: " + std::to_string(n) + " ids from " + std::to_string(begin) +
                         " on are not in a stream of " + std::to_string(size_),
                     here);
}

void Tokens::copy(std::int64_t begin, std::int64_t n, std::int64_t* to, Here here) const {
  check_range(begin, n, here);
  if (n == 0) return;
  storage_->check_size(here);
  widen(storage_->ids + (begin_ + begin) * static_cast<std::int64_t>(storage_->width), storage_->width, n, to);
  for (std::int64_t i = 0; i < n; ++i) {
    if (to[i] < 0 || to[i] >= vocabulary_)
      throw IndexError((storage_->path.empty() ? "Tokens" : storage_->path) + ": id " + std::to_string(to[i]) + " at " +
                           std::to_string(begin_ + begin + i) + " is not in the vocabulary of " +
                           std::to_string(vocabulary_),
                       here);
  }
}

Tensor Tokens::ids(std::int64_t begin, std::int64_t n, Here here) const {
  check_range(begin, n, here);  // before there is room for them
  std::vector<std::int64_t> out(static_cast<std::size_t>(n));
  copy(begin, n, out.data(), here);
  return tensor(out, {n}, DType::int64);
}

std::uint32_t Tokens::checksum() const {
  const std::array<std::int64_t, 2> part{begin_, size_};
  return io::crc32(storage_ ? storage_->checksum : 0, part.data(), sizeof part);
}

Tokens Tokens::slice(std::int64_t begin, std::int64_t end, Here here) const {
  if (begin < 0 || begin > end || end > size_)
    throw IndexError("Tokens: [" + std::to_string(begin) + ", " + std::to_string(end) + ") is no part of a stream of " +
                         std::to_string(size_),
                     here);
  Tokens t = *this;
  t.begin_ += begin;
  t.size_ = end - begin;
  return t;
}

void Tokens::save(const std::string& path, Here here) const {
  if (storage_) storage_->check_size(here);
  const std::uint32_t width = storage_ ? storage_->width : 1;
  const std::byte* bytes = storage_ ? storage_->ids + begin_ * static_cast<std::int64_t>(width) : nullptr;
  const std::int64_t n = size_ * static_cast<std::int64_t>(width);
  const Header h{magic,
                 width,
                 io::crc32(0, bytes, n),
                 static_cast<std::uint64_t>(std::max<std::int64_t>(vocabulary_, 1)),
                 static_cast<std::uint64_t>(size_),
                 0};
  io::write_atomically(
      path,
      [&](const io::Sink& sink) {
        sink(&h, sizeof h);
        sink(bytes, n);
      },
      here);
}

void Tokens::verify(Here here) const {
  if (!storage_ || storage_->path.empty()) return;
  storage_->check_size(here);
  const std::int64_t bytes = storage_->count * static_cast<std::int64_t>(storage_->width);
  if (io::crc32(0, storage_->ids, bytes) != storage_->checksum)
    throw FileError(storage_->path + ": is damaged: its ids do not have their checksum", here);
}

struct TokenWriter::File {
  io::Replacement out;
  std::uint32_t checksum = 0;
  bool finished = false, failed = false;
};

TokenWriter::TokenWriter(const std::string& path, std::int64_t vocabulary, Here here) : vocabulary_(vocabulary) {
  check_vocabulary(vocabulary, "TokenWriter", here);
  file_.reset(new File{io::Replacement(path, here)});
  const Header room;  // which the number of ids and their checksum are not known for yet
  file_->out.append(&room, sizeof room);
}

TokenWriter::~TokenWriter() = default;

void TokenWriter::check_open(const char* what, Here here) const {
  if (file_->finished) throw ValueError(std::string("TokenWriter: ") + what + " after finish()", here);
  if (file_->failed) throw ValueError(std::string("TokenWriter: ") + what + " after an error in writing", here);
}

void TokenWriter::append(const std::vector<std::int64_t>& ids, Here here) {
  check_open("append()", here);
  if (ids.empty()) return;
  const std::vector<std::byte> bytes = packed(ids, vocabulary_, size_, "TokenWriter", here);
  const auto n = static_cast<std::int64_t>(bytes.size());
  file_->failed = true;  // unless all of them are written
  file_->out.append(bytes.data(), n);
  file_->failed = false;
  file_->checksum = io::crc32(file_->checksum, bytes.data(), n);
  size_ += static_cast<std::int64_t>(ids.size());
}

void TokenWriter::finish(Here here) {
  check_open("finish()", here);
  const Header h{magic,
                 width_for(vocabulary_),
                 file_->checksum,
                 static_cast<std::uint64_t>(vocabulary_),
                 static_cast<std::uint64_t>(size_),
                 0};
  file_->failed = true;
  file_->out.overwrite(0, &h, sizeof h);
  file_->out.finish();
  file_->failed = false;
  file_->finished = true;
}

std::pair<Tokens, Tokens> split(const Tokens& tokens, double share, Here here) {
  if (!(share > 0 && share < 1))
    throw ValueError("split: share = " + std::to_string(share) + " is not in (0, 1)", here);
  const auto at = static_cast<std::int64_t>(share * static_cast<double>(tokens.size()));
  return {tokens.slice(0, at), tokens.slice(at, tokens.size())};
}

}  // namespace attune::nn
