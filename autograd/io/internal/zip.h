// Zip archives: stored and deflated members, beyond 4 GiB too (zip64); nothing encrypted, nothing in several volumes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "autograd/io/file.h"

namespace attune::io {

struct ZipEntry {
  std::string name;
  std::int64_t header = 0;  ///< where its local header begins
  std::int64_t data = 0;    ///< where its bytes begin
  std::int64_t packed = 0;  ///< their number in the archive
  std::int64_t size = 0;    ///< and after unpacking
  std::uint32_t crc = 0;
  std::uint16_t method = 0;  ///< 0: stored, 8: deflated
  bool encrypted = false;
};

/// The members of an archive. All that is claimed is checked first: every member lies inside of the file, none overlaps
/// another, no name stands twice, and no size is beyond what deflating can have made of the bytes that are there.
class ZipReader {
 public:
  /// Reads the directory, and the local header of every member. Throws FileError. `file` must stay.
  explicit ZipReader(const Input& file);

  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(const std::string& name) const;  ///< null if there is none
  const Input& file() const { return file_; }

  /// The member's bytes, unpacked as they are asked for: each once, in order. The checksum is compared when the last
  /// one was. Errors are the archive's, with the member's name.
  Input::Reader reader(const ZipEntry& entry) const;
  std::string read_all(const ZipEntry& entry, std::int64_t most_bytes) const;

 private:
  struct Directory {
    std::uint64_t offset = 0, bytes = 0, count = 0;
  };
  Directory find_directory() const;
  void read_directory(const Directory& d);
  void check_places(std::int64_t directory);

  const Input& file_;
  std::vector<ZipEntry> entries_;
};

/// Writes an archive from first to last byte, in one pass.
class ZipWriter {
 public:
  /// Sizes and offsets from `zip64_from` on are written in 64 bits, which only tests have below 4 GiB.
  explicit ZipWriter(const Sink& sink, std::uint64_t zip64_from = 0xffffffff) : sink_(sink), zip64_from_(zip64_from) {}
  /// Calls `write` with a sink for the member's `size` bytes. Stored, it is called twice, the first time for the
  /// checksum, which comes before the bytes; deflated, once.
  void add(const std::string& name, std::int64_t size, bool deflate, const std::function<void(const Sink&)>& write);
  void finish();  ///< writes the directory

 private:
  struct Member {
    std::string name;
    std::uint64_t offset = 0, packed = 0, size = 0;
    std::uint32_t crc = 0;
    bool deflated = false;
  };
  void put(const std::string& bytes);
  bool large(std::uint64_t n) const { return n >= zip64_from_; }

  const Sink& sink_;
  std::uint64_t zip64_from_;
  std::uint64_t written_ = 0;
  std::vector<Member> members_;
};

}  // namespace attune::io
