// Long texts as token ids: in memory, or in files that are mapped instead of read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/tensor/tensor.h"

namespace attune::nn {

/// A stream of token ids. Copies and slices share the ids.
class Tokens {
 public:
  Tokens() = default;
  /// Throws IndexError for an id outside [0, vocabulary).
  Tokens(const std::vector<std::int64_t>& ids, std::int64_t vocabulary, Here here = Here::current());
  /// A file of save(), mapped into memory: opening it reads its header alone, and pages come as they are used. Throws
  /// FileError for a file of something else, or of another size than its header says. The file must not be written to
  /// while it is open (save() replaces it, and leaves what is open as it was); one that was cut is noticed by the next
  /// copy() or ids(), with a FileError.
  static Tokens open(const std::string& path, Here here = Here::current());

  std::int64_t size() const { return size_; }
  std::int64_t vocabulary() const { return vocabulary_; }
  /// The ids [n] int64 from `begin` on. Throws IndexError outside the stream, also for ids of a damaged file that are
  /// not in the vocabulary.
  Tensor ids(std::int64_t begin, std::int64_t n, Here here = Here::current()) const;
  /// Copies them to `to` instead, about a nanosecond an id.
  void copy(std::int64_t begin, std::int64_t n, std::int64_t* to, Here here = Here::current()) const;
  /// Tells streams apart without reading them: of the ids that were given or saved, and of where this part begins.
  std::uint32_t checksum() const;
  /// The part [begin, end). Throws IndexError outside the stream.
  Tokens slice(std::int64_t begin, std::int64_t end, Here here = Here::current()) const;

  /// Writes the ids through a temporary file, whole or not at all: a header of 40 bytes ("ATTUNEID", then little-endian
  /// the bytes an id and the CRC-32 of the ids as uint32, the vocabulary and the number of ids as uint64, zeros), and
  /// the ids in 1, 2 or 4 bytes each, the fewest that the vocabulary takes. Throws FileError.
  void save(const std::string& path, Here here = Here::current()) const;
  /// Reads all ids of an opened file and compares their checksum. Throws FileError.
  void verify(Here here = Here::current()) const;

 private:
  struct Storage;
  void check_range(std::int64_t begin, std::int64_t n, Here here) const;
  std::shared_ptr<const Storage> storage_;
  std::int64_t begin_ = 0, size_ = 0, vocabulary_ = 0;
};

/// A file of Tokens::open(), written as the ids come: a text that is larger than the memory is encoded piece by piece.
///
///     nn::TokenWriter corpus("corpus.ids", tokenizer.size());
///     while (std::getline(in, line)) corpus.append(tokenizer.encode(line + "\n"));
///     corpus.finish();
///
/// Until finish() there is a temporary file, which goes with the writer: nothing is half-written, and a file that was
/// there stays.
class TokenWriter {
 public:
  /// Throws FileError, and ValueError for a vocabulary outside 1..2^31.
  TokenWriter(const std::string& path, std::int64_t vocabulary, Here here = Here::current());
  ~TokenWriter();
  TokenWriter(const TokenWriter&) = delete;
  TokenWriter& operator=(const TokenWriter&) = delete;

  /// Throws IndexError for an id outside [0, vocabulary), and then has written none of these; FileError if the disk is
  /// full, and ValueError after finish().
  void append(const std::vector<std::int64_t>& ids, Here here = Here::current());
  std::int64_t size() const { return size_; }  ///< ids so far
  /// The file gets its name: whole, synced, instead of one that was there. Throws FileError, and ValueError the second
  /// time.
  void finish(Here here = Here::current());

 private:
  struct File;
  void check_open(const char* what, Here here) const;
  std::unique_ptr<File> file_;
  std::int64_t size_ = 0, vocabulary_ = 0;
};

/// The first `share` of a stream for training and the rest for validation. Throws ValueError unless 0 < share < 1.
std::pair<Tokens, Tokens> split(const Tokens& tokens, double share, Here here = Here::current());

}  // namespace attune::nn
